"""What a grader gives back, and how a piece of an answer is quoted in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Grade:
    """A judgement of one answer.

    `passed` None: not judged (no grader, no answer, or the grader itself failed). `score` is between 0 and 1, and 1.0 or 0.0 where a
    grader knows no shades. `reason` is one short sentence. `facts` are measured values.
    """

    passed: bool | None
    score: float | None
    reason: str
    facts: dict[str, Any] = field(default_factory=dict)


def verdict(passed: bool, reason: str, **facts: Any) -> Grade:
    """A grade without shades."""
    return Grade(passed, float(passed), reason, facts)


def quoted(text: str, limit: int = 60) -> str:
    """A piece of an answer in quotes, on one line, without anything that a terminal would act on."""
    shown = text if len(text) <= limit else text[:limit - 3] + "..."
    return f"'{inert(shown)}'"


def inert(text: str) -> str:
    """Line ends, escape codes, direction marks and lone surrogates written out as \\x1b and the like."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode("ascii") for one in text)
