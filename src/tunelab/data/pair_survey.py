"""One pass over all pairs of answers: a few figures for each, from which the gate and the statistics are made."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain

from tunelab.data.pairs import Pair, pairs
from tunelab.data.prepare import Prepared
from tunelab.data.sample import IGNORE, Origin, Sample


@dataclass(frozen=True, slots=True)
class PairFigures:
    """One pair, or one rated answer. Lengths are in tokens; of a side that is not there they are 0.

    `prompt`: tokens that both sides begin with and do not learn. `empty`: a side has no answer but the token that ends it. `same`: both sides
    are equal. `parted`: they begin with different prompts. `cut`: a side stops at the limit; `open_end`: it ends without an end token for
    another reason. `double_bos`: it begins with two BOS tokens. `good`: the better side is there. `same_as`: the first row that is equal.
    """

    origin: Origin
    prompt: int
    chosen: int
    rejected: int
    total: int
    empty: bool
    same: bool
    parted: bool
    cut: bool
    open_end: bool
    double_bos: bool
    good: bool
    same_as: int


@dataclass(frozen=True, slots=True)
class PairSurvey:
    """The figures of all rows, those to train on first. `rated`: the rows are single answers; `scored`: conversations for a reward model."""

    train: int
    rows: tuple[PairFigures, ...]
    rated: bool
    scored: bool


def survey_pairs(prepared: Prepared, ends: Collection[int], bos: int | None, limit: int, *, rated: bool, scored: bool) -> PairSurvey:
    """Look at every pair once. `ends`: tokens that end a turn; `limit`: sequence_len."""
    seen: dict[bytes, int] = {}
    found = []
    for number, pair in enumerate(chain(pairs(prepared.train), pairs(prepared.held_out))):
        key = hashlib.blake2b(repr([None if side is None else side.input_ids for side in (pair.chosen, pair.rejected)]).encode(), digest_size=16).digest()
        found.append(_figures(pair, frozenset(ends), bos, limit, scored, seen.setdefault(key, number)))
    return PairSurvey(len(prepared.train) // prepared.width, tuple(found), rated, scored)


def _figures(pair: Pair, ends: frozenset[int], bos: int | None, limit: int, scored: bool, same_as: int) -> PairFigures:
    sides = pair.sides
    heads = [_common(sides) if scored else _head(side) for side in sides]
    answers = [side.input_ids[head:] for side, head in zip(sides, heads, strict=True)]
    closed = [side.input_ids[-1] in ends for side in sides]
    full = [len(side.input_ids) >= limit for side in sides]
    chosen, rejected = (0 if side is None else len(side.input_ids) - heads[min(place, len(sides) - 1)]
                        for place, side in enumerate((pair.chosen, pair.rejected)))
    return PairFigures(
        origin=pair.origin, prompt=min(heads), chosen=chosen, rejected=rejected, total=sum(len(side.input_ids) for side in sides),
        empty=not scored and any(all(token in ends for token in answer) for answer in answers),
        same=len(sides) == 2 and sides[0].input_ids == sides[1].input_ids,
        parted=not scored and len({side.input_ids[:head] for side, head in zip(sides, heads, strict=True)}) > 1,
        cut=any(at_limit and not end for at_limit, end in zip(full, closed, strict=True)),
        open_end=not scored and any(not at_limit and not end for at_limit, end in zip(full, closed, strict=True)),
        double_bos=bos is not None and any(side.input_ids[:2] == (bos, bos) for side in sides), good=pair.chosen is not None, same_as=same_as)


def _head(sample: Sample) -> int:
    """Tokens before the answer."""
    return next((place for place, label in enumerate(sample.labels) if label != IGNORE), len(sample.labels))


def _common(sides: Sequence[Sample]) -> int:
    """Tokens that two conversations begin with together."""
    one, other = sides[0].input_ids, sides[-1].input_ids
    return next((place for place, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), min(len(one), len(other)))
