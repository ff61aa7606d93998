"""Progress of long work: a bar with loss, rate and ETA in a terminal, plain lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import Progress, TaskID

from tunelab.cli.bar import bar
from tunelab.workflow.compare import AnswerWatch
from tunelab.workflow.export_parts import ExportWatch

if TYPE_CHECKING:
    from tunelab.runs.doctor import Diagnosis
    from tunelab.runs.events import StepRecord

_QUIET_SECONDS = 10.0


class TrainingBar:
    """A training watch on a rich progress bar; without a terminal it prints a line now and then."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._tokens, self._seconds, self._said = 0, 0.0, 0.0
        self._total = 0

    def phase(self, text: str) -> None:
        """Show what is going on."""
        if self._task is None:
            self._task = self._progress.add_task(text, total=None, detail="")
        self._progress.update(self._task, description=text)
        if not self._progress.console.is_terminal and text not in {"saving"}:
            self._progress.console.print(text)

    def step(self, record: StepRecord, total: int) -> None:
        """Move the bar on."""
        self._tokens += record.tokens
        self._seconds += record.seconds
        self._total = total
        rate = self._tokens / self._seconds if self._seconds else 0.0
        detail = f"loss {record.loss:.4f}  lr {record.lr:.2e}  {rate:,.0f} tokens/s"
        if self._task is not None:
            self._progress.update(self._task, completed=record.step, total=total, detail=detail)
        last = record.step == total
        if not self._progress.console.is_terminal and (last or time.monotonic() - self._said > _QUIET_SECONDS):
            self._said = time.monotonic()
            left = (total - record.step) * self._seconds / max(1, record.step)
            self._progress.console.print(f"step {record.step}/{total}  {detail}  about {left:.0f} s left")

    def note(self, text: str) -> None:
        """Say something besides."""
        self._progress.console.print(text, markup=False)

    def evaluation(self, step: int, loss: float, measures: Mapping[str, float]) -> None:
        """Say the evaluation loss."""
        more = "".join(f"  {name} {value:.4g}" for name, value in measures.items())
        self._progress.console.print(f"step {step}: evaluation loss {loss:.4f}{more}", markup=False)

    def finding(self, finding: Diagnosis) -> None:
        """Say what the doctor found."""
        from tunelab.cli.show.doctor import show_diagnosis

        show_diagnosis(self._progress.console, finding)


class JsonLines:
    """A training watch that prints one JSON object a line."""

    def phase(self, text: str) -> None:
        """A phase event."""
        _line({"event": "phase", "phase": text})

    def step(self, record: StepRecord, total: int) -> None:
        """A step event."""
        import dataclasses

        _line({"event": "step", **dataclasses.asdict(record), "total": total})

    def note(self, text: str) -> None:
        """A note event."""
        _line({"event": "note", "text": text})

    def evaluation(self, step: int, loss: float, measures: Mapping[str, float]) -> None:
        """An evaluation event."""
        _line({"event": "evaluation", "step": step, "loss": loss, "measures": dict(measures)})

    def finding(self, finding: Diagnosis) -> None:
        """A finding event."""
        import dataclasses

        _line({"event": "finding", **dataclasses.asdict(finding)})


class AnswerBar(AnswerWatch):
    """Counts answers as they come."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def phase(self, text: str) -> None:
        """Say what is going on."""
        if self._progress is not None:
            self._progress.console.print(text)

    def answer(self, side: str, done: int, total: int) -> None:
        """One more answer of a side."""
        if self._progress is None:
            return
        if side not in self._tasks:
            self._tasks[side] = self._progress.add_task(f"asking {side}", total=total, detail="")
        self._progress.update(self._tasks[side], completed=done, total=total)
        if not self._progress.console.is_terminal and done == total:
            self._progress.console.print(f"{side}: {total} answers")

    def pulled(self, name: str, done: int, total: int) -> None:
        """How far a download is, in megabytes."""
        if self._progress is None:
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None, detail="")
        self._progress.update(self._tasks[name], completed=done // 10**6, total=total // 10**6 or None, detail="MB")


class ExportBar(ExportWatch):
    """Counts the bytes of an export."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def phase(self, text: str) -> None:
        """Say what is going on; its bar is one of its own."""
        if self._progress is not None:
            self._progress.console.print(text)
            if self._task is not None:
                self._progress.remove_task(self._task)
                self._task = None

    def written(self, done: int, total: int) -> None:
        """Move the bar on, in megabytes."""
        if self._progress is None:
            return
        if self._task is None:
            self._task = self._progress.add_task("MB written", total=total // 10**6, detail="")
        self._progress.update(self._task, completed=done // 10**6)


@contextmanager
def training_watch(as_json: bool) -> Iterator[Any]:
    """The watch for one training run."""
    if as_json:
        yield JsonLines()
        return
    with bar() as progress:
        yield TrainingBar(progress)


@contextmanager
def answer_watch(quiet: bool) -> Iterator[AnswerBar]:
    """The watch for one comparison."""
    if quiet:
        yield AnswerBar(None)
        return
    with bar() as progress:
        yield AnswerBar(progress)


@contextmanager
def export_watch(quiet: bool) -> Iterator[ExportBar]:
    """The watch for one export."""
    if quiet:
        yield ExportBar(None)
        return
    with bar() as progress:
        yield ExportBar(progress)


def _line(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()
