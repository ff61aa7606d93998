"""Rules on optimizer, learning rate and warm-up (TL5xx)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.optimizers import Refusal, optimizer_arguments, optimizer_state, optimizers, refusal
from tunelab.planning.rules.registry import Context, listed, rule
from tunelab.planning.schedules import FOLLOWING

_ADAM_KEYS = ("adam_beta1", "adam_beta2", "adam_epsilon")
_HIGH, _LOW_LORA = 1e-2, 1e-6


@rule("TL501", Severity.BLOCKED, title="An optimizer that cannot run on this machine",
      why="Some optimizers need a CUDA GPU (paged ones move their state between its memory and the computer's) or a package that is not "
          "installed. Another optimizer is never put in its place silently: write the one that is named, or allow stand-ins with --stand-ins.",
      bad="optimizer: paged_adamw_8bit", good="optimizer: adamw_torch_fused")
def missing_for_optimizer(context: Context) -> Iterator[Finding]:
    """optimizer is one that tunelab runs, and not on this machine."""
    row = optimizers().get(context.config.optimisation.optimizer)
    refused = refusal(row.name, context.machine) if row is not None and row.builder else None
    if refused is not None:
        yield _refused(context, refused)


@rule("TL502", Severity.BLOCKED, title="An optimizer that is not run",
      why="Another optimizer takes other steps at the same learning rate, so none is put in its place silently: write the one that is named, or "
          "allow stand-ins with --stand-ins.",
      bad="optimizer: lomo", good="optimizer: adamw_torch")
def unknown_optimizer(context: Context) -> Iterator[Finding]:
    """optimizer is none of those that a run can use anywhere, or none at all."""
    name = context.config.optimisation.optimizer
    row = optimizers().get(name)
    if row is not None and not row.builder:
        refused = refusal(name, context.machine)
        assert refused is not None, "no builder, so it is refused"
        yield _refused(context, refused)
    elif row is None:
        close = difflib.get_close_matches(name.lower(), list(optimizers()), n=1)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        yield context.finding(f"`optimizer: {name}` is not an optimizer.{hint}", "optimizer", expected="for example adamw_torch_fused",
                              severity=Severity.ERROR, fix=f"optimizer: {close[0] if close else 'adamw_torch_fused'}")


def _refused(context: Context, refused: Refusal) -> Finding:
    return context.finding(refused.reason, "optimizer", expected=f"optimizer: {refused.instead}, or the flag --stand-ins, which takes it",
                           fix=f"optimizer: {refused.instead}")


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
      why="These schedules start at the full learning rate; constant_with_warmup is the one that rises first.",
      bad="lr_scheduler: constant\nwarmup_steps: 10", good="lr_scheduler: constant_with_warmup\nwarmup_steps: 10")
def unread_warmup(context: Context) -> Iterator[Finding]:
    """A warm-up is written with a schedule that has none: constant, and those that follow the evaluation loss."""
    settings = context.config.optimisation
    written = [key for key in ("warmup_steps", "warmup_ratio") if getattr(settings, key)]
    if settings.lr_scheduler in ("constant", *FOLLOWING) and written:
        fix = "lr_scheduler: constant_with_warmup" if settings.lr_scheduler == "constant" else f"delete `{written[0]}`"
        yield context.finding(f"`{written[0]}` has no effect with `lr_scheduler: {settings.lr_scheduler}`.", written[0],
                              expected="a schedule with a warm-up", fix=fix)


@rule("TL508", Severity.ERROR, title="An optim_args that the optimizer does not read",
      why="Each optimizer has its own further settings; transformers drops the others without a word. Betas, epsilon and weight decay have keys of "
          "their own.",
      bad=("optimizer: adamw_torch\noptim_args: momentum=0.9", "optimizer: sgd\noptim_args: {momentum: much}", "optimizer: sgd\noptim_args: momentum"),
      good="optimizer: sgd\noptim_args: {momentum: 0.9}")
def unread_arguments(context: Context) -> Iterator[Finding]:
    """optim_args names something that the optimizer does not have, holds a word for a number, or is no list of key=value."""
    settings = context.config.optimisation
    try:
        arguments = optimizer_arguments(settings.optim_args)
    except ValueError:
        yield context.finding(f"`optim_args: {settings.optim_args}` is no list of key=value.", "optim_args", expected="a mapping, or key=value, key=value")
        return
    row = optimizer_state(settings.optimizer)
    reads = f"it reads {listed(row.arguments)}" if row.arguments else "it has none"
    for name, value in arguments.items() if row.builder else ():
        if name not in row.arguments:
            yield context.finding(f"`optim_args` holds `{name}`, which `{settings.optimizer}` does not read: {reads}.", "optim_args",
                                  expected=", ".join(row.arguments) or "no optim_args", fix="" if len(arguments) > 1 else "delete `optim_args`")
        elif isinstance(value, str) and name not in _WORDS:
            yield context.finding(f"`optim_args` holds `{name}: {value}`, which is no number.", "optim_args", expected="a number, true or false")


_WORDS = ("proj_type", "proj", "scale_type")


@rule("TL509", Severity.ERROR, title="A low-rank optimizer without its layers",
      why="GaLore and APOLLO project the gradients of the linear layers that optim_target_modules names; without it nothing would be projected, and "
          "transformers stops.",
      bad="optimizer: galore_adamw", good="optimizer: galore_adamw\noptim_target_modules: all_linear")
def no_targets(context: Context) -> Iterator[Finding]:
    """optimizer is a low-rank one and optim_target_modules is not written."""
    settings = context.config.optimisation
    if optimizer_state(settings.optimizer).builder in ("galore", "apollo") and not settings.optim_target_modules:
        yield context.finding(f"`optimizer: {settings.optimizer}` needs `optim_target_modules`, which is not written.", "optimizer",
                              expected="optim_target_modules: all_linear, or names such as [attn, mlp]", fix="optim_target_modules: all_linear")


@rule("TL510", Severity.WARNING, title="A setting of another optimizer",
      why="The optimizer of this file has no such number; it has no effect.",
      bad=("optimizer: adamw_torch\nadam_beta3: 0.999", "optimizer: sgd\noptim_target_modules: [attn]"), good="optimizer: came_pytorch\nadam_beta3: 0.999")
def of_another_optimizer(context: Context) -> Iterator[Finding]:
    """adam_beta3 or adam_epsilon2 without came_pytorch; optim_target_modules without a low-rank optimizer."""
    settings = context.config.optimisation
    readers = {"adam_beta3": settings.optimizer == "came_pytorch", "adam_epsilon2": settings.optimizer == "came_pytorch",
               "optim_target_modules": optimizer_state(settings.optimizer).low_rank == "galore"}
    for key, is_read in readers.items():
        if not is_read and context.written(key):
            yield context.finding(f"`{key}` has no effect with `optimizer: {settings.optimizer}`.", key, fix=f"delete `{key}`")


@rule("TL511", Severity.WARNING, title="LoRA+ without LoRA",
      why="It gives the second matrix of each LoRA pair a higher learning rate. Without an adapter what is left of it are the norms and biases, "
          "which then learn that much faster.",
      bad="loraplus_lr_ratio: 16", good="adapter: lora\nloraplus_lr_ratio: 16")
def lora_plus_without_lora(context: Context) -> Iterator[Finding]:
    """loraplus_lr_ratio without an adapter."""
    if context.config.optimisation.loraplus_lr_ratio is not None and context.config.adapter.adapter is None:
        yield context.finding("`loraplus_lr_ratio` is meant for LoRA, and no `adapter` is written.", "loraplus_lr_ratio", expected="adapter: lora",
                              fix="delete `loraplus_lr_ratio`")
