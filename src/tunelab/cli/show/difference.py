"""Two configs side by side in a terminal: one block a difference, what it means under it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.workflow.diff import Compared


def show_differences(out: Console, result: Compared) -> None:
    """Print every difference and what it does."""
    for one in result.differences:
        out.print(Text.assemble((plain(one.name), "bold"), "  ", (plain(one.shown_first), "red"), " -> ", (plain(one.shown_second), "green")))
        out.print(Text(f"    {one.says} {one.effect}", style="dim"))
        for path, here in ((result.first, one.here_first), (result.second, one.here_second)):
            if here and one.here_first != one.here_second:
                out.print(Text(f"    in {plain(path)}: {plain(here)}"))
    count = len(result.differences)
    said = f"{count} difference{'s' if count != 1 else ''} in meaning" if count else "the same run: no difference in meaning"
    out.print(f"{plain(result.first)} and {plain(result.second)}: {said}", style="bold" if count else "bold green")
