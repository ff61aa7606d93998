"""Did fine-tuning help? One verdict for the task's prompts and one for the general ones, with error bars; "cannot tell" is an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tunelab.comparison.record import Record
from tunelab.comparison.statistics import (
    Interval,
    mcnemar_exact,
    paired_difference_interval,
    pass_rate_difference_interval,
    prompts_needed,
    wilson_interval,
)

MARGIN = 0.10
"""A difference of pass rates that is worth knowing of: "no difference seen" is said only when the interval lies within +/- this."""
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """The verdict on the prompts of one group that are graded on both sides (`n`; `ungraded` are the others).

    Rates are shares; `difference` is tuned minus base with its 95 % interval (Newcombe's for paired rates); `p` is McNemar's exact p.
    `won`, `lost`: ids of prompts that only the tuned, only the base model passed; `tied` counts the rest. `word` is "helped", "hurt"
    (p < 0.05 and the interval leaves 0 out), "no difference seen" (the interval lies within +/- 10 points) or "cannot tell".
    `enough`: whether `n` reaches `needed`, about the number of prompts at which the interval would be +/- 10 points, or the verdict
    is clear anyway. `score_*` are given where a grader gave shades: means, and a bootstrap interval of their paired difference.
    """

    group: str
    n: int
    ungraded: int
    base_rate: float
    base_interval: Interval
    tuned_rate: float
    tuned_interval: Interval
    difference: float
    difference_interval: Interval
    p: float
    won: tuple[str, ...]
    lost: tuple[str, ...]
    tied: int
    word: str
    sentence: str
    enough: bool
    needed: int
    score_base: float | None = None
    score_tuned: float | None = None
    score_interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict per group that has prompts, the task first."""

    groups: tuple[GroupVerdict, ...]

    def group(self, name: str) -> GroupVerdict | None:
        """The verdict on one group, or None when no prompt belongs to it."""
        return next((one for one in self.groups if one.group == name), None)


def judge(records: Sequence[Record]) -> Verdict:
    """A verdict for every group among the records."""
    names = sorted({record.prompt.group for record in records}, key=lambda name: (name != "task", name))
    return Verdict(tuple(_judge_group(name, [record for record in records if record.prompt.group == name]) for name in names))


def _judge_group(group: str, records: list[Record]) -> GroupVerdict:
    ids = {outcome: tuple(record.prompt.id for record in records if record.outcome == outcome)
           for outcome in ("won", "lost", "both", "neither", "ungraded")}
    both, won, lost, neither = (len(ids[one]) for one in ("both", "won", "lost", "neither"))
    n = both + won + lost + neither
    difference = (won - lost) / n if n else 0.0
    interval = pass_rate_difference_interval(both, lost, won, neither, LEVEL)
    p = mcnemar_exact(lost, won)
    word = _word(n, interval, p)
    needed = prompts_needed((won + lost) / n if n else 0.0, difference, MARGIN, LEVEL)
    enough = word in ("helped", "hurt") or n >= needed
    base_rate, tuned_rate = ((both + lost) / n, (both + won) / n) if n else (0.0, 0.0)
    score_base, score_tuned, score_interval = _scores(records)
    numbers = _numbers(n, both + lost, both + won, interval, p)
    sentence = _sentence(group, word, n, numbers, (ids["won"], ids["lost"]), 0 if enough else needed)
    return GroupVerdict(group, n, len(ids["ungraded"]), base_rate, wilson_interval(both + lost, n, LEVEL), tuned_rate,
                        wilson_interval(both + won, n, LEVEL), difference, interval, p, ids["won"], ids["lost"], both + neither, word,
                        sentence, enough, needed, score_base, score_tuned, score_interval)


def _word(n: int, interval: Interval, p: float) -> str:
    low, high = interval
    if n == 0:
        return "cannot tell"
    if p < 1 - LEVEL and low > 0:
        return "helped"
    if p < 1 - LEVEL and high < 0:
        return "hurt"
    return "no difference seen" if low >= -MARGIN and high <= MARGIN else "cannot tell"


def _scores(records: list[Record]) -> tuple[float | None, float | None, Interval | None]:
    """Mean scores and the interval of their difference, where any score is a shade between 0 and 1."""
    graded = [(record.base_grade.score, record.tuned_grade.score) for record in records if record.base_grade and record.tuned_grade]
    pairs = [(base, tuned) for base, tuned in graded if base is not None and tuned is not None]
    if all(score in (0, 1) for pair in pairs for score in pair):
        return None, None, None
    return fmean(base for base, _ in pairs), fmean(tuned for _, tuned in pairs), paired_difference_interval(pairs, level=LEVEL)


def _numbers(n: int, base: int, tuned: int, interval: Interval, p: float) -> str:
    if n == 0:
        return ""
    points, low, high = (f"{100 * value:+.0f}" for value in ((tuned - base) / n, *interval))
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    return (f"the base model passed {base} ({100 * base / n:.0f} %), the tuned model {tuned} ({100 * tuned / n:.0f} %): "
            f"{points} points (95 % interval {low} to {high}; {chance})")


def _sentence(group: str, word: str, n: int, numbers: str, changed: tuple[tuple[str, ...], tuple[str, ...]], needed: int) -> str:
    """The verdict in plain words; `changed` are the ids won and lost; `needed` 0: nothing is said of how many prompts it would take."""
    if n == 0:
        return f"Cannot tell: no {group} prompt is graded on both sides."
    won, lost = changed
    text = (f"{word[0].upper()}{word[1:]}: of {n} {group} prompt{'s' if n > 1 else ''} {numbers}; "
            f"{len(won)} won{_named(won)}, {len(lost)} lost{_named(lost)}.")
    if word == "no difference seen":
        return f"{text} A difference of more than {100 * MARGIN:.0f} points is unlikely."
    if needed:
        return f"{text} {n} are too few: about {needed} would narrow the interval to +/- {100 * MARGIN:.0f} points."
    return text


def _named(ids: tuple[str, ...], limit: int = 5) -> str:
    if not ids:
        return ""
    return f" ({', '.join(ids[:limit])}{', ...' if len(ids) > limit else ''})"
