"""Training a language model by unmasking: the sections diffusion_lm and diffusion (TL93x)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.registry import Context, rule

_LEAST, _MOST = 0.1, 0.9


@rule("TL930", Severity.ERROR, title="The least masked share is above the most",
      why="How much of a row is masked is drawn between min_mask_ratio (0.1) and max_mask_ratio (0.9).",
      bad=("diffusion_lm: {min_mask_ratio: 0.8, max_mask_ratio: 0.2}", "diffusion_lm: {max_mask_ratio: 0.05}"),
      good="diffusion_lm: {min_mask_ratio: 0.2, max_mask_ratio: 0.8}")
def mask_shares(context: Context) -> Iterator[Finding]:
    """min_mask_ratio above max_mask_ratio; the old section counts with its plugin only."""
    raw = context.raw
    plugins = raw.get("plugins")
    sections = ["diffusion_lm", *(["diffusion"] if isinstance(plugins, list) and any("diffusion" in str(one).lower() for one in plugins)
                                  else [])]
    for section in sections:
        least, most = raw.number(f"{section}.min_mask_ratio", _LEAST), raw.number(f"{section}.max_mask_ratio", _MOST)
        if least is not None and most is not None and least > most:
            key = "min_mask_ratio" if raw.written(f"{section}.min_mask_ratio") else "max_mask_ratio"
            yield context.finding(f"`min_mask_ratio` is {least:g} and `max_mask_ratio` {most:g}.", f"{section}.{key}",
                                  expected="min_mask_ratio at most max_mask_ratio")


@rule("TL931", Severity.NOTE, title="from_causal_lm writes samples while it trains",
      why="With from_causal_lm, generate_samples is on where it is not written; every generation_interval steps texts are generated.",
      bad="diffusion_lm: {from_causal_lm: true}", good="diffusion_lm: {from_causal_lm: true, generate_samples: false}")
def samples_by_default(context: Context) -> Iterator[Finding]:
    """diffusion_lm.from_causal_lm without generate_samples."""
    if context.raw.truthy("diffusion_lm.from_causal_lm") and not context.raw.written("diffusion_lm.generate_samples"):
        yield context.finding("`from_causal_lm: true` brings `generate_samples: true`.", "diffusion_lm.from_causal_lm",
                              fix="generate_samples: true")


@rule("TL932", Severity.ERROR, title="More steps in evaluation than in training",
      why="Training draws a number of denoising steps from 1 to k_max (1 where it is not written); eval_steps has to be one of them.",
      bad=("diffusion_lm: {unroll: {k_max: 2, eval_steps: 3}}", "diffusion_lm: {unroll: {eval_steps: 2}}"),
      good="diffusion_lm: {unroll: {k_max: 2, eval_steps: 2}}")
def steps_beyond(context: Context) -> Iterator[Finding]:
    """diffusion_lm.unroll.eval_steps above k_max."""
    raw = context.raw
    asked, most = raw.number("diffusion_lm.unroll.eval_steps"), raw.number("diffusion_lm.unroll.k_max", 1)
    if asked is not None and most is not None and asked > most:
        yield context.finding(f"`eval_steps` is {asked:g} and `k_max` {most:g}.", "diffusion_lm.unroll.eval_steps",
                              expected=f"at most {most:g}", fix=f"eval_steps: {most:g}")
