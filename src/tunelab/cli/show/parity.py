"""What parity found, in a terminal: how many prompts are the same, and of the first that is not the two texts and the cause."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.comparison.parity import PromptParity
from tunelab.workflow.parity import Parity

_SAYS = {"same": "the same tokens", "same text": "the same text", "differs": "differ", "not told": "not told by the server"}
_SHOWN = 700


def show_parity(out: Console, found: Parity) -> None:
    """Print it."""
    counts = Counter(one.word for one in found.prompts)
    said = ", ".join(f"{count} {_SAYS[word]}" for word, count in counts.items())
    out.print(Text.assemble((f"{len(found.prompts)} prompts: ", "bold"), (said, "green" if found.same else "bold red")))
    for note in found.notes:
        out.print(f"note: {plain(note)}", style="yellow")
    causes = dict.fromkeys((one.cause, one.change) for one in found.prompts if one.word == "differs")
    for cause, change in causes:
        first = next(one for one in found.prompts if one.word == "differs" and one.cause == cause)
        _show_gap(out, first)
        out.print(Text.assemble(("Cause: ", "bold"), plain(cause)))
        out.print(Text.assemble(("Change: ", "bold"), plain(change)))


def _show_gap(out: Console, one: PromptParity) -> None:
    table = Table("", "in training", "by the server", show_lines=True, expand=True)
    table.add_row("text", Text(_cut(one.trained.text)), Text(_cut(one.served.text)))
    if one.gap is not None:
        sides = (Text(plain(" | ".join(map(repr, side))) or "(nothing)") for side in (one.gap.trained, one.gap.served))
        table.add_row(f"{one.gap.unit} {one.gap.index}", *sides)
    if one.served.ids:
        table.add_row("tokens", f"{len(one.trained.ids)}", f"{len(one.served.ids)}")
    out.print(Text(f"The first that differs: {plain(one.prompt_id)}"))
    out.print(table)


def _cut(text: str) -> str:
    shown = plain(text).replace("\\x0a", "\n")
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
