"""What holding a GGUF file against its run showed, and whether that is near enough."""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = {"f32": 1e-4, "f16": 1e-3, "bf16": 2e-2, "q8_0": 2e-2, "q6_k": 5e-2, "q5_1": 0.2, "q5_0": 0.2, "q4_k_m": 0.3, "q4_1": 0.4, "q4_0": 0.4}
"""Mean divergence in nats per position up to which a file of this kind is the same model. Measured on SmolLM2-135M: docs/design/gguf.md."""
KINDS = tuple(TOLERANCE)
"""What --quantize takes."""
_LOST = {"f32": 0.01, "f16": 0.1, "bf16": 0.5}
"""The share of training's own effect that the divergence may reach, 1 for the other kinds: a tuning that changes little must not be lost, nor
be there twice."""
_NEAR = 0.5
THEIRS = "Export it as a merged model and use llama.cpp's own converter: tunelab export RUN --to merged"
"""What to do with a model that is not written here."""


@dataclass(frozen=True, slots=True)
class GgufCheck:
    """What was found. `kl`, `max_kl`: nats per position (a lower bound); `max_logprob`: the largest difference of a log-probability among tokens
    of at least 1 %; `same_top`: share of positions with the same likeliest token; `effect`: how far the model is from what it was trained from,
    measured alike (None: that is not at hand); of `greedy_tokens` tokens in `greedy` answers `greedy_equal` are equal up to the first
    difference; of `texts` texts `texts_equal` were split into the same tokens; `split`: the first that was not; `renders_alike`: whether
    llama.cpp puts messages into the chat template as training did (None: there is no template)."""

    kind: str
    prompts: int
    prompts_from: str
    positions: int
    kl: float
    max_kl: float
    max_logprob: float
    same_top: float
    effect: float | None
    greedy: int
    greedy_same: int
    greedy_tokens: int
    greedy_equal: int
    texts: int
    texts_equal: int
    split: str
    renders_alike: bool | None


def fault(found: GgufCheck) -> str | None:
    """Why the file is not to be trusted, in a sentence, or None."""
    if found.texts_equal < found.texts:
        return (f"llama.cpp splits {found.texts - found.texts_equal} of {found.texts} texts into other tokens than training did, the first is "
                f"{found.split!r}")
    if not found.kl <= TOLERANCE[found.kind]:  # also when it is not a number
        return (f"the file does not say the same as the run: {found.kl:.2g} nats per position apart, where {TOLERANCE[found.kind]:g} is the most for "
                f"{found.kind}")
    if found.effect is not None and found.kl > _LOST.get(found.kind, 1) * found.effect:
        return (f"the file, stored as {found.kind}, is {found.kl:.2g} nats per position from the run, and the whole effect of training is "
                f"{found.effect:.2g}")
    return None


def remarks(found: GgufCheck) -> tuple[str, ...]:
    """What there is to say of a file that is near enough."""
    said = []
    if found.effect is not None and found.kl > _NEAR * found.effect:
        said.append(f"Storing as {found.kind} changes the model by {found.kl / found.effect:.0%} of what training changed: much of the tuning may be "
                    "lost. Keep more digits: --quantize q8_0, or f16.")
    if found.renders_alike is False:
        said.append("llama.cpp puts messages into the chat template otherwise than training did. See where: tunelab parity RUN gguf:FILE")
    return tuple(said)
