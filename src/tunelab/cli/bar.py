"""The progress bar of long work, on standard error, where that is a terminal."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tunelab.cli.output import console


def bar(*, transient: bool = False) -> Progress:
    """A bar with counts and times; each task has a `detail`. `transient`: nothing of it stays."""
    out = console(to_stderr=True)
    return Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
                    TextColumn("{task.fields[detail]}", markup=False), TimeElapsedColumn(), TimeRemainingColumn(), console=out,
                    disable=not out.is_terminal, transient=transient)
