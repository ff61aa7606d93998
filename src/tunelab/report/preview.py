"""Figures of a preview in words, for the terminal and for its page: what became of the rows, languages, roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from tunelab.report import numbers
from tunelab.report.content import TokenRow

if TYPE_CHECKING:
    from tunelab.data.pair_preview import PairStatistics
    from tunelab.data.prepare import Counts
    from tunelab.data.statistics import Language, Statistics
    from tunelab.data.turns import Turns

_MOST_LANGUAGES = 8


def left_out(counts: Counts) -> tuple[tuple[str, int], ...]:
    """(why, how many rows) for what is not trained on and not held out either."""
    reasons = [("too long", counts.too_long), ("too short", counts.too_short), ("with nothing to train on", counts.without_label)]
    return (*reasons, ("duplicates of others", counts.duplicates)) if counts.duplicates else tuple(reasons)


def most_frequent(languages: Sequence[Language]) -> list[tuple[str, float]]:
    """(name, share of the rows) for the languages that matter; the rest (rare ones, and those behind the eighth) together as "others"."""
    total = sum(one.rows for one in languages) or 1
    shown = [(one.name, one.rows / total) for one in languages[:_MOST_LANGUAGES] if one.rows >= 0.005 * total]
    rest = total - sum(one.rows for one in languages[:len(shown)])
    return [*shown, ("others", rest / total)] if rest and languages else shown


def figures_of(statistics: Statistics | Mapping[str, Any] | None) -> tuple[tuple[str, float, str], ...]:
    """(label, number, the number in words) for each figure of a `data.statistics.Statistics` that is worth a line."""
    if statistics is None:
        return ()
    known: Mapping[str, Any] = asdict(statistics) if is_dataclass(statistics) and not isinstance(statistics, type) else statistics
    labels = (("Rows", "rows", numbers.count), ("Tokens", "tokens", numbers.count), ("Trained on", "supervised", numbers.count),
              ("Share trained", "share", numbers.percent), ("Median length", "median", numbers.figures),
              ("95 % are shorter than", "p95", numbers.count), ("Longest row", "longest", numbers.count),
              ("Duplicate rows", "duplicates", numbers.count), ("Rows whose end is not trained", "end_never_trained", numbers.count),
              ("Rows that stop in the middle", "open_end", numbers.count))
    return tuple((label, known[key], words(known[key])) for label, key, words in labels if known.get(key) is not None)


def beside(rows: Sequence[TokenRow]) -> tuple[tuple[TokenRow, ...], ...]:
    """Rows in groups: the two answers of a pair together, all others alone."""
    found: list[tuple[TokenRow, ...]] = []
    for row in rows:
        if row.side and found and len(found[-1]) == 1 and found[-1][0].side and found[-1][0].number == row.number:
            found[-1] = (*found[-1], row)
        else:
            found.append((row,))
    return tuple(found)


def figures_of_pairs(pairs: PairStatistics | None) -> tuple[tuple[str, float, str], ...]:
    """(label, number, the number in words) for the figures of preference data."""
    if pairs is None:
        return ()
    names = ("good", "bad") if pairs.rated else ("better", "worse")
    counts = [("Good answers", pairs.good), ("Bad answers", pairs.bad)] if pairs.rated else [("Pairs", pairs.rows)]
    shares = [] if pairs.rated else [("Better answer is longer", pairs.chosen_longer), ("Better answer is shorter", pairs.rejected_longer)]
    lengths = [("Prompt, median", pairs.prompt_median), (f"Tokens of {names[0]} answers, mean", pairs.chosen_mean),
               (f"Tokens of {names[1]} answers, mean", pairs.rejected_mean), (f"Longest {names[0]} answer", float(pairs.chosen_longest)),
               (f"Longest {names[1]} answer", float(pairs.rejected_longest))]
    return (*((label, float(value), numbers.count(value)) for label, value in (*counts, ("Duplicates", pairs.duplicates))),
            *((label, value, numbers.percent(value)) for label, value in shares), *((label, value, numbers.figures(value)) for label, value in lengths))


def fates(counts: Counts | None) -> tuple[tuple[str, int], ...]:
    """(what became of them, how many rows); only what happened."""
    if counts is None:
        return ()
    kept = (("trained on", counts.kept - counts.held_out), ("held out", counts.held_out))
    return tuple((words, rows) for words, rows in (*kept, *left_out(counts)) if rows)


def roles_of(turns: Turns | None) -> tuple[tuple[str, int], ...]:
    """(role, turns), most frequent first."""
    return tuple(turns.roles.items()) if turns is not None else ()
