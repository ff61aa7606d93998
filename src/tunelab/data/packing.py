"""Samples to batches: which samples share a row and a micro-batch. Packing lays whole samples end to end; none is split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


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


def _generator(seed: int, epoch: int) -> Any:
    import numpy as np

    return np.random.default_rng([seed, epoch])
