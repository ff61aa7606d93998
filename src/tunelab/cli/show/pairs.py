"""Suggested pairs in a terminal: what is at hand, with the command to run; what would have to be fetched, shorter."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.workflow.pairs import Pair, Pairs

_STYLE = {"yes": "green", "no": "red", "not known": "yellow"}
_ARROW = {"yes": "→", "no": "≠", "not known": "?"}


def show_pairs(out: Console, found: Pairs) -> None:
    """Print them."""
    here = [one for one in found.pairs if not one.missing]
    away = [one for one in found.pairs if one.missing]
    for one in here:
        _show(out, one)
    if away:
        out.print(Text("Not here yet" if here else "Nothing is at hand; known pairs that can be fetched", style="bold"))
        for one in away:
            _show(out, one)
    for note in found.notes:
        out.print(f"note: {plain(note)}", style="dim")


def _show(out: Console, one: Pair) -> None:
    out.print(Text.assemble(plain(one.base), (f" {_ARROW[one.derives]} ", _STYLE[one.derives]), plain(one.tuned), (f"  ({one.found})", "dim")))
    out.print(Text.assemble("  derives: ", (one.derives, _STYLE[one.derives]), f"; {plain(one.evidence)}"))
    out.print(Text(f"  {plain(one.command)}", style="cyan"), soft_wrap=True)
