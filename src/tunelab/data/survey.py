"""One pass over all samples: a few figures for each of them, from which the statistics, the gate and the choice of the worst rows are made."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tunelab.config.config import Config
from tunelab.data.formats import turn_ends
from tunelab.data.mixing import trained_on
from tunelab.data.prepare import Prepared, context_of
from tunelab.data.sample import IGNORE, Sample
from tunelab.data.samples import Samples
from tunelab.data.tokenizer import TextTokenizer

_AT_ONCE = 2000
_PADDING_FROM = 4
"""So many trained padding tokens at the end of a row are padding; up to three may be a format's way to end an answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Numpy arrays with one figure for each sample: the rows to train on, then those held out.

    `lengths` and `supervised` are in tokens; `dataset` and `row` say where a sample comes from. `trains_end`: an end-of-turn token is
    learnt. `open_end`: the row stops inside what is learnt. `unlearnt_end`: the last thing learnt is followed by an end-of-turn token that
    is not. `double_bos`: two BOS tokens at the start. `trained_padding`: the row ends in padding that is learnt. `new_tokens`: it holds
    tokens that the model has never seen; `learns_new_tokens`: and is to write them. `same_as`: the first sample with the same ids (itself,
    for most).
    """

    train: int
    lengths: Any
    supervised: Any
    dataset: Any
    row: Any
    trains_end: Any
    open_end: Any
    unlearnt_end: Any
    double_bos: Any
    trained_padding: Any
    new_tokens: Any
    learns_new_tokens: Any
    same_as: Any

    def __len__(self) -> int:
        return len(self.lengths)


def end_tokens(tokenizer: TextTokenizer, config: Config | None = None) -> frozenset[int]:
    """The ids of the tokens that end a turn: EOS, those that the config names, and those with which its templates close an answer."""
    ids = frozenset(() if tokenizer.eos_id is None else (tokenizer.eos_id,))
    for index, dataset in enumerate(trained_on(config.data) if config is not None else ()):
        if config is not None and dataset.type_name.startswith("chat_template"):
            ids |= turn_ends.end_tokens(context_of(config, dataset, index, tokenizer))
    return ids


def sizes(samples: Sequence[Sample]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many tokens each sample has, and how many of them carry loss."""
    if isinstance(samples, Samples):
        return tuple(samples.lengths().tolist()), tuple(samples.supervised().tolist())
    return tuple(len(sample.input_ids) for sample in samples), tuple(sample.supervised for sample in samples)


def survey(prepared: Prepared, tokenizer: TextTokenizer, ends: Collection[int] | None = None) -> Survey:
    """Look at every sample once."""
    import numpy as np

    looker = _Looker(tokenizer, frozenset(end_tokens(tokenizer) if ends is None else ends))
    blocks = (_block(samples, start, start + _AT_ONCE) for samples in (prepared.train, prepared.held_out)
              for start in range(0, len(samples), _AT_ONCE))
    parts = [looker.look(block) for block in blocks] or [looker.look(_block([], 0, 0))]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Survey(train=len(prepared.train), **columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Some samples end to end. `lengths`, `dataset`, `row`: one for each sample; `ids`, `trained`: one for each token."""

    lengths: Any
    dataset: Any
    row: Any
    ids: Any
    trained: Any


def _block(samples: Sequence[Sample], start: int, stop: int) -> _Block:
    import numpy as np

    if isinstance(samples, Samples):
        numbers = samples.order[start:stop]
        first, last, places = samples.starts[numbers], samples.starts[numbers + 1], samples.places[numbers]
        coded = np.concatenate([samples.tokens[begin:end] for begin, end in zip(first.tolist(), last.tolist(), strict=True)])
        return _Block(last - first, places[:, 0], places[:, 2], np.where(coded < 0, ~coded, coded), coded >= 0)
    part = [samples[index] for index in range(start, min(stop, len(samples)))]
    lengths = np.array([len(sample.input_ids) for sample in part], dtype=np.int64)
    ids, labels = (np.fromiter(chain.from_iterable(getattr(sample, name) for sample in part), dtype=np.int32, count=int(lengths.sum()))
                   for name in ("input_ids", "labels"))
    dataset, row = (np.array([getattr(sample.origin, name) for sample in part], dtype=np.int64) for name in ("dataset", "row"))
    return _Block(lengths, dataset, row, ids, labels != IGNORE)


class _Looker:
    """Figures of many samples at a time; it remembers the rows that it has seen, to know them again."""

    def __init__(self, tokenizer: TextTokenizer, ends: frozenset[int]) -> None:
        self._ends, self._bos, self._pad = sorted(ends), tokenizer.bos_id, tokenizer.pad_id
        self._new = sorted(token for name in tokenizer.added_tokens if (token := tokenizer.token_id(name)) is not None)
        self._seen: dict[bytes, int] = {}
        self._count = 0

    def look(self, block: _Block) -> dict[str, Any]:
        import numpy as np

        lengths, ids, trained = block.lengths, block.ids, block.trained
        last = np.cumsum(lengths)
        first = last - lengths
        trained[first[lengths > 0]] = False  # nothing comes before the first token to predict it from
        ends = np.isin(ids, self._ends)
        new = np.isin(ids, self._new) if self._new else np.zeros(len(ids), bool)

        def in_row(mask: Any) -> Any:
            sums = np.concatenate([[0], np.cumsum(mask)])
            return sums[last] - sums[first]

        def at(mask: Any, place: Any) -> Any:
            return mask[np.clip(place, 0, len(mask) - 1)] & (place >= first) & (place < last) if len(mask) else lengths < 0

        final = _last_true(trained, first, last)
        closed = at(ends, final)
        return {
            "lengths": lengths, "supervised": in_row(trained), "dataset": block.dataset, "row": block.row,
            "trains_end": in_row(trained & ends) > 0, "open_end": (final == last - 1) & (final >= first) & ~closed,
            "unlearnt_end": ~closed & (final >= first) & np.logical_or.reduce([at(ends & ~trained, final + step) for step in (1, 2, 3)]),
            "double_bos": at(ids == self._bos, first) & at(ids == self._bos, first + 1) if self._bos is not None else lengths < 0,
            "trained_padding": np.logical_and.reduce([at(trained & (ids == self._pad), last - step) for step in range(1, _PADDING_FROM + 1)])
            if self._pad is not None else lengths < 0,
            "new_tokens": in_row(new) > 0, "learns_new_tokens": in_row(new & trained) > 0, "same_as": self._same_as(ids, first, last)}

    def _same_as(self, ids: Any, first: Any, last: Any) -> Any:
        import numpy as np

        raw, size = ids.tobytes(), ids.itemsize
        found = []
        for start, end in zip(first.tolist(), last.tolist(), strict=True):
            key = hashlib.blake2b(raw[start * size:end * size], digest_size=16).digest()
            found.append(self._seen.setdefault(key, self._count))
            self._count += 1
        return np.array(found, dtype=np.int64)


def _last_true(mask: Any, first: Any, last: Any) -> Any:
    """For each stretch [first, last) the last place where the mask holds; first - 1 when there is none."""
    import numpy as np

    before = np.concatenate([[-1], np.maximum.accumulate(np.where(mask, np.arange(len(mask)), -1))]) if len(mask) else np.array([-1])
    return np.maximum(before[last], first - 1)
