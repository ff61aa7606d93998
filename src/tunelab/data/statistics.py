"""Figures over all rows to train on: how long they are, what of them is trained, which languages, what is there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean, median
from typing import Any

from tunelab.data.languages import language_of
from tunelab.data.prepare import Prepared
from tunelab.data.sample import IGNORE, Sample
from tunelab.data.survey import Survey, survey
from tunelab.data.token_text import plain_text
from tunelab.data.tokenizer import TextTokenizer

_BUCKETS = 12
_LANGUAGE_ROWS = 20_000
_LANGUAGE_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows with lower <= length <= upper tokens. `supervised`: how many of their tokens are trained."""

    lower: int
    upper: int
    count: int
    tokens: int = 0
    supervised: int = 0


@dataclass(frozen=True, slots=True)
class Language:
    """A language and how many of the rows that were looked at are trained to write it."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures over the rows to train on (held-out rows are not in them). Lengths are in tokens.

    `duplicates` counts rows whose ids all occurred in an earlier row. `end_never_trained` counts rows in which no end-of-turn
    token is learnt; `double_bos` those that begin with two BOS tokens; `open_end` those that stop inside what is learnt, as a text
    does that was cut. `languages` are those of the trained text, by script and common words, in `language_rows` rows spread evenly.
    """

    rows: int
    tokens: int
    supervised: int
    share: float
    shortest: int
    median: float
    mean: float
    p95: int
    longest: int
    histogram: tuple[Bucket, ...]
    duplicates: int
    end_never_trained: int
    double_bos: int
    open_end: int = 0
    languages: tuple[Language, ...] = ()
    language_rows: int = 0


def statistics(prepared: Prepared, tokenizer: TextTokenizer, found: Survey | None = None) -> Statistics:
    """Figures over all rows to train on. `found`: what a survey of them has found already."""
    found = survey(prepared, tokenizer) if found is None else found
    count = found.train
    supervised = found.supervised[:count]
    lengths = sorted(found.lengths[:count].tolist())
    total = sum(lengths)
    languages, looked_at = _languages(prepared.train, tokenizer)

    def rows_with(flags: Any) -> int:
        return int(flags[:count].sum())

    return Statistics(
        rows=count, tokens=total, supervised=int(supervised.sum()), share=int(supervised.sum()) / total, shortest=lengths[0],
        median=median(lengths), mean=fmean(lengths), p95=lengths[ceil(0.95 * count) - 1], longest=lengths[-1],
        histogram=_histogram(found.lengths[:count], supervised), duplicates=rows_with(is_repeated(found)),
        end_never_trained=rows_with(~found.trains_end), double_bos=rows_with(found.double_bos), open_end=rows_with(found.open_end),
        languages=languages, language_rows=looked_at)


def is_repeated(found: Survey) -> Any:
    """For each sample whether an earlier one has the same ids."""
    import numpy as np

    return found.same_as != np.arange(len(found))


def _histogram(lengths: Any, supervised: Any) -> tuple[Bucket, ...]:
    """Twelve buckets of equal width from the shortest to the longest length."""
    import numpy as np

    lowest = int(lengths.min())
    width = max(1, ceil((int(lengths.max()) - lowest + 1) / _BUCKETS))
    place = (lengths - lowest) // width
    counts, tokens, trained = (np.bincount(place, weights=weights, minlength=_BUCKETS).astype(np.int64).tolist()
                               for weights in (None, lengths, supervised))
    return tuple(Bucket(lowest + number * width, lowest + (number + 1) * width - 1, counts[number], tokens[number], trained[number])
                 for number in range(_BUCKETS))


def _languages(samples: Sequence[Sample], tokenizer: TextTokenizer) -> tuple[tuple[Language, ...], int]:
    """The languages of the trained text, most frequent first, and how many rows were looked at."""
    step = max(1, ceil(len(samples) / _LANGUAGE_ROWS))
    counts: Counter[str] = Counter()
    for index in range(0, len(samples), step):
        counts[language_of(plain_text(tokenizer, _first_trained(samples[index])))] += 1
    return tuple(Language(name, rows) for name, rows in counts.most_common()), sum(counts.values())


def _first_trained(sample: Sample) -> list[int]:
    """The first trained tokens of a row."""
    found: list[int] = []
    for label in sample.labels:
        if label != IGNORE:
            found.append(int(label))
            if len(found) == _LANGUAGE_TOKENS:
                break
    return found
