"""Samples to batches: which samples share a row and a micro-batch. Packing lays whole samples end to end; none is split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

_TRIES = 8
_ROUNDS, _AT_ONCE = 24, 1200
"""How often some rows are taken apart and packed again, and how many at most."""

_ENOUGH = 1.001
"""So many times the fewest rows that are possible are not worth more time."""


@dataclass(frozen=True, slots=True)
class PackingLimits:
    """What the config says about packed rows: at most `most` samples in one; `group` samples are packed together, and groups share no
    row; `in_order`: fill one row after the other in the order of the samples.

    `shuffle`: the samples are drawn anew in each epoch, from all of them or only inside a group (of a stream, whose groups come one after the
    other), or keep their order: then a row stands where its samples stood on average.
    """

    most: int = 200
    group: int = 100_000
    in_order: bool = False
    shuffle: Literal["all", "groups", "none"] = "all"


def pack(lengths: Sequence[int], capacity: int, seed: int, epoch: int, limits: PackingLimits | None = None) -> list[list[int]]:
    """Group sample indices into rows of at most `capacity` tokens; every index once, none split.

    The samples are packed in an order drawn for this seed and epoch, and the rows come out in a drawn order (with `limits.in_order` as they
    are filled; see `limits.shuffle`). Best fit is tried first, which mixes the short samples; where it leaves room for fewer rows, exact fit
    too, and then the emptiest rows are packed again together with some others. Raises ValueError for a length outside 1..capacity.
    """
    for index, length in enumerate(lengths):
        if not 1 <= length <= capacity:
            raise ValueError(f"sample {index} has {length} tokens; expected 1 to {capacity}")
    limits = limits or PackingLimits()
    generator = _generator(seed, epoch)
    groups = _groups(len(lengths), limits, generator)
    if limits.in_order:
        return [row for group in groups for row in _next_fit(lengths, group, capacity)]
    packed = [_fullest(lengths, group, capacity, limits.most, generator) for group in groups]
    if limits.shuffle == "none":
        return [row for rows in packed for row in sorted((sorted(row) for row in rows), key=lambda row: sum(row) / len(row))]
    parts = packed if limits.shuffle == "groups" else [[row for rows in packed for row in rows]]
    return [rows[number] for rows in parts for number in generator.permutation(len(rows)).tolist()]


def plan_epoch(lengths: Sequence[int], *, packing: bool, sequence_len: int, micro_batch_size: int, seed: int,
               epoch: int, limits: PackingLimits | None = None) -> list[list[list[int]]]:
    """The batches of one epoch: batches -> rows -> sample indices. The last batch may have fewer rows; no sample is left out."""
    if packing:
        rows = pack(lengths, sequence_len, seed, epoch, limits)
    else:
        rows = [[index] for group in _groups(len(lengths), limits or PackingLimits(), _generator(seed, epoch)) for index in group]
    return [rows[start:start + micro_batch_size] for start in range(0, len(rows), micro_batch_size)]


def _groups(count: int, limits: PackingLimits, generator: Any) -> list[list[int]]:
    """The samples in the order of the epoch, cut into groups."""
    borders = [(start, min(start + limits.group, count)) for start in range(0, count, limits.group)]
    if limits.shuffle == "none":
        return [list(range(start, end)) for start, end in borders]
    if limits.shuffle == "groups":
        return [(start + generator.permutation(end - start)).tolist() for start, end in borders]
    drawn: list[int] = generator.permutation(count).tolist()
    return [drawn[start:end] for start, end in borders]


def fewest_rows(lengths: Sequence[int], capacity: int) -> int:
    """A number of rows that no packing goes below: all tokens fit, and samples that are too long to share a row do not.

    The bound L2 of Martello and Toth (Discrete Applied Mathematics 28, 1990).
    """
    import numpy as np

    ordered = np.sort(np.asarray(lengths, dtype=np.int64))
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(ordered)])
    half = int(np.searchsorted(ordered, capacity // 2, side="right"))
    found = max(-(-int(sums[-1]) // capacity), len(ordered) - half)
    for least in np.unique(ordered[:half]).tolist():
        start, wide = int(np.searchsorted(ordered, least)), int(np.searchsorted(ordered, capacity - least, side="right"))
        room = (wide - half) * capacity - int(sums[wide] - sums[half])
        found = max(found, len(ordered) - half + max(0, -(-(int(sums[half] - sums[start]) - room) // capacity)))
    return found


def _fullest(lengths: Sequence[int], order: Sequence[int], capacity: int, most: int, generator: Any) -> list[list[int]]:
    fewest = fewest_rows([lengths[index] for index in order], capacity)
    rows = _best_fit(lengths, order, capacity, most)
    if len(rows) > _ENOUGH * fewest:
        rows = min(rows, _exact_fit(lengths, order, capacity, most), key=len)
    for _ in range(_ROUNDS):
        if len(rows) <= _ENOUGH * fewest:
            break
        rows = _again(lengths, rows, capacity, most, generator)
    return rows


def _again(lengths: Sequence[int], rows: list[list[int]], capacity: int, most: int, generator: Any) -> list[list[int]]:
    """Pack the emptiest tenth of the rows again, together with twice as many of the others; never more rows than before."""
    ordered = sorted(rows, key=lambda row: sum(lengths[index] for index in row))
    few = min(max(10, len(rows) // 10), _AT_ONCE // 3)
    drawn = set(generator.choice(range(few, len(ordered)), min(max(0, len(ordered) - few), 2 * few), replace=False).tolist())
    apart = [row for place, row in enumerate(ordered) if place < few or place in drawn]
    samples = [index for row in apart for index in row]
    best = min(_best_fit(lengths, samples, capacity, most), _exact_fit(lengths, samples, capacity, most), key=len)
    if len(best) > len(apart):
        return rows
    return [row for place, row in enumerate(ordered) if place >= few and place not in drawn] + best


def _next_fit(lengths: Sequence[int], order: Sequence[int], capacity: int) -> list[list[int]]:
    """One row after the other, as Axolotl does it (where the largest number of samples does not count)."""
    rows: list[list[int]] = []
    room = 0
    for index in order:
        if lengths[index] > room:
            rows.append([])
            room = capacity
        rows[-1].append(index)
        room -= lengths[index]
    return rows


def _best_fit(lengths: Sequence[int], order: Sequence[int], capacity: int, most: int) -> list[list[int]]:
    """Each sample goes into the fullest row that still has room (Johnson, 1973).

    Samples longer than an eighth of a row come first, longest first, which is what makes rows full; the shorter ones follow in the order
    they are given, so that a row is a mixture and not a collection of samples of one length.
    """
    rows: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    open_rooms = 0  # bit r is set when some row has exactly r tokens of room
    for index in sorted(order, key=lambda index: -lengths[index] if 8 * lengths[index] > capacity else 0):
        length = lengths[index]
        fitting = open_rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            chosen = by_room[room].pop()
            if not by_room[room]:
                open_rooms &= ~(1 << room)
            rows[chosen].append(index)
        else:
            room, chosen = capacity, len(rows)
            rows.append([index])
        left = room - length
        if left and len(rows[chosen]) < most:
            by_room.setdefault(left, []).append(chosen)
            open_rooms |= 1 << left
    return rows


def _exact_fit(lengths: Sequence[int], order: Sequence[int], capacity: int, most: int) -> list[list[int]]:
    """One row after the other: the longest sample that is left, then one, two or three that fill the rest exactly where there are such, else
    the longest that fits."""
    stock = _Stock(lengths, order, capacity)
    rows: list[list[int]] = []
    while stock.longest(capacity):
        row, room = [stock.take(stock.longest(capacity))], capacity
        room -= lengths[row[0]]
        while len(row) < most and (length := stock.filling(room, most - len(row))):
            row.append(stock.take(length))
            room -= length
        rows.append(row)
    return rows


class _Stock:
    """Samples by length. Bit l of `_there` is set when there is one of length l, bit capacity - l of `_mirrored` likewise."""

    def __init__(self, lengths: Sequence[int], order: Sequence[int], capacity: int) -> None:
        self._capacity, self._there, self._mirrored = capacity, 0, 0
        self._samples: dict[int, list[int]] = {}
        for index in order:
            self._samples.setdefault(lengths[index], []).append(index)
        for length in self._samples:
            self._flip(length)

    def longest(self, room: int) -> int:
        """The greatest length that fits, 0 when none does."""
        return (self._there & ((1 << (room + 1)) - 1)).bit_length() - 1 if room > 0 and self._there & ((1 << (room + 1)) - 1) else 0

    def take(self, length: int) -> int:
        """A sample of this length."""
        index = self._samples[length].pop()
        if not self._samples[length]:
            del self._samples[length]
            self._flip(length)
        return index

    def filling(self, room: int, most: int) -> int:
        """The length to put into a room next: one that alone, or with one or two more, leaves nothing of it; else the longest that fits."""
        longest = self.longest(room)
        if longest == room or most < 2:
            return longest
        pair = self._half_of(room)
        if pair or most < 3:
            return pair or longest
        length = longest
        for _ in range(_TRIES):
            if not length:
                break
            rest = room - length
            if self._there >> rest & 1 or self._half_of(rest):
                return length
            length = self.longest(length - 1)
        return longest

    def _half_of(self, room: int) -> int:
        """The shorter, and among such pairs the longest, of two lengths that add up to `room`; 0 when there are none."""
        found = self._there & (self._mirrored >> (self._capacity - room)) & ((1 << (room // 2 + 1)) - 1)
        while found:
            length = found.bit_length() - 1
            if 2 * length != room or len(self._samples[length]) > 1:
                return length
            found ^= 1 << length
        return 0

    def _flip(self, length: int) -> None:
        self._there ^= 1 << length
        self._mirrored ^= 1 << (self._capacity - length)


def _generator(seed: int, epoch: int) -> Any:
    import numpy as np

    return np.random.default_rng([seed, epoch])
