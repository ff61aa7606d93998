"""What a search for models found, in a terminal: a table with reasons, what was left out and why."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.hub.find import STEPS, WORDS, Finds, Found, Wish
from tunelab.report.numbers import NONE

_STYLES = ("green", "yellow", "dim")
_TIMES = ((10**9, "B"), (10**6, "M"), (10**3, "k"))


def show_finds(out: Console, wish: Wish, found: Finds) -> None:
    """Print the table, then what was left out."""
    if found.models:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=True)
        table.add_column("sure", no_wrap=True)
        table.add_column("name, base, why", overflow="fold")
        table.add_column("kind", no_wrap=True)
        for name in ("size", "downloads", "likes"):
            table.add_column(name, justify="right", no_wrap=True)
        for one in found.models:
            _row(table, one)
        out.print(table)
    else:
        out.print("No model fits.")
    for line in _left_out(wish, found):
        out.print(line)
    for note in found.notes:
        out.print(Text(plain(note), style="dim"))


def _row(table: Table, one: Found) -> None:
    record = one.record
    base = plain(one.base[0] if len(one.base) == 1 else f"{one.base[0]} and {len(one.base) - 1} more" if one.base else "not stated")
    sure = Text(f"{STEPS[one.step][0]} {one.sure:.2f}", style=_STYLES[min(one.step, len(_STYLES) - 1)])
    why = ((f"\n{plain(line)}", "dim") for line in one.why)
    name = Text.assemble((plain(record.name), "bold"), " (gated)" if record.gated else "", f"\nfrom {base}", *why)
    table.add_row(sure, name, WORDS.get(one.kind.value or "", "not stated"), _short(one.parameters), _short(record.downloads), _short(record.likes))


def _left_out(wish: Wish, found: Finds) -> list[str]:
    lines = []
    if found.more:
        lines.append(f"{found.more:,} more fit: --limit {min(200, wish.limit + found.more)}.")
    if found.dropped:
        reasons = ", ".join(f"{number:,} {plain(reason)}" for reason, number in found.dropped.items())
        lines.append(f"Of {found.seen:,} models that were looked at, left out: {reasons}.")
    return lines


def _short(value: int | None) -> str:
    """1234567 -> "1.2M"."""
    if value is None:
        return NONE
    for size, unit in _TIMES:
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)
