"""Progress of a search for models: questions to the Hub and cards that are read. Apart from `progress`, which loads what training needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import Progress, TaskID

from tunelab.cli.bar import bar
from tunelab.workflow.hub_find import FindWatch


class FindBar(FindWatch):
    """Counts the questions to the Hub and the cards."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def note(self, text: str) -> None:
        """Say it."""
        if self._progress is not None:
            self._progress.console.print(text)

    def asked(self, done: int, total: int) -> None:
        """Move on."""
        self._move("asking the Hub", done, total)

    def read(self, done: int, total: int) -> None:
        """Move on."""
        self._move("reading cards", done, total)

    def _move(self, what: str, done: int, total: int) -> None:
        if self._progress is None:
            return
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, detail="")
        self._progress.update(self._tasks[what], completed=done)


@contextmanager
def find_watch(quiet: bool) -> Iterator[FindBar]:
    """The watch for one search."""
    if quiet:
        yield FindBar(None)
        return
    with bar(transient=True) as progress:
        yield FindBar(progress)
