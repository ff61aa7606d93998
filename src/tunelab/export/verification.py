"""What holding a merged model against base + adapter showed, and whether that is near enough.

All logits are computed in 32 bits where memory allows, so that what differs is what merging and one rounding did to the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 2e-2}
"""Mean Kullback-Leibler divergence, in nats per token, up to which a merged model of this dtype is the same model. What was measured on
SmolLM2-135M lies more than 100 times below (6e-12, 2e-6, 1e-4)."""

_LOST = {"fp32": 0.01, "fp16": 0.5, "bf16": 0.5}
"""The share of the adapter's own effect that the divergence may reach: an adapter that changes little must not be lost in rounding."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two models' logits at the same positions. `kl` is the mean of KL(first || second) in nats per token, `max_kl` its largest value;
    `same_top` the share of positions at which both find the same token likeliest."""

    positions: int
    max_abs: float
    mean_abs: float
    kl: float
    max_kl: float
    same_top: float


@dataclass(frozen=True, slots=True)
class Verification:
    """`merged`: base + adapter against the merged model; `effect`: the base alone against base + adapter; `trained`: the quantised base +
    adapter that was trained against the merged model (None: not trained so, or it cannot run here; `notes` say which).
    `dtype` is that of the merged weights, `compute` that of the arithmetic; `greedy_same` of `greedy` answers are token for token equal."""

    dtype: str
    compute: str
    prompts: int
    prompts_from: str
    merged: Difference
    effect: Difference
    trained: Difference | None
    greedy: int
    greedy_same: int
    notes: tuple[str, ...] = ()


def fault(found: Verification) -> str | None:
    """Why the merged model is not to be trusted, in a sentence, or None."""
    rounded = found.dtype if found.compute == "fp32" else "bf16"
    if not found.merged.kl <= TOLERANCE[rounded]:  # also when it is not a number
        return (f"the merged model does not say the same as base + adapter: {found.merged.kl:.2g} nats per token apart, where "
                f"{TOLERANCE[rounded]:g} is the most for {rounded}")
    if found.effect.kl == 0:
        return "the adapter changes no prediction on any of the prompts"
    if found.merged.kl > _LOST[rounded] * found.effect.kl:
        return (f"merging in {rounded} changes the model by {found.merged.kl:.2g} nats per token, and the whole effect of the adapter is "
                f"{found.effect.kl:.2g}")
    return None
