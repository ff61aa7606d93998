"""A comparison as it is read back: each prompt with the answers and grades of both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunelab.grading import Grade
from tunelab.runners.prompt import Answer, Prompt, Sampling

SIDES = ("base", "tuned")


@dataclass(frozen=True, slots=True)
class Record:
    """One prompt. An answer is None as long as that side has not been asked; its grade is None with it."""

    prompt: Prompt
    base: Answer | None = None
    tuned: Answer | None = None
    base_grade: Grade | None = None
    tuned_grade: Grade | None = None

    @property
    def outcome(self) -> str:
        """"won", "lost", "both" (passed), "neither", or "ungraded": the tuned side against the base."""
        base, tuned = (grade.passed if grade else None for grade in (self.base_grade, self.tuned_grade))
        if base is None or tuned is None:
            return "ungraded"
        return {(False, True): "won", (True, False): "lost", (True, True): "both", (False, False): "neither"}[base, tuned]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison file: its header, and a record for each prompt in the header's order."""

    header: Mapping[str, Any]
    records: tuple[Record, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def sampling(self) -> Sampling:
        """How answers were drawn, the same for both sides."""
        return Sampling(**self.header["sampling"])

    @property
    def sides(self) -> Mapping[str, Mapping[str, Any]]:
        """{"base": facts, "tuned": facts} as the runners gave them."""
        found: Mapping[str, Mapping[str, Any]] = self.header["sides"]
        return found

    @property
    def complete(self) -> bool:
        """Whether both sides have answered every prompt."""
        return all(record.base is not None and record.tuned is not None for record in self.records)
