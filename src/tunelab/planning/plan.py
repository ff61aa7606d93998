"""`make_plan`: what a run will take (parameters, tokens, steps, memory, disk, time) and what these numbers assume.

The plan is kept in the run's record beside what was measured, so each number is one that the run can be held to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tunelab.config.config import Config
from tunelab.facts.dataset import DataFacts
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import ModelShapes
from tunelab.planning.lora import lora_parameters, saved_parameters, target_layers, trainable_parameters
from tunelab.planning.memory import CUDA_CONTEXT_BYTES, MemoryPlan, estimate_memory
from tunelab.planning.precision import precision
from tunelab.planning.rules.hardware import parameters_in_name
from tunelab.planning.steps import StepPlan, plan_steps

_SIZES_GB = (4, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take. None where it cannot be known: without shapes no memory, without data no steps.

    `share`: trainable / parameters. `fill`: how much of the packed rows (or of the padded batches) is real text. `tokens_total`: token
    positions that go through the model in the whole run, padding included. `memory_free`: bytes the device has for it now. `needs`: the
    smallest usual memory size that holds the peak. `disk_bytes`: the finished run with the checkpoints that are kept. `seconds`: training
    alone. `assumptions`: sentences that belong to the numbers.
    """

    device: str
    precision: str
    parameters: int | None
    trainable: int | None
    share: float | None
    adapted_layers: int | None
    rows: int | None
    held_out: int | None
    tokens_per_epoch: int | None
    supervised_per_epoch: int | None
    packed_rows: int | None
    fill: float | None
    batches_per_epoch: tuple[int, ...]
    steps: int | None
    steps_per_epoch: tuple[int, ...]
    rows_per_step: float | None
    warmup_steps: int | None
    evaluations: int | None
    checkpoints: int | None
    tokens_total: int | None
    supervised_total: int | None
    memory: MemoryPlan | None
    memory_free: int
    needs: str | None
    fits: bool | None
    disk_bytes: int | None
    disk_free: int
    seconds: float | None
    assumptions: tuple[str, ...]


def make_plan(config: Config, shapes: ModelShapes | None, machine: Machine, data: DataFacts | None,
              tokens_per_second: float | None) -> Plan:
    """Plan a run. Pure but for one question: how much room the disk of output_dir has."""
    steps = plan_steps(config, data.rows, data.batches_per_epoch, held_out=data.held_out) if data is not None else None
    trainable = trainable_parameters(config, shapes) if shapes is not None else None
    memory = _memory(config, shapes, machine, data)
    free = _memory_free(machine)
    positions, supervised = _totals(data, steps, config.optimisation.gradient_accumulation_steps)
    return Plan(
        device=machine.device_name, precision=precision(config, machine),
        parameters=shapes.parameters if shapes is not None else parameters_in_name(config.model.base_model), trainable=trainable,
        share=trainable / shapes.parameters if shapes is not None and trainable is not None and shapes.parameters else None,
        adapted_layers=len(target_layers(config, shapes)) if shapes is not None else None,
        rows=data.rows if data else None, held_out=data.held_out if data else None,
        tokens_per_epoch=data.tokens if data else None, supervised_per_epoch=data.supervised_tokens if data else None,
        packed_rows=data.packed_rows if data else None, fill=_fill(config, data), batches_per_epoch=data.batches_per_epoch if data else (),
        steps=steps.total if steps else None, steps_per_epoch=steps.steps_per_epoch if steps else (),
        rows_per_step=_rows_per_step(data, steps), warmup_steps=steps.warmup if steps else None,
        evaluations=len(steps.eval_steps) if steps else None, checkpoints=_saves(steps) if steps else None,
        tokens_total=positions, supervised_total=supervised, memory=memory, memory_free=free,
        needs=_needs(memory, machine), fits=memory.total <= free if memory is not None and free else None,
        disk_bytes=_disk(config, shapes, steps), disk_free=machine.disk_free_bytes(config.run.output_dir),
        seconds=positions / tokens_per_second if tokens_per_second and positions is not None else None,
        assumptions=tuple(_assumptions(config, shapes, machine, data, tokens_per_second)))


def _memory(config: Config, shapes: ModelShapes | None, machine: Machine, data: DataFacts | None) -> MemoryPlan | None:
    """Without data the largest micro batch is taken to be full rows, a third of whose tokens carry loss."""
    if shapes is None:
        return None
    if data is not None:
        return estimate_memory(config, shapes, machine, tokens_per_batch=data.max_positions, supervised_per_batch=data.max_supervised)
    full = config.optimisation.micro_batch_size * config.data.sequence_len
    return estimate_memory(config, shapes, machine, tokens_per_batch=full, supervised_per_batch=full // 3)


def _memory_free(machine: Machine) -> int:
    return max(0, machine.gpus[0].memory_bytes - CUDA_CONTEXT_BYTES) if machine.gpus else machine.memory_free_bytes


def _needs(memory: MemoryPlan | None, machine: Machine) -> str | None:
    """The smallest usual size of memory; on a PC the system keeps about 2 GB of it for itself."""
    if memory is None:
        return None
    taken = memory.total + (CUDA_CONTEXT_BYTES if machine.gpus else 2_000_000_000)
    size = next((size for size in _SIZES_GB if taken <= size * 1e9), None)
    return f"{size} GB" if size is not None else f"more than {_SIZES_GB[-1]} GB"


def _fill(config: Config, data: DataFacts | None) -> float | None:
    if data is None or not data.positions:
        return None
    room = data.packed_rows * config.data.sequence_len if config.data.sample_packing else data.positions
    return data.tokens / room if room else None


def _rows_per_step(data: DataFacts | None, steps: StepPlan | None) -> float | None:
    """Samples per step, on average over a whole epoch."""
    if data is None or steps is None or not data.batches_per_epoch or not data.batches_per_epoch[0]:
        return None
    return data.rows / math.ceil(data.batches_per_epoch[0] / steps.accumulation)


def _totals(data: DataFacts | None, steps: StepPlan | None, accumulation: int) -> tuple[int | None, int | None]:
    """(positions, supervised tokens) of the whole run; an epoch that is cut short counts for its share of steps."""
    if data is None or steps is None:
        return None, None
    whole = [math.ceil(count / accumulation) for count in data.batches_per_epoch]
    epochs = sum(done / max(1, whole[min(epoch, len(whole) - 1)]) for epoch, done in enumerate(steps.steps_per_epoch)) if whole else 0
    positions = data.total_positions if data.total_positions is not None else round(data.positions * epochs)
    supervised = data.total_supervised if data.total_supervised is not None else round(data.supervised_tokens * epochs)
    return positions, supervised


def _saves(steps: StepPlan) -> int:
    """Checkpoints that are written; with save_strategy best at most one per evaluation."""
    return len(steps.eval_steps) if steps.save_best else len(steps.save_steps)


def _disk(config: Config, shapes: ModelShapes | None, steps: StepPlan | None) -> int | None:
    """The result (32-bit adapter or model) and, for each checkpoint kept, the same again with the optimizer's state."""
    if shapes is None or steps is None:
        return None
    trained = trainable_parameters(config, shapes)
    states = 0 if config.optimisation.optimizer == "sgd" else 2
    kept = min(_saves(steps), config.run.save_total_limit or _saves(steps))
    # A line per step, the run's papers, and a copy of the tokenizer (SmolLM2's tokenizer.json: 72 bytes a token).
    small = 400 * steps.total + 100_000 + 72 * shapes.vocab_size
    return 4 * trained * (1 + kept * (1 + states)) + small


def _assumptions(config: Config, shapes: ModelShapes | None, machine: Machine, data: DataFacts | None, speed: float | None) -> list[str]:
    said = []
    if shapes is None:
        size = parameters_in_name(config.model.base_model)
        said.append("The base model is not at hand: " + ("its size is read off its name; " if size else "")
                    + "trainable parameters, memory and disk are not known.")
    elif config.adapter.lora_model_dir is not None:
        said.append("lora_model_dir: ranks and layers are those of the config; the adapter there may have others.")
    if data is None:
        said.append("The data is not at hand: rows, tokens, steps and time are not known; memory is for full rows with loss on a third "
                    "of their tokens.")
    elif data.total_positions is None and len(set(data.batches_per_epoch)) > 1:
        said.append("Epochs differ a little in how their rows are packed; tokens are scaled up from the first.")
    if shapes is not None:
        where = "on the GPU; CUDA itself takes about 0.5 GB more" if machine.has_cuda else "of the whole process, libraries included"
        said.append(f"Memory is the peak {where}; activations are counted for a Llama-like layer whose attention keeps no square of "
                    "scores.")
        if _saved_share(config, shapes) > 0.5:
            said.append("Most of what is trained are whole modules (lora_modules_to_save), not LoRA matrices.")
    if speed is not None:
        said.append(f"Time is for {speed:,.0f} tokens per second, training alone: loading, evaluation and saving come on top.")
    return said


def _saved_share(config: Config, shapes: ModelShapes) -> float:
    if config.adapter.adapter is None:
        return 0.0
    saved, lora = saved_parameters(config, shapes), lora_parameters(config, target_layers(config, shapes))
    return saved / (saved + lora) if saved + lora else 0.0
