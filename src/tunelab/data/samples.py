"""Many samples in little memory: the tokens of all of them in one array, and a Sample made when it is asked for.

A token takes four bytes: the id itself where it carries loss, its complement (~id) where it does not. Labels that are neither
the id nor IGNORE, which only rows that came as token ids can have, are kept beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

from tunelab.data.sample import IGNORE, Origin, Sample

_BLOCK = 2**20
"""Tokens that are looked at together."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples(Sequence[Sample]):
    """Samples as numpy arrays; a sequence of Sample in the order of `order`.

    `tokens`: (tokens,) int32, coded as above. `starts`: (n + 1,) int64, where each sample begins. `learnt`: (n,) int32, tokens with loss.
    `places`: (n, 3) int64: index into `datasets`, into `files`, row. `odd_at`, `odd_label`: tokens with another label, by place.
    `order`: which of the n samples stand in this sequence, and where.
    """

    tokens: Any
    starts: Any
    learnt: Any
    places: Any
    files: tuple[str, ...]
    odd_at: Any
    odd_label: Any
    order: Any

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Samples: ...

    def __getitem__(self, index: int | slice) -> Sample | Samples:
        if isinstance(index, slice):
            return replace(self, order=self.order[index])
        return self._sample(int(self.order[index]))

    def __iter__(self) -> Iterator[Sample]:
        return (self._sample(number) for number in self.order.tolist())

    def __eq__(self, other: object) -> bool:
        """The same samples in the same order."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def select(self, order: Any) -> Samples:
        """The samples with these numbers in this sequence, in this order."""
        return replace(self, order=self.order[order])

    def lengths(self) -> Any:
        """How many tokens each sample has, (n,) int64."""
        return self.starts[self.order + 1] - self.starts[self.order]

    def supervised(self) -> Any:
        """How many tokens of each sample carry loss, as `Sample.supervised` counts them, (n,) int32."""
        return self.learnt[self.order]

    def raw(self, index: int) -> bytes:
        """The bytes that tell a sample's ids and labels: equal exactly when both are."""
        number = int(self.order[index])
        start, end = int(self.starts[number]), int(self.starts[number + 1])
        found: list[bytes] = [self.tokens[start:end].tobytes()]
        if len(self.odd_at):
            import numpy as np

            first, last = np.searchsorted(self.odd_at, (start, end))
            found += [b"|", (self.odd_at[first:last] - start).tobytes(), self.odd_label[first:last].tobytes()]
        return b"".join(found)

    def digest(self) -> str:
        """A hash of the ids and labels of all samples in their order; where they come from, and how they are stored, does not count."""
        import numpy as np

        digest = hashlib.sha256(np.ascontiguousarray(self.lengths(), dtype="<i8").tobytes())
        for first, last in self._blocks():
            starts, lengths = self.starts[self.order[first:last]], self.lengths()[first:last]
            begins = np.cumsum(lengths) - lengths
            places = np.arange(int(lengths.sum())) + np.repeat(starts - begins, lengths)
            digest.update(np.ascontiguousarray(self.tokens[places], dtype="<i4").tobytes())
            if len(found := np.flatnonzero(np.isin(places, self.odd_at, assume_unique=True))):
                digest.update(f"|{first}|{len(found)}|".encode() + found.astype("<i8").tobytes())
                digest.update(self.odd_label[np.searchsorted(self.odd_at, places[found])].astype("<i4").tobytes())
        return digest.hexdigest()

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Stretches of this sequence with so few tokens each that they fit in memory, or one sample."""
        import numpy as np

        ends = np.cumsum(self.lengths())
        first = 0
        while first < len(self.order):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _BLOCK, side="right")))
            yield first, last
            first = last

    def _sample(self, number: int) -> Sample:
        import numpy as np

        start, end = int(self.starts[number]), int(self.starts[number + 1])
        coded = np.asarray(self.tokens[start:end])
        labels = np.where(coded < 0, IGNORE, coded)
        if len(self.odd_at):
            first, last = np.searchsorted(self.odd_at, (start, end))
            labels[self.odd_at[first:last] - start] = self.odd_label[first:last]
        dataset, file, row = self.places[number].tolist()
        return Sample(tuple(np.where(coded < 0, ~coded, coded).tolist()), tuple(labels.tolist()), Origin(dataset, self.files[file], row))


def encode(samples: Sequence[Sample]) -> Samples:
    """Samples as arrays, in their order."""
    import numpy as np

    lengths = np.array([len(sample.input_ids) for sample in samples], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    ids, labels = (np.fromiter((token for sample in samples for token in getattr(sample, name)), dtype=np.int32, count=int(starts[-1]))
                   for name in ("input_ids", "labels"))
    odd = np.flatnonzero((labels != ids) & (labels != IGNORE))
    files = tuple(dict.fromkeys(sample.origin.file for sample in samples))
    number = {file: index for index, file in enumerate(files)}
    places = [(sample.origin.dataset, number[sample.origin.file], sample.origin.row) for sample in samples]
    return Samples(
        tokens=np.where(labels == IGNORE, ~ids, ids), starts=starts, learnt=_learnt(labels, starts),
        places=np.array(places, dtype=np.int64).reshape(len(samples), 3), files=files, odd_at=odd.astype(np.int64),
        odd_label=labels[odd], order=np.arange(len(samples), dtype=np.int64))


def join(parts: Sequence[Samples], tokens: Any = None) -> Samples:
    """Several encoded lists end to end. `tokens` are all their tokens in one array, where somebody has it already (on disk)."""
    import numpy as np

    files = tuple(dict.fromkeys(file for part in parts for file in part.files))
    number = {file: index for index, file in enumerate(files)}
    shifts = np.cumsum([0, *(int(part.starts[-1]) for part in parts)])
    places = [np.array(part.places) for part in parts]
    for part, place in zip(parts, places, strict=True):
        place[:, 1] = np.array([number[file] for file in part.files], dtype=np.int64)[place[:, 1]]

    def joined(arrays: list[Any], kind: Any) -> Any:
        return np.concatenate(arrays) if arrays else np.zeros(0, kind)

    starts = [np.zeros(1, np.int64), *(part.starts[1:] + shift for part, shift in zip(parts, shifts, strict=False))]
    count = sum(len(part.starts) - 1 for part in parts)
    return Samples(
        tokens=joined([part.tokens for part in parts], np.int32) if tokens is None else tokens, starts=np.concatenate(starts),
        learnt=joined([part.learnt for part in parts], np.int32),
        places=np.concatenate(places) if places else np.zeros((0, 3), np.int64), files=files,
        odd_at=joined([part.odd_at + shift for part, shift in zip(parts, shifts, strict=False)], np.int64),
        odd_label=joined([part.odd_label for part in parts], np.int32), order=np.arange(count, dtype=np.int64))


def _learnt(labels: Any, starts: Any) -> Any:
    """Tokens with loss per sample, the first token left out: nothing comes before it to predict it from."""
    import numpy as np

    trained = labels != IGNORE
    trained[starts[:-1][starts[:-1] < starts[1:]]] = False
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(trained)])
    return (sums[starts[1:]] - sums[starts[:-1]]).astype(np.int32)
