"""Which samples each step uses: the exact order of the run, known before it starts and the same every time.

Planning and training read the same schedule, so the plan's steps and tokens are those of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from tunelab.config import Config
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
    data, optimisation = config.data, config.optimisation
    seed = config.run.seed if config.run.seed is not None else 42
    pairs = config.preference.method is not None
    packing = bool(data.sample_packing) and not pairs
    limits = PackingLimits(data.sample_packing_bin_size or 200, data.sample_packing_group_size or 100_000, bool(data.sample_packing_sequentially))
    count = math.ceil(optimisation.num_epochs)
    if config.preference.rl == "kto":
        return _in_order(config, len(lengths), len(held_out), count, processes)
    epochs = tuple(tuple(plan_epoch(lengths, packing=packing, sequence_len=data.sequence_len, micro_batch_size=optimisation.micro_batch_size,
                                    seed=seed, epoch=epoch, limits=limits)) for epoch in range(count))
    eval_packing = not pairs and (packing if data.eval_sample_packing is None else data.eval_sample_packing)
    eval_len = data.eval_sequence_len if data.test_datasets and data.eval_sequence_len else data.sequence_len
    evaluation = tuple(plan_epoch(held_out, packing=eval_packing, sequence_len=eval_len, limits=limits,
                                  micro_batch_size=optimisation.eval_batch_size or optimisation.micro_batch_size, seed=seed, epoch=0)) if held_out else ()
    return _schedule(config, len(lengths), len(held_out), epochs, evaluation, processes)


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
