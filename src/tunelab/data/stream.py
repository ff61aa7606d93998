"""Streams: rows in their order through a shuffle buffer, and no more of them than the steps of a run need.

max_steps, the sizes of a step and the rows themselves decide which rows those are, so they are the same every time: what is read is
tokenised onto disk before step 1, and from there on the samples of a stream are samples like any others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import TypeVar

from tunelab.config.config import Config
from tunelab.data.mixing import seed_of
from tunelab.data.sample import Row
from tunelab.data.sources import RowSource
from tunelab.data.workers import Task

_AT_ONCE = 100
"""Rows that are tokenised at a time."""

_UNPACKED_BUFFER = 1000
"""Rows of the buffer where rows are neither packed nor documents: what Axolotl leaves to the datasets library."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stream:
    """How the data of a config is streamed: `skip` rows are passed over, `buffer` rows are shuffled at a time (1: none), and it is read until
    there are `samples` samples with `tokens` tokens in all."""

    skip: int
    buffer: int
    seed: int
    samples: int
    tokens: int

    def tasks(self, sources: Iterable[RowSource]) -> Iterator[Task]:
        """The rows in the order in which they are used, some at a time."""
        rows = chain.from_iterable(((number, row) for row in source.rows()) for number, source in enumerate(sources))
        mixed = enumerate(through_buffer(islice(rows, self.skip, None), self.buffer, self.seed))
        while part := list(islice(mixed, _AT_ONCE)):
            for number, same in groupby(part, key=lambda one: one[1][0]):
                found: list[tuple[int, Row]] = [(place, row) for place, (_, row) in same]
                yield Task(number, [row for _, row in found], [place for place, _ in found])

    def share(self, samples: int, tokens: int) -> float:
        """How much of what is needed is there, from 0 to 1."""
        return min(samples / max(1, self.samples), tokens / max(1, self.tokens), 1.0)


def stream_of(config: Config, processes: int = 1) -> Stream:
    """How much of a stream the steps of this config take, in so many processes: without packing a sample a row, with it rows that are full of tokens."""
    data, settings = config.data, config.optimisation
    rows = (settings.max_steps or 1) * settings.gradient_accumulation_steps * settings.micro_batch_size * processes
    shuffles = data.shuffle_merged_datasets and not data.curriculum_sampling
    buffer = data.streaming_multipack_buffer_size or 10_000 if data.sample_packing or data.pretraining_dataset else _UNPACKED_BUFFER
    skip = data.pretraining_dataset[0].skip or 0 if data.pretraining_dataset else 0
    return Stream(skip, buffer if shuffles else 1, seed_of(config),
                  1 if data.sample_packing else rows, rows * data.sequence_len if data.sample_packing else 0)


def through_buffer(items: Iterable[T], size: int, seed: int) -> Iterator[T]:
    """Shuffle what comes with `size` items in memory: whenever there are so many, half of them go on, drawn from all.

    The order of the datasets library's shuffle(seed, buffer_size=size), version 5.2, for a stream of one shard.
    """
    import numpy as np

    if size <= 1:
        yield from items
        return
    generator, held = np.random.default_rng(seed), list[T]()
    for item in items:
        held.append(item)
        if len(held) >= size:
            drawn = generator.permutation(len(held)).tolist()
            going = len(held) - size // 2
            yield from (held[number] for number in drawn[:going])
            held = [held[number] for number in drawn[going:]]
    if held:
        yield from (held[number] for number in generator.permutation(len(held)).tolist())
