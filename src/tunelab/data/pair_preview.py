"""Pairs made visible: both answers token by token, and figures over all pairs, above all how much length gives the better one away."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

from tunelab.data.pair_survey import PairFigures, PairSurvey
from tunelab.data.pairs import pair_at
from tunelab.data.prepare import Prepared
from tunelab.data.preview import PreviewRow, preview
from tunelab.data.sample import Sample
from tunelab.data.samples import Samples
from tunelab.data.tokenizer import TextTokenizer

BETTER, WORSE, GOOD, BAD = "better", "worse", "good", "bad"


@dataclass(frozen=True, slots=True)
class PairStatistics:
    """Figures over the pairs to train on, or the rated answers. Lengths are in tokens.

    `good`, `bad`: rated answers by their label (0 for pairs). `chosen_longer`: the share of pairs whose better answer is the longer one,
    `rejected_longer` the shorter one; what is left is of equal length. Means are over the sides that are there.
    """

    rows: int
    rated: bool
    good: int
    bad: int
    duplicates: int
    prompt_median: float
    chosen_mean: float
    chosen_median: float
    chosen_longest: int
    rejected_mean: float
    rejected_median: float
    rejected_longest: int
    chosen_longer: float
    rejected_longer: float


def single_answers(prepared: Prepared) -> Prepared:
    """The sides that are there as rows of their own, for figures that know nothing of pairs."""
    def there(samples: Sequence[Sample]) -> Sequence[Sample]:
        if isinstance(samples, Samples):
            return samples.select(samples.lengths().nonzero()[0])
        return [sample for sample in samples if sample.input_ids]

    return replace(prepared, train=there(prepared.train), held_out=there(prepared.held_out), width=1)


def preview_pairs(samples: Sequence[Sample], tokenizer: TextTokenizer, rows: Sequence[int], *, ends: Collection[int],
                  rated: bool) -> tuple[PreviewRow, ...]:
    """The chosen pairs, a row for each side that is there: its `index` is the pair's, its `side` says which it is."""
    found: list[PreviewRow] = []
    for index in rows:
        pair = pair_at(samples, index)
        names = (GOOD, BAD) if rated else (BETTER, WORSE)
        sides = [(side, name) for side, name in zip((pair.chosen, pair.rejected), names, strict=True) if side is not None]
        shown = preview([side for side, _ in sides], tokenizer, range(len(sides)), ends=ends)
        found += [replace(row, index=index, side=name) for row, (_, name) in zip(shown, sides, strict=True)]
    return tuple(found)


def pair_statistics(found: PairSurvey) -> PairStatistics:
    """Figures over all rows to train on."""
    rows = found.rows[:found.train]
    chosen = [row.chosen for row in rows if row.good]
    rejected = [row.rejected for row in rows if not found.rated or not row.good]

    def share(count: int) -> float:
        return 0.0 if found.rated or not rows else count / len(rows)

    return PairStatistics(
        rows=len(rows), rated=found.rated, good=len(chosen) if found.rated else 0, bad=len(rejected) if found.rated else 0,
        duplicates=sum(row.same_as != number for number, row in enumerate(rows)), prompt_median=median([row.prompt for row in rows]),
        chosen_mean=fmean(chosen or [0]), chosen_median=median(chosen or [0]), chosen_longest=max(chosen, default=0),
        rejected_mean=fmean(rejected or [0]), rejected_median=median(rejected or [0]), rejected_longest=max(rejected, default=0),
        chosen_longer=share(sum(row.chosen > row.rejected for row in rows)), rejected_longer=share(sum(row.chosen < row.rejected for row in rows)))


def worst_pairs(found: PairSurvey, count: int) -> tuple[tuple[int, str], ...]:
    """The most doubtful rows to train on as (row, why), `count` of each reason."""
    rows = list(enumerate(found.rows[:found.train]))
    chosen: list[tuple[int, str]] = []

    def add(flagged: Sequence[tuple[int, PairFigures]], why: str) -> None:
        chosen.extend((number, why) for number, _ in flagged[:count])

    add([one for one in rows if one[1].same], "both answers are the same")
    add([one for one in rows if one[1].empty], "an empty answer")
    add([one for one in rows if one[1].cut], "cut off at sequence_len")
    add([one for one in rows if one[1].parted], "the answers do not follow the same prompt")
    add([one for one in rows if one[1].same_as != one[0]], "an earlier row is the same")
    if not found.rated:
        add(sorted(rows, key=lambda one: -abs(one[1].chosen - one[1].rejected)), "the answers differ most in length")
    add(sorted(rows, key=lambda one: -one[1].total), "longest")
    return tuple(chosen)
