"""What became of the notes of models, in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.report.text import one_line
from tunelab.workflow.hub_note import Notes


def show_notes(out: Console, notes: Notes) -> None:
    """Print what was written, what stays as the person has it, and what could not be read."""
    for one in notes.models:
        updated = [change.label for change in one.changes if change.what == "updated"]
        words = "noted" if one.is_new else f"updated: {'; '.join(updated)}" if updated else "nothing new"
        out.print(Text.assemble((plain(one.name), "bold cyan"), f"  {words}"))
        for change in one.changes:
            if change.what == "kept":
                now = f" The model's sources say now: {plain(one_line(change.now))}" if change.now else ""
                out.print(Text(f"  kept as you wrote it: {change.label}.{now}", "yellow"))
            elif change.what == "removed":
                out.print(Text(f"  left out, as you have taken it out: {change.label}", "dim"))
    for failure in notes.failures:
        out.print(Text(f"not read: {plain(str(failure))}", style="bold red"))
    out.print(f"Written: {notes.page}")
