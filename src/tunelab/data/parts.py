"""Some rows of a dataset to encoded samples: tokenised, and those left out that are too long, too short, or teach nothing.

This is the work that processes share; nothing in here depends on the other rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.counts import EXAMPLES, Tally
from tunelab.data.formats import Context, Format, completion
from tunelab.data.formats.pair_tokens import PairFormat
from tunelab.data.sample import Row, Sample, Unit
from tunelab.data.samples import Samples, encode
from tunelab.errors import DataError


@dataclass(frozen=True, slots=True)
class Work:
    """All there is to know about the rows of one dataset. `longest` and `shortest` are in tokens; `excess` is what happens to longer
    rows: drop, truncate or raise."""

    dataset: Dataset
    context: Context
    tokenise: Format | PairFormat
    longest: int
    shortest: int
    excess: str


@dataclass(frozen=True, slots=True)
class Part:
    """What some rows became. `samples` are those to use. `rows` and `used` have an entry for every unit (a sample, or a pair of them) that was
    made: the number of its row in the dataset, and whether it is one of them."""

    samples: Samples
    rows: Any
    used: Any
    tally: Tally


def make_part(work: Work, rows: Sequence[Row], numbers: Sequence[int]) -> Part:
    """Tokenise some rows; `numbers` are their numbers in the dataset. Raises DataError for a row that cannot be read."""
    import numpy as np

    tally, kept = Tally(read=len(rows)), list[Sample]()
    made: list[int] = []
    used: list[bool] = []
    for row, number in zip(rows, numbers, strict=True):
        units = _units(row, work)
        for unit in units:
            chosen, tally = _judge(unit, work, tally)
            kept += chosen
            made.append(number)
            used.append(bool(chosen))
        if not units:
            tally = replace(tally, too_short=tally.too_short + 1)
        elif work.tokenise is completion.tokenise and completion.was_cut([unit.samples[0] for unit in units], work.context):
            tally = replace(tally, cut=tally.cut + 1)
    return Part(encode(kept), np.array(made, dtype=np.int64), np.array(used, dtype=np.bool_), tally)


def _units(row: Row, work: Work) -> list[Unit]:
    try:
        found = work.tokenise(row, work.dataset, work.context)
        return [one if isinstance(one, Unit) else Unit((one,), len(one.input_ids)) for one in found]
    except (UnicodeEncodeError, TypeError) as error:
        if _is_text(row):
            raise
        raise DataError("This row holds half of a surrogate pair (such as \\ud83d on its own), which is no character and cannot be tokenised.",
                        where=str(row.origin), next_step="Mend the text, or leave the row out.") from error


def _is_text(row: Row) -> bool:
    try:
        json.dumps(row.values, ensure_ascii=False, default=repr).encode()
    except UnicodeEncodeError:
        return False
    return True


def _judge(unit: Unit, work: Work, tally: Tally) -> tuple[tuple[Sample, ...], Tally]:
    """The samples as they are used, none when they are left out; and the tally with them."""
    length, origin = unit.length, unit.samples[0].origin
    if length < work.shortest:
        return (), replace(tally, too_short=tally.too_short + 1)
    if length > work.longest:
        if work.excess == "raise":
            raise DataError(f"This row has {length} tokens, and at most {work.longest} are allowed (excess_length_strategy: raise).",
                            where=str(origin), next_step=f"Shorten or leave out the row, or raise sequence_len to {length}.")
        if work.excess == "drop" or unit.prompt >= work.longest:
            return (), replace(tally, too_long=tally.too_long + 1, longest=max(tally.longest, length),
                               first_long=tally.first_long or length, long=(*tally.long, origin)[:EXAMPLES])
    if any(len(one.input_ids) > work.longest for one in unit.samples):  # of a pair also its end token, which `length` does not count
        unit = unit.cut(work.longest)
        tally = replace(tally, truncated=tally.truncated + 1, shortened=(*tally.shortened, origin)[:EXAMPLES])
    if not any(one.supervised for one in unit.samples):
        return (), replace(tally, without_label=tally.without_label + 1, silent=(*tally.silent, origin)[:EXAMPLES])
    return unit.samples, tally
