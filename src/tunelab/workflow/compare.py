"""compare: the same prompts to two models (and to the base with examples, or to the base again), and what that shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelab.comparison import Comparison, GroupVerdict, Observation, judge, observe, read_comparison
from tunelab.comparison import compare as ask_all
from tunelab.comparison.columns import Again, FewShot, with_system
from tunelab.comparison.preference import PreferenceVerdict, beside, read_preferences, verdicts
from tunelab.comparison.record import AGAIN, FEW_SHOT
from tunelab.errors import UsageError
from tunelab.runners.prompt import Answer, Runner, Sampling
from tunelab.workflow.prompts import GENERAL, few_shot_examples, gather
from tunelab.workflow.sides import open_sides


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked, and how.

    `prompts`: names as `workflow.prompts` reads them; `general`: further ones, to see what was forgotten (None: none). `system`: a system
    message for prompts that have none. `few_shot`: so many of the tuned run's training conversations before the base model's prompts, as a
    third column. `noise_floor`: ask the base model a second time, too.
    """

    prompts: tuple[str, ...]
    general: str | None = GENERAL
    sampling: Sampling = field(default_factory=Sampling)
    system: str = ""
    few_shot: int = 0
    noise_floor: bool = False


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison and what it shows. `warnings`: what differs between the sides besides the weights; `preferences`: what judges found."""

    path: Path
    sides: Mapping[str, Mapping[str, Any]]
    comparison: Comparison
    verdicts: tuple[GroupVerdict, ...]
    observations: tuple[Observation, ...]
    warnings: tuple[str, ...]
    preferences: tuple[PreferenceVerdict, ...] = ()


class AnswerWatch:
    """Told what happens, for a progress display; the default watches nothing."""

    def phase(self, text: str) -> None:
        """A new phase begins."""

    def answer(self, side: str, done: int, total: int) -> None:
        """One more answer of a side."""

    def pulled(self, name: str, done: int, total: int) -> None:
        """So many bytes of a part of a model have arrived."""


def compare(base: str, tuned: str, asking: Asking, *, out: Path, watch: AnswerWatch | None = None, pull: bool = False) -> Compared:
    """Put every prompt to all sides and judge; on an existing `out` it goes on where it was stopped. `pull`: have Ollama fetch what it lacks.

    Raises UsageError, DataError, ModelError, FolderError before anything is asked; RunnerError, StorageError later: answers so far are kept.
    """
    watch = watch or AnswerWatch()
    prompts = gather(asking.prompts, asking.general)
    if asking.system:
        prompts = with_system(prompts, asking.system)
    examples = few_shot_examples(_run_of(tuned), asking.few_shot) if asking.few_shot else ()
    if pull:
        _pull((base, tuned), watch)
    watch.phase("loading the models")
    one, other = open_sides(base, tuned)
    sides: dict[str, Runner] = {"base": one, "tuned": other}
    if examples:
        sides[FEW_SHOT] = FewShot(one, examples)
    if asking.noise_floor:
        sides[AGAIN] = Again(one)

    def on_answer(side: str, _: Answer, done: int, total: int) -> None:
        watch.answer(side, done, total)

    ask_all(out, prompts, sides, asking.sampling, on_answer)
    return open_comparison(out)


def open_comparison(path: Path) -> Compared:
    """Read a comparison file and judge it again: a verdict is computed from the answers, never stored."""
    comparison = read_comparison(path)
    return Compared(path, comparison.sides, comparison, judge(comparison.records).groups, observe(comparison.records),
                    comparison.warnings, verdicts(read_preferences(beside(path))))


def _pull(sides: tuple[str, str], watch: AnswerWatch) -> None:
    """Have Ollama download the models that it does not have. Raises ModelError, RunnerError."""
    for name in (side.removeprefix("ollama:") for side in sides if side.startswith("ollama:")):
        from tunelab.runners.ollama import pull

        pull(name, lambda status, done, total, name=name: watch.pulled(f"{name}: {status}", done, total))  # type: ignore[misc]


def _run_of(tuned: str) -> Path:
    path = Path(tuned.removeprefix("run:"))
    if not (path / "manifest.json").exists():
        raise UsageError("Examples are taken from the rows that a run was trained on, and the tuned side is not a run.", where=tuned,
                         next_step="Give run:FOLDER as the tuned side, or leave --few-shot out.")
    return path
