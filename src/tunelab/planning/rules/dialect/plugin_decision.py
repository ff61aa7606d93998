"""Rules on the plugin that trains diffusion models to answer typed questions (TL927-TL929)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect.plugins import is_on
from tunelab.planning.rules.registry import Context, listed, rule

_BASE = "plugins: [axolotl.integrations.diffusion_decision.DiffusionDecisionPlugin]\ndiffusion_lm: {canvas_width: 64}\ndiffusion_decision: "
_MIXTURE, _LATENT, _LABELS = (f"diffusion_decision.{name}" for name in ("mixture", "latent", "labels"))


def _on(raw: Raw) -> bool:
    return is_on(raw, "DiffusionDecisionArgs")


@rule("TL927", Severity.ERROR, title="A mixture of sources that contradicts itself",
      why="Sources are drawn by weights or by a temperature over their sizes. A premixed file is taken in its own order, so it has neither, "
          "no cap, and no even drawing in each batch.",
      bad=(f"{_BASE}{{mixture: {{weights: {{a: 1.0}}, temperature: 0.5}}}}", f"{_BASE}{{mixture: {{weights: {{a: 0.0}}}}}}",
           f"{_BASE}{{mixture: {{max_examples_per_source: 0}}}}", f"{_BASE}{{mixture: {{premixed: true}}}}"),
      good=f"{_BASE}{{mixture: {{premixed: true, per_batch_stratified: false}}}}")
def mixture(context: Context) -> Iterator[Finding]:
    """Weights beside a temperature, numbers that are not positive, or premixed with ways to draw."""
    raw = context.raw
    if not _on(raw):
        return
    if raw.written(f"{_MIXTURE}.weights", f"{_MIXTURE}.temperature"):
        yield context.finding("`weights` and `temperature` are two ways to draw from the sources.", f"{_MIXTURE}.temperature", expected="one of them",
                              fix="delete `temperature`")
    for name in ("weights", "loss_weight"):
        values = raw.get(f"{_MIXTURE}.{name}")
        if isinstance(values, dict) and not all(source and _positive(value) for source, value in values.items()):
            yield context.finding(f"`{name}` gives every source a name and a number above 0.", f"{_MIXTURE}.{name}", expected="finite numbers above 0")
    caps = raw.get(f"{_MIXTURE}.max_examples_per_source")
    each = caps if isinstance(caps, dict) else {"all": caps}
    if caps is not None and not all(source and _whole(value) and value >= 1 for source, value in each.items()):
        yield context.finding("`max_examples_per_source` is a number of rows for every source.", f"{_MIXTURE}.max_examples_per_source",
                              expected="at least 1", fix="delete `max_examples_per_source`")
    if raw.truthy(f"{_MIXTURE}.premixed"):
        ways = [name for name in ("weights", "temperature", "max_examples_per_source") if raw.written(f"{_MIXTURE}.{name}")]
        ways += ["per_batch_stratified"] if raw.get(f"{_MIXTURE}.per_batch_stratified", True) else []
        if ways:
            unset = " (true unless written)" if not raw.written(f"{_MIXTURE}.per_batch_stratified") and "per_batch_stratified" in ways else ""
            fix = [f"delete `{name}`" for name in ways[:-1]] if ways[-1] == "per_batch_stratified" else [f"delete `{name}`" for name in ways]
            yield context.finding(f"`premixed: true` takes the rows as they come, and {listed(ways)}{unset} would draw them.", f"{_MIXTURE}.premixed",
                                  expected="per_batch_stratified: false and nothing else", fix="\n".join([*fix, "per_batch_stratified: false"]))


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@rule("TL928", Severity.ERROR, title="Latent slots that contradict their mode",
      why="Mode none has no slots; every other mode counts them in num_slots; only the free mode changes them between reads, and it must say how.",
      bad=(f"{_BASE}{{latent: {{num_slots: 4}}}}", f"{_BASE}{{latent: {{sample_num_slots: true}}}}",
           f"{_BASE}{{latent: {{mode: pad, sample_num_slots: true}}}}", f"{_BASE}{{latent: {{mode: free, num_slots: 4}}}}",
           f"{_BASE}{{latent: {{mode: pad, num_slots: 4, free_update_policy: argmax}}}}"),
      good=f"{_BASE}{{latent: {{mode: free, num_slots: 4, free_update_policy: argmax}}}}")
def latent(context: Context) -> Iterator[Finding]:
    """num_slots, token_ids, sample_num_slots and free_update_policy against mode."""
    raw = context.raw
    if not _on(raw):
        return
    mode = raw.text(f"{_LATENT}.mode") or "none"
    for name in ("num_slots", "token_ids", "sample_num_slots"):
        if mode == "none" and raw.truthy(f"{_LATENT}.{name}"):
            yield context.finding(f"`latent.mode` is none, which has no slots, and `{name}` is set.", f"{_LATENT}.{name}", expected="another mode",
                                  fix=f"delete `{name}`")
    if mode != "none" and raw.truthy(f"{_LATENT}.sample_num_slots") and (raw.number(f"{_LATENT}.num_slots") or 0) < 1:
        yield context.finding("`sample_num_slots` draws a number up to `num_slots`, which is 0.", f"{_LATENT}.sample_num_slots",
                              expected="num_slots of at least 1", fix="num_slots: 4")
    policy = f"{_LATENT}.free_update_policy"
    if mode == "free" and not raw.written(policy):
        yield context.finding("`latent.mode: free` changes the slots between reads, and `free_update_policy` does not say how.", f"{_LATENT}.mode",
                              expected="free_update_policy: argmax", fix="free_update_policy: argmax")
    if mode != "free" and raw.written(policy):
        yield context.finding(f"`free_update_policy` belongs to `latent.mode: free`, and the mode is {mode}.", policy, expected="mode: free",
                              fix="delete `free_update_policy`")


@rule("TL929", Severity.ERROR, title="An option of typed decisions that is not there",
      why="Smoothed labels have no probability that DFT could weight by, and nothing carries latent state from one read to the next.",
      bad=(f"{_BASE}{{labels: {{hard_label_smoothing: 0.1, full_ce_weighting: dft}}}}", f"{_BASE}{{carry: {{enabled: true}}}}"),
      good=f"{_BASE}{{labels: {{hard_label_smoothing: 0.1}}}}")
def not_there(context: Context) -> Iterator[Finding]:
    """hard_label_smoothing with DFT weighting; carry.enabled."""
    raw = context.raw
    if not _on(raw):
        return
    if raw.truthy(f"{_LABELS}.hard_label_smoothing") and raw.text(f"{_LABELS}.full_ce_weighting") == "dft":
        yield context.finding("`hard_label_smoothing` does not work with `full_ce_weighting: dft`.", f"{_LABELS}.hard_label_smoothing",
                              expected="full_ce_weighting: ce", fix="full_ce_weighting: ce")
    if raw.truthy("diffusion_decision.carry.enabled"):
        yield context.finding("`carry.enabled` is reserved; training cannot carry latent state.", "diffusion_decision.carry.enabled",
                              expected="false", fix="enabled: false")
