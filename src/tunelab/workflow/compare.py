"""compare: the same prompts to two models, and what that shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.comparison import Comparison, GroupVerdict, Observation, differences_between_sides, judge, observe, read_comparison, read_prompts
from tunelab.comparison import compare as ask_both
from tunelab.runners.prompt import Answer, Sampling
from tunelab.workflow.sides import open_sides


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison and what it shows. `warnings`: what differs between the sides besides the weights."""

    path: Path
    sides: Mapping[str, Mapping[str, Any]]
    comparison: Comparison
    verdicts: tuple[GroupVerdict, ...]
    observations: tuple[Observation, ...]
    warnings: tuple[str, ...]


class AnswerWatch:
    """Told what happens, for a progress display; the default watches nothing."""

    def phase(self, text: str) -> None:
        """A new phase begins."""

    def answer(self, side: str, done: int, total: int) -> None:
        """One more answer of a side."""


def compare(base: str, tuned: str, *, prompts: Path, general: Path | None = None, out: Path, max_new_tokens: int = 128,
            watch: AnswerWatch | None = None) -> Compared:
    """Put every prompt to both sides and judge; on an existing `out` it goes on where it was stopped.

    Raises UsageError, DataError, ModelError, FolderError before anything is asked; RunnerError, StorageError later: answers so far are kept.
    """
    watch = watch or AnswerWatch()
    asked = (*read_prompts(prompts, "task"), *(read_prompts(general, "general") if general is not None else ()))
    watch.phase("loading the models")
    one, other = open_sides(base, tuned)

    def on_answer(side: str, _: Answer, done: int, total: int) -> None:
        watch.answer(side, done, total)

    ask_both(out, asked, {"base": one, "tuned": other}, Sampling(max_new_tokens=max_new_tokens), on_answer)
    return open_comparison(out)


def open_comparison(path: Path) -> Compared:
    """Read a comparison file and judge it again: a verdict is computed from the answers, never stored."""
    comparison = read_comparison(path)
    return Compared(path, comparison.sides, comparison, judge(comparison.records).groups, observe(comparison.records),
                    (*comparison.warnings, *differences_between_sides(comparison.sides, comparison.records)))
