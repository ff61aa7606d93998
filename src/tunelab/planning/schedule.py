"""Which samples each step uses: the exact order of the run, known before it starts and the same every time.

Planning and training read the same schedule, so the plan's steps and tokens are those of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from tunelab.config import Config
from tunelab.data.mixing import is_streamed, seed_of
from tunelab.data.packing import PackingLimits, plan_epoch
from tunelab.planning.steps import StepPlan, plan_steps

Rows = list[list[int]]
"""One micro-batch: rows of sample indices (one index a row without packing)."""


@dataclass(frozen=True)
class Schedule:
    """The micro-batches of every epoch, cut into steps."""

    steps: StepPlan
    epochs: tuple[tuple[Rows, ...], ...]
    evaluation: tuple[Rows, ...]
    accumulation: int
    ends: tuple[int, ...]

    def micro_batches(self, step: int) -> Sequence[Rows]:
        """The micro-batches of a step, counted from 0."""
        epoch, index = self._place(step)
        return self.epochs[epoch][index * self.accumulation : (index + 1) * self.accumulation]

    def samples(self, step: int) -> list[int]:
        """Every sample that a step uses, in order."""
        return [sample for rows in self.micro_batches(step) for row in rows for sample in row]

    def epoch_after(self, step: int) -> float:
        """How many epochs are done after a step."""
        epoch, index = self._place(step)
        length = -(-len(self.epochs[epoch]) // self.accumulation)
        return epoch + (index + 1) / length

    def evaluation_batches(self) -> Sequence[Rows]:
        """The micro-batches of the held-out rows."""
        return self.evaluation

    def _place(self, step: int) -> tuple[int, int]:
        epoch = next(number for number, end in enumerate(self.ends) if step < end)
        return epoch, step - (self.ends[epoch - 1] if epoch else 0)


def make_schedule(config: Config, lengths: Sequence[int], held_out: Sequence[int], processes: int = 1) -> Schedule:
    """Plan every epoch of a run over samples of these token lengths. The order is the same with any number of processes; a step is
    gradient_accumulation_steps micro-batches of each."""
    count = math.ceil(config.optimisation.num_epochs)
    if config.preference.rl == "kto":
        return _in_order(config, len(lengths), len(held_out), count, processes)
    epochs = _streamed(config, lengths, processes) if is_streamed(config.data) else tuple(_epoch(config, lengths, epoch) for epoch in range(count))
    evaluation = _epoch(config, held_out, 0, evaluates=True) if held_out else ()
    return _schedule(config, len(lengths), len(held_out), epochs, evaluation, processes)


def padded(tokens: int, to: int | None) -> int:
    """The positions of a row: its tokens, filled up to a multiple of `to`."""
    return -(-tokens // to) * to if to else tokens


def _epoch(config: Config, lengths: Sequence[int], epoch: int, *, evaluates: bool = False) -> tuple[Rows, ...]:
    """The micro-batches of an epoch, or of an evaluation."""
    data, optimisation = config.data, config.optimisation
    packing = data.eval_sample_packing if evaluates and data.eval_sample_packing is not None else data.sample_packing
    packing = bool(packing) and config.preference.method is None
    length = data.eval_sequence_len if evaluates and data.test_datasets and data.eval_sequence_len else data.sequence_len
    size = (optimisation.eval_batch_size if evaluates else None) or optimisation.micro_batch_size
    if packing and data.multipack_real_batches is False:
        length, size = size * length, 1
    limits = PackingLimits(data.sample_packing_bin_size or 200, data.sample_packing_group_size or 100_000, bool(data.sample_packing_sequentially))
    if not evaluates and is_streamed(data):
        limits = replace(limits, group=data.streaming_multipack_buffer_size or 10_000, shuffle=_order_of_stream(config, epoch, packing))
    elif not evaluates and data.curriculum_sampling:
        limits = replace(limits, shuffle="none")
    seed = seed_of(config)
    return tuple(plan_epoch(lengths, packing=packing, sequence_len=length, micro_batch_size=size, seed=seed, epoch=epoch, limits=limits))


def _order_of_stream(config: Config, epoch: int, packing: bool) -> Literal["all", "groups", "none"]:
    """A stream comes out of its shuffle buffer in an order of its own, and a second time in another."""
    if config.data.curriculum_sampling or not config.data.shuffle_merged_datasets:
        return "none"
    return "all" if epoch else "groups" if packing else "none"


def _streamed(config: Config, lengths: Sequence[int], processes: int) -> tuple[tuple[Rows, ...], ...]:
    """What was read of a stream, as often as max_steps takes it: once, unless the stream ends before."""
    accumulation, steps = config.optimisation.gradient_accumulation_steps * processes, config.optimisation.max_steps or 0
    epochs = [_epoch(config, lengths, 0)]
    while epochs[0] and sum(-(-len(epoch) // accumulation) for epoch in epochs) < steps:
        epochs.append(_epoch(config, lengths, len(epochs)))
    return tuple(epochs)


def _in_order(config: Config, rows: int, held_out: int, count: int, processes: int) -> Schedule:
    """The same micro-batches in every epoch, in the order of the (shuffled) data, as trl's trainer for KTO takes them: an answer is compared with
    how the prompt after it would take it, so neighbours must stay neighbours."""
    optimisation = config.optimisation

    def batches(total: int, size: int) -> tuple[Rows, ...]:
        return tuple([[index] for index in range(start, min(start + size, total))] for start in range(0, total, size))

    return _schedule(config, rows, held_out, (batches(rows, optimisation.micro_batch_size),) * count,
                     batches(held_out, optimisation.eval_batch_size or optimisation.micro_batch_size), processes)


def _schedule(config: Config, rows: int, held_out: int, epochs: tuple[tuple[Rows, ...], ...], evaluation: tuple[Rows, ...],
              processes: int) -> Schedule:
    accumulation = config.optimisation.gradient_accumulation_steps * processes
    ends = tuple(accumulate(-(-len(epoch) // accumulation) for epoch in epochs))
    steps = plan_steps(config, rows, [len(epoch) for epoch in epochs], held_out=held_out, processes=processes)
    return Schedule(steps, epochs, evaluation, accumulation, ends)
