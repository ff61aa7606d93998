"""Did fine-tuning help? One verdict for each group of prompts (the tasks, the general ones), with error bars; "cannot tell" is an answer.

Where several samples were drawn a prompt counts with the share of them that passed, and the test is a permutation test over prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from tunelab.comparison.record import AGAIN, FEW_SHOT, Record
from tunelab.comparison.statistics import (
    Interval,
    holm,
    mcnemar_exact,
    paired_difference_interval,
    prompts_for_effect,
    prompts_needed,
    sign_flip_p,
    wilson_interval,
)

MARGIN = 0.10
"""A difference of pass rates that is worth knowing of: "no difference seen" is said only when the interval lies within +/- this."""
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """The verdict on the prompts of one group that are graded on both sides (`n`; `ungraded` are the others).

    Rates are shares; `difference` is tuned minus base with its 95 % interval (Newcombe's for paired rates, a bootstrap where several samples
    were drawn); `p` is McNemar's exact p (or a permutation test's), adjusted by Holm's method where there are several groups. `won`, `lost`:
    ids of prompts that only the tuned, only the base model passed (or passed more often); `tied` counts the rest. `word` is "helped", "hurt"
    (p < 0.05 and the interval leaves 0 out), "no difference seen" (the interval lies within +/- 10 points) or "cannot tell".
    `enough`: whether `n` reaches `needed`, about the number of prompts at which the interval would be +/- 10 points, or the verdict
    is clear anyway; `for_effect`: about how many would show a difference of 10 points. `score_*` are given where a grader gave shades: means,
    and a bootstrap interval of their paired difference. `noise`: the share of prompts on which the base model, asked twice, passed once only
    (None: not asked twice). `few_shot`: the pass rate of the base model with examples in its prompt, and the interval of tuned minus it.
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
    for_effect: int = 0
    noise: float | None = None
    few_shot: tuple[float, Interval] | None = None


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
    of = {name: [record for record in records if record.prompt.group == name] for name in names}
    adjusted = dict(zip(names, holm([_p([pair for _, pair in _graded(of[name])]) for name in names]), strict=True))
    return Verdict(tuple(_judge_group(name, of[name], adjusted[name]) for name in names))


def _graded(records: list[Record]) -> list[tuple[Record, tuple[float, float]]]:
    """The records graded on both sides, with the shares of samples that passed: (base, tuned)."""
    shares = [(record, record.share("base"), record.share("tuned")) for record in records if record.outcome != "ungraded"]
    return [(record, (base, tuned)) for record, base, tuned in shares if base is not None and tuned is not None]


def _p(pairs: list[tuple[float, float]]) -> float:
    if all(value in (0, 1) for pair in pairs for value in pair):
        return mcnemar_exact(pairs.count((1, 0)), pairs.count((0, 1)))
    return sign_flip_p([tuned - base for base, tuned in pairs])


def _judge_group(group: str, records: list[Record], p: float) -> GroupVerdict:
    ids = {outcome: tuple(record.prompt.id for record in records if record.outcome == outcome)
           for outcome in ("won", "lost", "both", "neither", "ungraded")}
    both, won, lost, neither = (len(ids[one]) for one in ("both", "won", "lost", "neither"))
    n = both + won + lost + neither
    pairs = [pair for _, pair in _graded(records)]
    base, tuned = (sum(side) for side in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    difference = (tuned - base) / n if n else 0.0
    interval = paired_difference_interval(pairs, level=LEVEL)
    word = _word(n, interval, p)
    disagreement = (won + lost) / n if n else 0.0
    needed = prompts_needed(disagreement, difference, MARGIN, LEVEL)
    enough = word in ("helped", "hurt") or n >= needed
    score_base, score_tuned, score_interval = _scores(records)
    noise, few_shot = _noise(records), _few_shot(records)
    numbers = _numbers(n, base, tuned, interval, p)
    sentence = _sentence(group, word, n, numbers, (ids["won"], ids["lost"]), 0 if enough else needed) + _beside(noise, few_shot)
    return GroupVerdict(group, n, len(ids["ungraded"]), base / n if n else 0.0, wilson_interval(base, n, LEVEL), tuned / n if n else 0.0,
                        wilson_interval(tuned, n, LEVEL), difference, interval, p, ids["won"], ids["lost"], both + neither, word,
                        sentence, enough, needed, score_base, score_tuned, score_interval,
                        prompts_for_effect(MARGIN, disagreement, LEVEL), noise, few_shot)


def _noise(records: list[Record]) -> float | None:
    """The share of prompts on which the base model's two askings differ in passing."""
    twice = [(record.share("base"), record.share(AGAIN)) for record in records]
    known = [(one, two) for one, two in twice if one is not None and two is not None]
    return fmean(abs(one - two) for one, two in known) if known else None


def _few_shot(records: list[Record]) -> tuple[float, Interval] | None:
    """(pass rate of the base model with examples, interval of tuned minus it)."""
    pairs = [(shown, tuned) for shown, tuned in ((record.share(FEW_SHOT), record.share("tuned")) for record in records)
             if shown is not None and tuned is not None]
    return (fmean(shown for shown, _ in pairs), paired_difference_interval(pairs, level=LEVEL)) if pairs else None


def _beside(noise: float | None, few_shot: tuple[float, Interval] | None) -> str:
    """What the further columns add to the sentence."""
    said = f" Asked twice, the base model differs from itself on {100 * noise:.0f} % of the prompts." if noise is not None else ""
    if few_shot is None:
        return said
    rate, (low, high) = few_shot
    so = "comes close" if low <= 0 <= high else "does better" if high < 0 else "does not do it"
    return (f"{said} With examples in its prompt the base model passes {100 * rate:.0f} % (tuned minus that: {100 * low:+.0f} to {100 * high:+.0f}): "
            f"prompting alone {so}.")


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
    graded = [(record.score("base"), record.score("tuned")) for record in records if record.base_grade and record.tuned_grade]
    pairs = [(base, tuned) for base, tuned in graded if base is not None and tuned is not None]
    if all(score in (0, 1) for pair in pairs for score in pair):
        return None, None, None
    return fmean(base for base, _ in pairs), fmean(tuned for _, tuned in pairs), paired_difference_interval(pairs, level=LEVEL)


def _numbers(n: int, base: float, tuned: float, interval: Interval, p: float) -> str:
    if n == 0:
        return ""
    points, low, high = (f"{100 * value:+.0f}" for value in ((tuned - base) / n, *interval))
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    return (f"the base model passed {base:.4g} ({100 * base / n:.0f} %), the tuned model {tuned:.4g} ({100 * tuned / n:.0f} %): "
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
