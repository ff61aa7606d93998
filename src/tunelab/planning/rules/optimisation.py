"""Rules on optimizer, learning rate and warm-up (TL5xx)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.registry import Context, listed, rule

OPTIMIZERS = ("adamw_torch_fused", "adamw_torch", "sgd")
"""The optimizers that a run can use."""

# Names that bitsandbytes stands behind in transformers.
_BITSANDBYTES = frozenset({
    "adamw_8bit", "adamw_bnb_8bit", "paged_adamw", "paged_adamw_8bit", "paged_adamw_32bit", "lion", "lion_8bit", "lion_32bit",
    "paged_lion", "paged_lion_8bit", "paged_lion_32bit", "ademamix", "ademamix_8bit", "paged_ademamix_8bit", "paged_ademamix_32bit",
    "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"})
# Other names that Axolotl 0.21.0 or transformers know.
_ELSEWHERE = frozenset({
    "adafactor", "adagrad", "rmsprop", "adamw_apex_fused", "adamw_anyprecision", "adamw_torch_4bit", "adamw_torch_8bit", "adamw_torch_xla",
    "galore_adamw", "galore_adamw_8bit", "galore_adafactor", "lomo", "adalomo", "grokadamw", "schedule_free_adamw", "schedule_free_sgd",
    "schedule_free_radam", "apollo_adamw", "stable_adamw", "optimi_adamw", "ao_adamw_4bit", "ao_adamw_8bit", "ao_adamw_fp8",
    "adopt_adamw", "adamc", "came_pytorch", "muon", "muon_8bit", "dion", "sinkgd", "polora", "flash_adamw", "flash_adam", "flash_sgd",
    "flash_sgdw", "flash_lion", "scao", "q_galore_adamw8bit"})
_ADAM_KEYS = ("adam_beta1", "adam_beta2", "adam_epsilon")
_HIGH, _LOW_LORA = 1e-2, 1e-6


@rule("TL501", Severity.BLOCKED, title="An optimizer that needs bitsandbytes",
      why="8-bit and paged optimizers save memory on GPUs with bitsandbytes, which this version does not run. With LoRA the optimizer's "
          "state is small anyway; adamw_torch_fused takes the same steps.",
      bad="optimizer: paged_adamw_8bit", good="optimizer: adamw_torch_fused")
def bitsandbytes(context: Context) -> Iterator[Finding]:
    """optimizer is one of bitsandbytes'."""
    name = context.config.optimisation.optimizer
    if name in _BITSANDBYTES:
        yield context.finding(f"`optimizer: {name}` needs bitsandbytes, which this version does not run.", "optimizer",
                              expected="one of " + ", ".join(OPTIMIZERS), fix="optimizer: adamw_torch_fused")


@rule("TL502", Severity.BLOCKED, title="An optimizer that is not run here",
      why="Another optimizer takes other steps at the same learning rate, so none is put in its place silently.",
      bad="optimizer: muon", good="optimizer: adamw_torch")
def unknown_optimizer(context: Context) -> Iterator[Finding]:
    """optimizer is none of those that a run can use."""
    name = context.config.optimisation.optimizer
    if name in OPTIMIZERS or name in _BITSANDBYTES:
        return
    expected = "one of " + ", ".join(OPTIMIZERS)
    if name == "adamw_hf":
        yield context.finding("`optimizer: adamw_hf` is an old name that transformers has removed; adamw_torch takes the same steps.",
                              "optimizer", expected=expected, fix="optimizer: adamw_torch", severity=Severity.ERROR)
    elif name in _ELSEWHERE:
        yield context.finding(f"`optimizer: {name}` is one that this version does not run.", "optimizer", expected=expected,
                              fix="optimizer: adamw_torch_fused")
    else:
        close = difflib.get_close_matches(name.lower(), [*OPTIMIZERS, *sorted(_BITSANDBYTES | _ELSEWHERE)], n=1)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        yield context.finding(f"`optimizer: {name}` is not an optimizer.{hint}", "optimizer", expected=expected, severity=Severity.ERROR,
                              fix=f"optimizer: {close[0] if close and close[0] in OPTIMIZERS else 'adamw_torch_fused'}")


@rule("TL503", Severity.ERROR, title="warmup_steps and warmup_ratio",
      why="They say the same thing twice, and differently.", bad="warmup_steps: 10\nwarmup_ratio: 0.1", good="warmup_steps: 10")
def two_warmups(context: Context) -> Iterator[Finding]:
    """Both are written."""
    settings = context.config.optimisation
    if settings.warmup_steps and settings.warmup_ratio:
        yield context.finding("`warmup_steps` and `warmup_ratio` are both written; only one can hold.", "warmup_ratio",
                              expected="one of the two",
                              fix="delete `warmup_ratio`")


@rule("TL504", Severity.WARNING, title="A learning rate that rarely works",
      why="Too high and the loss explodes within a few steps; too low and the run ends with the model it began with.",
      bad="learning_rate: 0.05", good="learning_rate: 0.0002")
def odd_learning_rate(context: Context) -> Iterator[Finding]:
    """learning_rate is far outside of what is used with this method."""
    settings, adapter = context.config.optimisation, context.config.adapter.adapter
    usual, fix = ("1e-4 to 3e-4", "0.0002") if adapter else ("1e-5 to 5e-5", "0.00002")
    method = "LoRA" if adapter else "full fine-tuning"
    rate = settings.learning_rate
    if rate >= _HIGH and settings.optimizer != "sgd":
        yield context.finding(f"`learning_rate` {rate:g} is very high for {method}: the loss is likely to explode.", "learning_rate",
                              expected=usual,
                              fix=f"learning_rate: {fix}")
    elif adapter and rate < _LOW_LORA:
        yield context.finding(f"`learning_rate` {rate:g} is very low for {method}: almost nothing would be learnt.", "learning_rate",
                              expected=usual,
                              fix=f"learning_rate: {fix}")


@rule("TL505", Severity.WARNING, title="AdamW settings without AdamW",
      why="SGD has no such numbers; they have no effect.", bad="optimizer: sgd\nadam_beta2: 0.95",
      good="optimizer: adamw_torch_fused\nadam_beta2: 0.95")
def unread_adam(context: Context) -> Iterator[Finding]:
    """adam_* keys with another optimizer."""
    settings = context.config.optimisation
    written = [key for key in _ADAM_KEYS if getattr(settings, key) is not None]
    if written and settings.optimizer == "sgd":
        yield context.finding(f"{listed(written)} {'has' if len(written) == 1 else 'have'} no effect with `optimizer: sgd`.", written[0],
                              fix="\n".join(f"delete `{key}`" for key in written))


@rule("TL506", Severity.WARNING, title="The warm-up is as long as the run",
      why="The learning rate rises to the end and never reaches the part of the schedule that settles the weights.",
      bad="warmup_steps: 100\nmax_steps: 50", good="warmup_steps: 5\nmax_steps: 50")
def long_warmup(context: Context) -> Iterator[Finding]:
    """warmup_steps reaches max_steps."""
    settings = context.config.optimisation
    warmup, last = settings.warmup_steps, settings.max_steps
    if warmup is not None and last is not None and warmup >= last and settings.lr_scheduler != "constant":
        yield context.finding(f"`warmup_steps` is {warmup} and the run ends after `max_steps` {last}: the learning rate never "
                              "reaches its peak.",
                              "warmup_steps", expected="3-10 % of the steps", fix=f"warmup_steps: {max(1, round(last * 0.05))}")


@rule("TL507", Severity.WARNING, title="Warm-up without effect",
      why="lr_scheduler: constant starts at the full learning rate; constant_with_warmup is the one that rises first.",
      bad="lr_scheduler: constant\nwarmup_steps: 10", good="lr_scheduler: constant_with_warmup\nwarmup_steps: 10")
def unread_warmup(context: Context) -> Iterator[Finding]:
    """A warm-up is written with the constant schedule."""
    settings = context.config.optimisation
    written = [key for key in ("warmup_steps", "warmup_ratio") if getattr(settings, key)]
    if settings.lr_scheduler == "constant" and written:
        yield context.finding(f"`{written[0]}` has no effect with `lr_scheduler: constant`.", written[0],
                              expected="lr_scheduler: constant_with_warmup",
                              fix="lr_scheduler: constant_with_warmup")
