"""A comparison as it is read back: each prompt with the answers and grades of all its sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from tunelab.grading import Grade
from tunelab.runners.prompt import Answer, Prompt, Sampling

SIDES = ("base", "tuned")
FEW_SHOT, AGAIN = "few-shot", "again"
EXTRA = (FEW_SHOT, AGAIN)
"""Columns beside the two: the base model with examples in its prompt, and the base model asked a second time (the noise floor)."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer and its grade."""

    answer: Answer
    grade: Grade


@dataclass(frozen=True, slots=True)
class Record:
    """One prompt. `base`, `tuned`: the first answer of each side, None as long as that side has not been asked; its grade is None with it.

    `more`: side -> what there is beyond: further samples of the two sides, all answers of the extra columns.
    """

    prompt: Prompt
    base: Answer | None = None
    tuned: Answer | None = None
    base_grade: Grade | None = None
    tuned_grade: Grade | None = None
    more: Mapping[str, tuple[Judged, ...]] = field(default_factory=dict)

    def judged(self, side: str) -> tuple[Judged, ...]:
        """All answers of a side, sample by sample."""
        first = {"base": (self.base, self.base_grade), "tuned": (self.tuned, self.tuned_grade)}.get(side, (None, None))
        before = (Judged(first[0], first[1]),) if first[0] is not None and first[1] is not None else ()
        return (*before, *self.more.get(side, ()))

    def share(self, side: str) -> float | None:
        """The share of a side's samples that passed; None when none is graded."""
        passed = [one.grade.passed for one in self.judged(side) if one.grade.passed is not None]
        return fmean(passed) if passed else None

    def score(self, side: str) -> float | None:
        """The mean score of a side's samples; None when none has one."""
        scores = [one.grade.score for one in self.judged(side) if one.grade.score is not None]
        return fmean(scores) if scores else None

    @property
    def outcome(self) -> str:
        """"won", "lost" (the tuned side passes more, fewer of its samples than the base), else "both" or "neither" by which is the rule;
        "ungraded" when a side has no grade."""
        if self.base is None or self.tuned is None:
            return "ungraded"
        base, tuned = self.share("base"), self.share("tuned")
        if base is None or tuned is None:
            return "ungraded"
        if base != tuned:
            return "won" if tuned > base else "lost"
        return "both" if base >= 0.5 else "neither"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison file: its header, and a record for each prompt in the header's order."""

    header: Mapping[str, Any]
    records: tuple[Record, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def sampling(self) -> Sampling:
        """How answers were drawn, the same for all sides."""
        return Sampling(**self.header["sampling"])

    @property
    def sides(self) -> Mapping[str, Mapping[str, Any]]:
        """{"base": facts, "tuned": facts, ...} as the runners gave them."""
        found: Mapping[str, Mapping[str, Any]] = self.header["sides"]
        return found

    @property
    def complete(self) -> bool:
        """Whether every side has answered every prompt, as many times as was asked."""
        return all(len(record.judged(side)) >= self.sampling.samples for record in self.records for side in self.sides)
