"""`data_facts`: the size of a run's data from the lengths of its samples and the schedule that cuts them into batches."""

from __future__ import annotations

from collections.abc import Sequence

from tunelab.config.config import Config
from tunelab.facts.dataset import DataFacts, DataSource
from tunelab.planning.schedule import Rows, Schedule, padded


def data_facts(config: Config, lengths: Sequence[int], supervised: Sequence[int], held_out: int, schedule: Schedule,
               source: DataSource = "tokenised data") -> DataFacts:
    """`lengths[i]`, `supervised[i]`: tokens of training sample i, and those of them that carry loss.

    The largest batch is the largest of those that the run takes, and of the whole first epoch only when it takes none.
    """
    pad_to = config.data.sequence_len if config.data.pad_to_sequence_len and config.preference.method is None else None

    def positions(rows: Rows) -> int:
        return sum(padded(sum(lengths[index] for index in row), pad_to) for row in rows)

    def with_loss(rows: Rows) -> int:
        return sum(supervised[index] for row in rows for index in row)

    first = schedule.epochs[0]
    taken = [rows for step in range(schedule.steps.total) for rows in schedule.micro_batches(step)]
    return DataFacts(
        rows=len(lengths), held_out=held_out, lengths=tuple(lengths), supervised=tuple(supervised),
        packed_rows=sum(len(rows) for rows in first), positions=sum(map(positions, first)),
        batches_per_epoch=tuple(len(epoch) for epoch in schedule.epochs), max_positions=max(map(positions, taken or first), default=0),
        max_supervised=max(map(with_loss, taken or first), default=0), total_positions=sum(map(positions, taken)),
        total_supervised=sum(map(with_loss, taken)), longest=max(lengths, default=0), source=source)
