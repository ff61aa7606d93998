"""Rules on `deepspeed`: that it can be run here, that its file and the YAML say the same, and what of the file is not acted on (TL605, TL610-TL613)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.errors import ConfigError
from tunelab.facts.packages import is_installed
from tunelab.planning.freezing import patterns
from tunelab.planning.precision import precision
from tunelab.planning.rules.registry import Context, rule
from tunelab.planning.zero import AUTO, HANDED_ON, Zero, read_zero

_OPTIMIZERS = frozenset({"adamw_torch", "adamw_torch_fused", "adamw", "sgd", "rmsprop", "adopt_adamw"})
_SCHEDULERS = {"WarmupDecayLR": ("linear",), "WarmupLR": ("constant_with_warmup", "constant"), "WarmupCosineLR": ("cosine",)}

# Keys that say nothing on the run, or that it keeps in any case.
_WITHOUT_EFFECT = frozenset({"wall_clock_breakdown", "steps_per_print", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer"})
_ALREADY_SO = frozenset({"stage3_gather_16bit_weights_on_model_save"})
_READ = frozenset({"zero_optimization", "bf16", "fp16", "optimizer", "scheduler", "gradient_accumulation_steps", "gradient_clipping",
                   "train_batch_size", "train_micro_batch_size_per_gpu"})
_CUTS_OTHERWISE = ("zero_hpz_partition_size", "zero_quantized_weights", "zero_quantized_nontrainable_weights", "zero_quantized_gradients",
                   "mics_shard_size", "zenflow")


@rule("TL605", Severity.BLOCKED, title="DeepSpeed that is not installed",
      why="DeepSpeed splits optimizer state, gradients and weights over processes; without the package nothing would be split. `fsdp_config` splits "
          "the same three things and needs torch only.",
      bad="deepspeed: {zero_optimization: {stage: 2}}", good="fsdp_config: {reshard_after_forward: true}")
def not_installed(context: Context) -> Iterator[Finding]:
    """deepspeed where the package deepspeed is not installed."""
    if context.config.hardware.deepspeed and not is_installed("deepspeed"):
        yield context.finding("`deepspeed` needs the package deepspeed, which is not installed here: pip install 'tunelab[distributed]'.", "deepspeed",
                              expected="the package, fsdp_config, or nothing where the model fits on one device", fix="delete `deepspeed`")


@rule("TL610", Severity.BLOCKED, title="What DeepSpeed does not go with here",
      why="An adapter that is converted when it is saved, single rows of a tensor, loss scaling and optimizers that look at more than single numbers "
          "cannot be cut into flat shards; other ways of cutting and compressing change what is learnt and were not held against one process.",
      bad=("deepspeed: {zero_optimization: {stage: 2}}\noptimizer: muon_8bit", "deepspeed: {zero_optimization: {stage: 3, zero_quantized_weights: true}}",
           "deepspeed: {zero_optimization: {stage: 3, offload_param: {device: nvme}}}"),
      good="deepspeed: {zero_optimization: {stage: 2}}\noptimizer: adamw_torch")
def not_together(context: Context) -> Iterator[Finding]:
    """deepspeed with pissa or olora, rows of a tensor, fp16, an optimizer that cannot be cut, nvme, hpZ, MiCS or compressed messages."""
    zero = _zero(context)
    if zero is None:
        return
    config = context.config
    start = str(config.adapter.peft_init_lora_weights).lower()
    cases = [
        ("peft_init_lora_weights", start.startswith(("pissa", "olora")), "the default start"),
        ("unfrozen_parameters", any(one.rows is not None for one in patterns(config)), "whole tensors"),
        ("fp16", precision(config, context.machine) == "fp16", "bf16, or 32 bits"),
        ("optimizer", config.optimisation.optimizer not in _OPTIMIZERS, "adamw_torch, sgd, rmsprop or adopt_adamw")]
    for key, holds, instead in cases:
        if holds:
            yield context.finding(f"`{key}: {context.raw.get(key, config.value(key))}` is not run under `deepspeed`.", key, expected=instead,
                                  fix="delete `deepspeed`")
    for what in ("param", "optimizer"):
        if zero.offloaded(what) not in ("", "cpu"):
            yield _about(context, zero, f"zero_optimization.offload_{what}.device", f"`{zero.offloaded(what)}` is not a place that this version puts "
                         "anything in.", expected="cpu")
    for key in _CUTS_OTHERWISE:
        if zero.optimization.get(key) not in (None, False, 0, 1 if key == "zero_hpz_partition_size" else None, -1):
            yield _about(context, zero, f"zero_optimization.{key}", "it is not run by this version.", expected="without it")


@rule("TL611", Severity.ERROR, title="The DeepSpeed file and the YAML disagree",
      why="One number would be taken and the other not. What tunelab runs is in the YAML; the file's `auto` means just that.",
      bad=("gradient_accumulation_steps: 2\ndeepspeed: {gradient_accumulation_steps: 4, zero_optimization: {stage: 2}}",
           "optimizer: adamw_torch\ndeepspeed: {optimizer: {type: Lamb}, zero_optimization: {stage: 2}}",
           "learning_rate: 0.001\ndeepspeed: {optimizer: {type: AdamW, params: {lr: 0.01}}, zero_optimization: {stage: 2}}"),
      good="gradient_accumulation_steps: 2\ndeepspeed: {gradient_accumulation_steps: auto, zero_optimization: {stage: 2}}")
def disagree(context: Context) -> Iterator[Finding]:
    """A value in deepspeed's settings that is neither `auto` nor what the YAML says."""
    zero = _zero(context)
    if zero is None:
        return
    for key, theirs, ours, edit in (*_numbers(context, zero), *_formats(context, zero), *_optimizer(context, zero)):
        yield _about(context, zero, key, f"{_text(theirs)} stands there, and {ours} in the YAML.", expected='"auto", or the same', fix=edit)


@rule("TL612", Severity.NOTE, title="Parts of the DeepSpeed file that are not acted on",
      why="The run takes from DeepSpeed how the model is split and moved; what the rest of its file asks for does not happen.",
      bad="deepspeed: {zero_optimization: {stage: 2}, activation_checkpointing: {partition_activations: true}}",
      good="deepspeed: {zero_optimization: {stage: 2}}")
def not_acted_on(context: Context) -> Iterator[Finding]:
    """Keys of deepspeed's settings that the run does not use; stage 0, which splits nothing; formats, which are those of tunelab."""
    zero = _zero(context)
    if zero is None:
        return
    keys = [*(key for key in zero.settings if key not in _READ | _WITHOUT_EFFECT),
            *(f"zero_optimization.{key}" for key in zero.optimization if key not in HANDED_ON | _ALREADY_SO and key not in _CUTS_OTHERWISE)]
    if keys:
        yield _about(context, zero, "", f"not acted on: {', '.join(str(key) for key in keys)}.")
    if zero.stage == 0:
        yield _about(context, zero, "", "stage 0 splits nothing: the processes train copies whose gradients are averaged, without DeepSpeed.")
    if _enabled(zero, "bf16") is True and precision(context.config, context.machine) == "bf16":
        yield _about(context, zero, "", "bf16 computes in 16 bits here; trained weights, their gradients and messages stay in 32.")


@rule("TL613", Severity.ERROR, title="The DeepSpeed file",
      why="Without it nobody knows what is to be split. A name such as zero2.json says it; the file would say more.",
      bad=("deepspeed: missing.json", "deepspeed: {zero_optimization: {stage: 4}}"), good="deepspeed: {zero_optimization: {stage: 2}}")
def file_of_deepspeed(context: Context) -> Iterator[Finding]:
    """deepspeed names a file that is not there or cannot be read, or a stage that does not exist."""
    try:
        zero = read_zero(context.config)
    except ConfigError as error:
        yield context.finding(error.message, "deepspeed", expected="a DeepSpeed JSON file, or its settings",
                              fix="deepspeed: {zero_optimization: {stage: 2}}")
        return
    if zero is None:
        return
    if zero.stage < 0:
        yield _about(context, zero, "zero_optimization.stage", f"{_text(zero.optimization.get('stage'))} is no stage of ZeRO.", expected="0, 1, 2 or 3")
    elif zero.guessed and is_installed("deepspeed"):
        parts = ["offloaded " + {"param": "weights", "optimizer": "optimizer state"}[what] for what in ("param", "optimizer") if zero.offloaded(what)]
        yield context.finding(f"There is no file {zero.file}; its name is taken for what it says: ZeRO stage {zero.stage}"
                              f"{''.join(f', {one}' for one in parts)}.", "deepspeed", severity=Severity.NOTE)


def _zero(context: Context) -> Zero | None:
    """The settings, where they can be read; what is wrong otherwise is TL613's."""
    try:
        zero = read_zero(context.config)
    except ConfigError:
        return None
    return zero if zero is None or zero.stage >= 0 else None


def _about(context: Context, zero: Zero, key: str, message: str, *, expected: str = "", fix: str = "") -> Finding:
    """A finding on a key of the file, or of the mapping in the YAML; a fix is of the YAML that stands beside `deepspeed`."""
    where = f"`{key}`" if key else "`deepspeed`"
    place = f" in {zero.file}" if zero.file and key else f" ({zero.file})" if zero.file else ""
    return context.finding(f"{where}{place}: {message}", "deepspeed", expected=expected, fix=fix)


def _text(value: Any) -> str:
    """A value of the file, which may be anything, in a sentence."""
    text = str(value)
    return f"`{text if len(text) <= 40 else text[:37] + '...'}`"


def _numbers(context: Context, zero: Zero) -> Iterator[tuple[str, Any, str, str]]:
    """(key, value there, what the YAML says, edit of the YAML) for what both may hold."""
    settings = context.config.optimisation
    limit = 1.0 if settings.max_grad_norm is None else settings.max_grad_norm
    for key, ours, name in (("gradient_accumulation_steps", settings.gradient_accumulation_steps, "gradient_accumulation_steps"),
                            ("train_micro_batch_size_per_gpu", settings.micro_batch_size, "micro_batch_size"),
                            ("gradient_clipping", limit, "max_grad_norm")):
        theirs = zero.settings.get(key, AUTO)
        if theirs not in (AUTO, ours):
            number = isinstance(theirs, int | float) and not isinstance(theirs, bool)
            yield key, theirs, f"`{name}: {ours:g}`", f"{name}: {theirs:g}" if number else ""
    together = settings.micro_batch_size * settings.gradient_accumulation_steps
    whole = zero.settings.get("train_batch_size", AUTO)
    if whole != AUTO and (not isinstance(whole, int) or isinstance(whole, bool) or whole < 1 or whole % together):
        yield "train_batch_size", whole, f"`micro_batch_size` times `gradient_accumulation_steps`, {together} rows for each process,", ""


def _formats(context: Context, zero: Zero) -> Iterator[tuple[str, Any, str, str]]:
    now = precision(context.config, context.machine)
    for name in ("bf16", "fp16"):
        theirs = _enabled(zero, name)
        if isinstance(theirs, bool) and theirs != (now == name):
            hardware = context.config.hardware
            ours = f"`{name}: {str(hardware.bf16 if name == 'bf16' else bool(hardware.fp16)).lower()}` ({now} on this machine)"
            yield f"{name}.enabled", theirs, ours, f"{name}: {str(theirs).lower()}"


def _enabled(zero: Zero, name: str) -> Any:
    part = zero.settings.get(name)
    return part.get("enabled") if isinstance(part, Mapping) else None


def _optimizer(context: Context, zero: Zero) -> Iterator[tuple[str, Any, str, str]]:
    """DeepSpeed's own optimizer and scheduler: the same as those of the YAML, or a contradiction."""
    settings = context.config.optimisation
    part = zero.settings.get("optimizer")
    if isinstance(part, Mapping):
        if part.get("type") not in ("AdamW", "Adam") or not settings.optimizer.startswith("adamw"):
            yield "optimizer.type", part.get("type"), f"`optimizer: {settings.optimizer}`", ""
        ours = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "eps": settings.adam_epsilon or 1e-8,
                "betas": [0.9 if settings.adam_beta1 is None else settings.adam_beta1, 0.999 if settings.adam_beta2 is None else settings.adam_beta2]}
        given = part.get("params")
        for key, value in (given.items() if isinstance(given, Mapping) else ()):
            if value != AUTO and key in ours and value != ours[key]:
                yield f"optimizer.params.{key}", value, _text(ours[key]), ""
    part = zero.settings.get("scheduler")
    if isinstance(part, Mapping) and settings.lr_scheduler not in _SCHEDULERS.get(str(part.get("type")), ()):
        yield "scheduler.type", part.get("type"), f"`lr_scheduler: {settings.lr_scheduler}`", ""
    elif isinstance(part, Mapping) and isinstance(part.get("params"), Mapping):
        for key, value in part["params"].items():
            if value != AUTO:
                yield f"scheduler.params.{key}", value, "the schedule", ""
