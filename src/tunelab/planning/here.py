"""What a setting does in this run: one short function per key, from config, machine, model and steps to a sentence with numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.config.config import Config
from tunelab.config.finding import KeyPath
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import ModelShapes
from tunelab.planning.fleet import fleet_of
from tunelab.planning.lora import DEFAULT_ALPHA, DEFAULT_R, default_targets, lora_parameters, target_layers, trainable_parameters
from tunelab.planning.optimizers import optimizer_state, optimizers, refusal
from tunelab.planning.precision import BYTES, precision
from tunelab.planning.rules.hardware import parameters_in_name
from tunelab.planning.schedules import FOLLOWING, course_of
from tunelab.planning.steps import StepPlan


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a run; `shapes` and `steps` are None when model or data are not at hand."""

    config: Config
    machine: Machine
    shapes: ModelShapes | None
    steps: StepPlan | None


Sentence = Callable[[Facts, Any], str]
_SENTENCES: dict[str, Sentence] = {}


def here(facts: Facts, path: KeyPath, value: Any) -> str:
    """The sentence about a key, "" when there is none."""
    sentence = _SENTENCES.get(str(path[0])) if len(path) == 1 else _SENTENCES.get(f"{path[0]}[].{path[-1]}")
    return sentence(facts, value) if sentence is not None else ""


def _about(*keys: str) -> Callable[[Sentence], Sentence]:
    def register(sentence: Sentence) -> Sentence:
        _SENTENCES.update(dict.fromkeys(keys, sentence))
        return sentence

    return register


def count(number: int) -> str:
    """134,515,008 as "134.5 million"."""
    for scale, word in ((10**9, "billion"), (10**6, "million")):
        if number >= scale:
            return f"{number / scale:.4g} {word}"
    return f"{number:,}"


def size(number: float) -> str:
    """Bytes for people, in decimal units."""
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def plural(number: float, word: str, ending: str = "s") -> str:
    """A number with its noun: 1 step, 2 steps."""
    return f"{number:,g} {word}{'' if number == 1 else ending}"


@_about("base_model")
def _base_model(facts: Facts, value: str) -> str:
    shapes = facts.shapes
    if shapes is None:
        guess = parameters_in_name(value)
        return f"About {count(guess)} parameters, read off its name." if guess else "The model is not at hand: its size is not known."
    held = precision(facts.config, facts.machine) if facts.config.adapter.adapter else "fp32"
    return (f"{shapes.parameters:,} parameters in {shapes.layers} layers ({shapes.architecture}); their weights take "
            f"{size(shapes.parameters * BYTES[held])} in {8 * BYTES[held]} bits.")


@_about("datasets")
def _datasets(facts: Facts, value: list[dict[str, Any]]) -> str:
    sources = "; ".join(f"{one.get('path')} as {one.get('type', 'no type')}" for one in value)
    rows = f" {plural(facts.steps.rows, 'row')} are trained on." if facts.steps is not None else ""
    return f"{plural(len(value), 'source')}: {sources}.{rows}"


@_about("datasets[].shards")
def _shards(_: Facts, value: int | None) -> str:
    return f"One row in {value} is kept, the others are never seen." if value else ""


@_about("tokenizer_type")
def _tokenizer(facts: Facts, _: str | None) -> str:
    return f"A vocabulary of {facts.shapes.vocab_size:,} tokens, read from the model's folder." if facts.shapes is not None else ""


@_about("sequence_len")
def _sequence_len(facts: Facts, value: int) -> str:
    shapes = facts.shapes
    limit = f", {value / shapes.context_length:.0%} of the {shapes.context_length:,} that the model was made for" \
        if shapes is not None and shapes.context_length else ""
    per_batch = facts.config.optimisation.micro_batch_size * value
    return f"Up to {value:,} tokens a row{limit}; at most {per_batch:,} token positions in a forward pass."


@_about("sample_packing")
def _packing(facts: Facts, value: bool | None) -> str:
    if not value:
        return "Each sample is a row of its own."
    batches = f" {facts.steps.rows:,} samples" if facts.steps is not None else " Samples"
    return f"{batches.strip()} are laid into rows of at most {facts.config.data.sequence_len:,} tokens, each seeing only itself."


@_about("pad_to_sequence_len")
def _padding(facts: Facts, value: bool | None) -> str:
    if not value:
        return "No padding: samples of a batch are laid end to end."
    note = "" if facts.machine.has_cuda else " Without a GPU that costs time and brings nothing."
    return f"Every row has exactly {facts.config.data.sequence_len:,} positions, the rest is padding.{note}"


@_about("val_set_size")
def _held_out(facts: Facts, value: float) -> str:
    if not value:
        return "No row is held out; the loss on unseen rows is not measured."
    if value >= 1:
        return f"{plural(int(value), 'row')} are held out."
    if facts.steps is None:
        return f"{value:.3g} of the rows, one in {1 / value:.3g}, are held out."
    held_out = max(1, round(facts.steps.rows * value / (1 - value)))
    return f"About {plural(held_out, 'row')} are held out beside {facts.steps.rows:,} for training."


@_about("train_on_inputs")
def _inputs(_: Facts, value: bool) -> str:
    return "Prompts carry loss too." if value else "Only answers carry loss."


@_about("adapter")
def _adapter(facts: Facts, value: str | None) -> str:
    if value is None:
        total = f" {count(facts.shapes.parameters)} parameters" if facts.shapes is not None else " every weight"
        return f"Full fine-tuning:{total}, with gradients and optimizer state for each."
    return _trained(facts)


@_about("lora_r")
def _rank(facts: Facts, value: int | None) -> str:
    if facts.config.adapter.adapter is None:
        return "No effect: there is no adapter."
    return (f"Not written: {DEFAULT_R}. " if value is None else "") + _trained(facts)


@_about("lora_alpha")
def _alpha(facts: Facts, value: float | None) -> str:
    settings = facts.config.adapter
    if settings.adapter is None:
        return "No effect: there is no adapter."
    alpha, rank = value or DEFAULT_ALPHA, settings.lora_r or DEFAULT_R
    return f"The LoRA update is multiplied by lora_alpha / lora_r = {alpha:g} / {rank} = {alpha / rank:.3g}."


@_about("lora_dropout")
def _dropout(facts: Facts, value: float) -> str:
    if facts.config.adapter.adapter is None:
        return "No effect: there is no adapter."
    return f"{value:.0%} of each adapter's inputs are zeroed in training, another {value:.0%} in each step." if value else "No dropout."


@_about("lora_target_modules", "lora_target_linear")
def _targets(facts: Facts, _: Any) -> str:
    config, shapes = facts.config, facts.shapes
    if config.adapter.adapter is None:
        return "No effect: there is no adapter."
    if shapes is None:
        return ""
    layers = target_layers(config, shapes)
    kinds = list(dict.fromkeys(layer.name.rpartition(".")[2] for layer in layers))
    neither = not config.adapter.lora_target_modules and not config.adapter.lora_target_linear
    default = " (the default for this architecture)" if neither and default_targets(shapes) else ""
    return f"{len(layers)} of {len(shapes.linear_layers)} linear layers: {', '.join(kinds) or 'none'}{default}."


@_about("micro_batch_size")
def _micro(facts: Facts, value: int) -> str:
    what = f"{plural(value, 'packed row')}" if facts.config.data.sample_packing else plural(value, "sample")
    return f"{what} in a forward pass; {_effective(facts)}"


@_about("gradient_accumulation_steps")
def _accumulation(facts: Facts, value: int) -> str:
    per_epoch = facts.steps.steps_per_epoch if facts.steps is not None else ()
    steps = f" {plural(per_epoch[0], 'step')} an epoch." if per_epoch else ""
    return f"{plural(value, 'forward pass', 'es')} make{'s' if value == 1 else ''} a step; {_effective(facts)}{steps}"


@_about("num_epochs")
def _epochs(facts: Facts, value: float) -> str:
    steps = facts.steps
    if steps is None:
        return ""
    cut = f", cut short by max_steps: {facts.config.optimisation.max_steps}" if facts.config.optimisation.max_steps else ""
    per = " + ".join(str(one) for one in steps.steps_per_epoch[:6]) + (" + ..." if len(steps.steps_per_epoch) > 6 else "")
    return f"{plural(value, 'epoch')}: {per} = {plural(steps.total, 'step')}{cut}."


@_about("max_steps")
def _max_steps(facts: Facts, value: int | None) -> str:
    return f"The run takes {plural(facts.steps.total, 'step')}." if facts.steps is not None and value else ""


@_about("optimizer")
def _optimizer(facts: Facts, value: str) -> str:
    if value not in optimizers():
        return ""
    refused = refusal(value, facts.machine)
    why = f"{refused.reason} With --stand-ins {refused.instead} is taken." if refused is not None else ""
    if facts.shapes is None:
        return why
    trained, row = trainable_parameters(facts.config, facts.shapes), optimizer_state(value)
    if row.low_rank:
        keeps = f"What it keeps for the {count(trained)} trained parameters depends on the shapes of their matrices: tunelab plan says it."
    elif not row.matrix:
        keeps = f"No state is kept for the {count(trained)} trained parameters."
    else:
        keeps = f"{row.matrix:.3g} bytes are kept for each of {count(trained)} trained parameters: {size(round(row.matrix * trained))}."
    return f"{why} {keeps}".strip()


@_about("learning_rate", "lr_scheduler")
def _learning_rate(facts: Facts, _: Any) -> str:
    steps, settings = facts.steps, facts.config.optimisation
    if settings.lr_scheduler in FOLLOWING:
        return f"It begins at {settings.learning_rate:g} and follows the evaluation loss ({settings.lr_scheduler})."
    if steps is None or not steps.total:
        last = course_of(settings, 0, 1000).share(999)
        falls = "" if last > 0.99 else " and falls to about 0" if last < 0.01 else f" and falls to {settings.learning_rate * last:.2g}"
        return f"The peak is {settings.learning_rate:g}{falls} ({settings.lr_scheduler})."
    peak = max(range(steps.total), key=lambda step: (steps.multiplier_at(step), -step))
    return (f"{settings.lr_scheduler}: {steps.lr_at(0):.3g} at step 1, {steps.lr_at(peak):.3g} at step {peak + 1}, "
            f"{steps.lr_at(steps.total - 1):.3g} at the last step ({steps.total}).")


@_about("warmup_steps", "warmup_ratio")
def _warmup(facts: Facts, _: Any) -> str:
    steps = facts.steps
    return f"The learning rate rises over {plural(steps.warmup, 'step')} of {steps.total}." if steps is not None else ""


@_about("weight_decay")
def _decay(facts: Facts, value: float) -> str:
    peak = facts.config.optimisation.learning_rate * value
    return f"At the peak learning rate each step shrinks the trained matrices by {peak:.2g} of themselves." if value else "Off."


@_about("output_dir")
def _output(facts: Facts, value: str) -> str:
    free = facts.machine.disk_free_bytes(value)
    what = "an adapter" if facts.config.adapter.adapter else "a whole model"
    return f"{Path(value).expanduser().absolute()} gets {what}; its disk has {size(free)} free."


@_about("seed")
def _seed(_: Facts, value: int | None) -> str:
    return "42 is used." if value is None else ""


@_about("save_steps", "saves_per_epoch", "save_strategy", "save_total_limit")
def _saves(facts: Facts, _: Any) -> str:
    if facts.steps is None:
        return ""
    best = "after each evaluation with the lowest loss so far" if facts.steps.keeps_best else ""
    if not facts.steps.save_steps and best:
        return f"A checkpoint {best}."
    return f"{plural(len(facts.steps.save_steps), 'checkpoint')}{_at(facts.steps.save_steps)}{', and one ' + best if best else ''}."


@_about("eval_steps", "evals_per_epoch", "eval_strategy")
def _evals(facts: Facts, _: Any) -> str:
    return f"{plural(len(facts.steps.eval_steps), 'evaluation')}{_at(facts.steps.eval_steps)}." if facts.steps is not None else ""


@_about("logging_steps")
def _logging(facts: Facts, _: int | None) -> str:
    return f"A line every {plural(facts.steps.logging_every, 'step')}." if facts.steps is not None else ""


@_about("bf16", "fp16")
def _format(facts: Facts, _: Any) -> str:
    names = {"fp32": "32-bit numbers", "bf16": "bfloat16", "fp16": "float16"}
    if facts.config.hardware.fp16 and not facts.machine.has_cuda:
        return "This machine has no CUDA GPU, so float16 cannot be used."
    return f"On {facts.machine.device_name} this run computes in {names[precision(facts.config, facts.machine)]}."


@_about("gradient_checkpointing")
def _checkpointing(facts: Facts, value: Any) -> str:
    layers = f"{facts.shapes.layers} layers" if facts.shapes is not None else "all layers"
    return f"Activations of {layers} are computed again in the backward pass." if value else f"Activations of {layers} are kept."


def _trained(facts: Facts) -> str:
    """How much is trained, of how much."""
    shapes, config = facts.shapes, facts.config
    if shapes is None:
        return ""
    trained = trainable_parameters(config, shapes)
    layers = target_layers(config, shapes)
    more = trained - lora_parameters(config, layers)
    extra = f", {more:,} of them in modules trained in full" if more else ""
    share = f"{trained / shapes.parameters:.2%} of {shapes.parameters:,}"
    return f"{trained:,} trainable parameters{extra}: {share}, in {plural(len(layers), 'layer')}."


def _effective(facts: Facts) -> str:
    settings, packing, steps = facts.config.optimisation, facts.config.data.sample_packing, facts.steps
    micro, accumulation = settings.micro_batch_size, settings.gradient_accumulation_steps
    what = "packed rows" if packing else "samples"
    samples = ""
    if packing and steps is not None and len(steps.steps_per_epoch) > 1:  # the first of several epochs is a whole one
        per_step = steps.rows / max(1, steps.steps_per_epoch[0])
        samples = f", about {per_step:.3g} samples" if not math.isclose(per_step, micro * accumulation) else ""
    devices = _devices(facts)
    if devices > 1:
        return f"{micro} x {accumulation} x {devices} devices = {micro * accumulation * devices} {what} a step{samples}."
    more = ", and N times as many with `tunelab train --nproc N`" if facts.config.distributed.fsdp_config or facts.config.hardware.deepspeed else ""
    return f"{micro} x {accumulation} x 1 device = {micro * accumulation} {what} a step{samples}{more}."


def _devices(facts: Facts) -> int:
    """How many train a share of the rows each: Ray's workers, the GPUs that the config spreads the run over, or one."""
    if facts.config.distributed.use_ray:
        return facts.config.distributed.ray_num_workers
    fleet = fleet_of(facts.config, facts.machine)
    return max(1, fleet.devices // (fleet.tensor * fleet.context))


def _at(steps: tuple[int, ...]) -> str:
    if not steps:
        return ""
    listed = ", ".join(str(step) for step in steps[:5]) + (f", ... {steps[-1]}" if len(steps) > 5 else "")
    return f" (after step {listed})"
