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
from tunelab.planning.assumptions import assumptions
from tunelab.planning.devices import device_of
from tunelab.planning.duration import Seconds, estimate_seconds
from tunelab.planning.fits import Fit, fits_on
from tunelab.planning.fleet import fleet_of
from tunelab.planning.lora import target_layers, trainable_parameters
from tunelab.planning.memory import CUDA_CONTEXT_BYTES, MemoryPlan, estimate, estimate_evaluation, estimate_merge
from tunelab.planning.optimizers import state_bytes
from tunelab.planning.precision import precision
from tunelab.planning.preference import with_score_head
from tunelab.planning.rules.hardware import parameters_in_name
from tunelab.planning.steps import StepPlan, plan_steps
from tunelab.planning.vocabulary import with_vocabulary
from tunelab.planning.workload import Workload, workload_of

_SIZES_GB = (4, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take. None where it cannot be known: without shapes no memory, without data no steps.

    `shapes_source`, `data_source`: where the model's and the data's numbers come from. `share`: trained parameters of all. `fill`: how much
    of the packed rows (or of the padded batches) is real text. `tokens_total`: token positions that go through the model in the whole run,
    padding included. `memory`: the peak of training; `evaluation`, `merge`: of looking at the held-out rows and of adding an adapter to
    its base afterwards (None where there is none). `memory_free`: bytes the device has for it now. `needs`: the smallest usual memory size
    that holds the peak. `disk_bytes`: the finished run with the checkpoints that are kept; `merge_disk_bytes`: the merged model.
    `seconds`: training alone, from a measured speed; `seconds_range`: from a table of GPUs. `fits_on`: common GPUs. `processes`:
    how many train together. `assumptions`: sentences that belong to the numbers.
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
    shapes_source: str | None = None
    data_source: str | None = None
    evaluation: MemoryPlan | None = None
    merge: MemoryPlan | None = None
    merge_disk_bytes: int | None = None
    seconds_range: Seconds | None = None
    fits_on: tuple[Fit, ...] = ()
    processes: int = 1


def make_plan(config: Config, shapes: ModelShapes | None, machine: Machine, data: DataFacts | None,
              tokens_per_second: float | None, *, table: bool = False, processes: int = 1) -> Plan:
    """Plan a run. Pure but for one question: how much room the disk of output_dir has. `table`: also ask on which GPUs it fits.

    `tokens_per_second` is the speed of all `processes` together.
    """
    steps = plan_steps(config, data.rows, data.batches_per_epoch, held_out=data.held_out, processes=processes) if data is not None else None
    shapes = with_score_head(config, with_vocabulary(config, shapes, data.vocabulary if data is not None else None)) if shapes is not None else None
    trainable = trainable_parameters(config, shapes) if shapes is not None else None
    work = workload(config, shapes, machine, data, processes) if shapes is not None else None
    memory = estimate(work, cuda=machine.has_cuda, fleet=fleet_of(config, machine, processes)) if work is not None else None
    free = _memory_free(machine)
    positions, supervised = _totals(data, steps)
    together = 1 if machine.has_cuda else processes  # on a CPU they share the memory
    merges = shapes is not None and work is not None and work.adapter
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
        needs=_needs(memory, machine), fits=memory.total * together <= free if memory is not None and free else None,
        disk_bytes=_disk(config, work, steps), disk_free=machine.disk_free_bytes(config.run.output_dir),
        seconds=positions / tokens_per_second if tokens_per_second and positions is not None else None,
        assumptions=tuple(assumptions(config, shapes, machine, data, tokens_per_second, memory, processes)),
        shapes_source=shapes.source if shapes is not None else None, data_source=data.source if data else None,
        evaluation=_evaluation(work, machine, config, steps, processes), merge=estimate_merge(shapes, work.extra) if merges and shapes and work else None,
        merge_disk_bytes=shapes.parameters * (4 if shapes.dtype == "float32" else 2) if merges and shapes else None,
        seconds_range=_range(work, machine, positions) if not tokens_per_second else None,
        fits_on=fits_on(work, positions, lambda device: precision(config, device.machine())) if table and work is not None else (), processes=processes)


def workload(config: Config, shapes: ModelShapes, machine: Machine, data: DataFacts | None, processes: int = 1) -> Workload:
    """What the device has to do. Without data the largest micro batch is taken to be full rows, a third of whose tokens carry loss."""
    if data is not None:
        return workload_of(config, shapes, machine, tokens=data.max_positions, supervised=data.max_supervised, longest=data.longest,
                           processes=processes)
    full = config.optimisation.micro_batch_size * config.data.sequence_len
    return workload_of(config, shapes, machine, tokens=full, supervised=full // 3, processes=processes)


def _evaluation(work: Workload | None, machine: Machine, config: Config, steps: StepPlan | None, processes: int) -> MemoryPlan | None:
    if work is None or not (steps.eval_steps if steps is not None else config.data.val_set_size):
        return None
    return estimate_evaluation(work, cuda=machine.has_cuda, fleet=fleet_of(config, machine, processes))


def _range(work: Workload | None, machine: Machine, positions: int | None) -> Seconds | None:
    """From the table of GPUs, when this machine's is in it."""
    device = device_of(machine.gpus[0]) if machine.gpus else None
    return estimate_seconds(work, device, positions) if work is not None and device is not None and positions else None


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


def _totals(data: DataFacts | None, steps: StepPlan | None) -> tuple[int | None, int | None]:
    """(positions, supervised tokens) of the whole run; an epoch that is cut short counts for its share of steps."""
    if data is None or steps is None:
        return None, None
    whole = [math.ceil(count / steps.accumulation) for count in data.batches_per_epoch]
    epochs = sum(done / max(1, whole[min(epoch, len(whole) - 1)]) for epoch, done in enumerate(steps.steps_per_epoch)) if whole else 0
    positions = data.total_positions if data.total_positions is not None else round(data.positions * epochs)
    supervised = data.total_supervised if data.total_supervised is not None else round(data.supervised_tokens * epochs)
    return positions, supervised


def _saves(steps: StepPlan) -> int:
    """Checkpoints that are written at most; where the best is kept, each evaluation may write one."""
    return len({*steps.save_steps, *steps.eval_steps}) if steps.keeps_best else len(steps.save_steps)


def _disk(config: Config, work: Workload | None, steps: StepPlan | None) -> int | None:
    """The result (32-bit adapter or model) and, for each checkpoint kept, the same again with the optimizer's state."""
    if work is None or steps is None:
        return None
    result = 4 * (work.trained_parameters if work.adapter else work.shapes.parameters)
    state = state_bytes(work.optimizer, work.trained, work.galore_rank, work.embedding)
    kept = min(_saves(steps), config.run.save_total_limit or _saves(steps))
    # A line per step, the run's papers, and a copy of the tokenizer (SmolLM2's tokenizer.json: 72 bytes a token).
    small = 400 * steps.total + 100_000 + 72 * work.shapes.vocab_size
    return result + kept * (result + state) + small
