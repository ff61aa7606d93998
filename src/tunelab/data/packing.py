"""Samples to batches: which samples share a row, and the arrays that a model reads.

Packing lays whole samples end to end; the arrays say where each begins, so that the model can keep them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunelab.data.sample import IGNORE, Sample

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import NDArray

    Grid = NDArray[int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro batch; every array is int64 of shape (rows, length).

    `position_ids` restart at 0 with each sample and are 0 on padding; `segment_ids` number the samples of a row 1, 2, 3...
    and are 0 on padding. Labels are not shifted; the first token of each sample has no label.
    """

    input_ids: Grid
    labels: Grid
    position_ids: Grid
    segment_ids: Grid

    @property
    def supervised(self) -> int:
        """How many tokens carry loss."""
        return int((self.labels != IGNORE).sum())

    @property
    def tokens(self) -> int:
        """How many tokens are not padding."""
        return int((self.segment_ids > 0).sum())


def pack(lengths: Sequence[int], capacity: int, seed: int, epoch: int) -> list[list[int]]:
    """Group sample indices into rows of at most `capacity` tokens; every index once, none split.

    Best fit (Johnson, 1973): each sample goes into the fullest row that still has room. Samples longer than a quarter of a row
    come first, longest first, which is what makes rows full; the shorter ones follow in an order drawn for this seed and epoch, so
    that a row is a mixture and not a collection of samples of one length. The rows come out in a drawn order. Raises ValueError for
    a length outside 1..capacity.
    """
    for index, length in enumerate(lengths):
        if not 1 <= length <= capacity:
            raise ValueError(f"sample {index} has {length} tokens; expected 1 to {capacity}")
    generator = _generator(seed, epoch)
    drawn = [int(index) for index in generator.permutation(len(lengths))]
    order = sorted(drawn, key=lambda index: -lengths[index] if 4 * lengths[index] > capacity else 0)
    bins: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    open_rooms = 0  # bit r is set when some row has exactly r tokens of room
    for index in order:
        length = lengths[index]
        fitting = open_rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            chosen = by_room[room].pop()
            if not by_room[room]:
                open_rooms &= ~(1 << room)
            bins[chosen].append(index)
        else:
            room, chosen = capacity, len(bins)
            bins.append([index])
        left = room - length
        if left:
            by_room.setdefault(left, []).append(chosen)
            open_rooms |= 1 << left
    return [bins[int(number)] for number in generator.permutation(len(bins))]


def plan_epoch(lengths: Sequence[int], *, packing: bool, sequence_len: int, micro_batch_size: int, seed: int,
               epoch: int) -> list[list[list[int]]]:
    """The batches of one epoch: batches -> rows -> sample indices. The last batch may have fewer rows; no sample is left out."""
    if packing:
        rows = pack(lengths, sequence_len, seed, epoch)
    else:
        rows = [[int(index)] for index in _generator(seed, epoch).permutation(len(lengths))]
    return [rows[start:start + micro_batch_size] for start in range(0, len(rows), micro_batch_size)]


def collate(rows: Sequence[Sequence[Sample]], *, pad_id: int, pad_to: int | None = None) -> Batch:
    """Lay the samples of each row end to end and fill up at the right to the longest row, or to `pad_to`.

    Raises ValueError when a row is longer than `pad_to`.
    """
    import numpy as np

    longest = max((sum(len(sample.input_ids) for sample in row) for row in rows), default=0)
    length = longest if pad_to is None else pad_to
    if longest > length:
        raise ValueError(f"a row has {longest} tokens; expected at most {length}")
    shape = (len(rows), length)
    ids, labels = np.full(shape, pad_id, dtype=np.int64), np.full(shape, IGNORE, dtype=np.int64)
    positions, segments = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for number, row in enumerate(rows):
        start = 0
        for segment, sample in enumerate(row, start=1):
            end = start + len(sample.input_ids)
            ids[number, start:end] = sample.input_ids
            # The model shifts labels by one, so a sample's first label would be asked of the sample before it.
            labels[number, start + 1:end] = sample.labels[1:]
            positions[number, start:end] = np.arange(end - start)
            segments[number, start:end] = segment
            start = end
    return Batch(ids, labels, positions, segments)


def _generator(seed: int, epoch: int) -> Any:
    import numpy as np

    return np.random.default_rng([seed, epoch])
