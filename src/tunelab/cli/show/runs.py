"""A list of runs, and runs side by side, in a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.cli.show.curve import COLOURS, plot
from tunelab.report.numbers import NONE, size
from tunelab.report.runs import ComparedRuns, Differences, in_words
from tunelab.runs.listing import Listed

_STATUS = {"finished": "green", "running": "cyan", "interrupted": "yellow"}


def show_runs(out: Console, folder: Path, found: Sequence[Listed]) -> None:
    """One line a run."""
    if not found:
        out.print(f"No run below {plain(str(folder))}.\nStart one: tunelab train CONFIG")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("run", "base model", "method", "status"):
        table.add_column(name, overflow="fold", min_width=8 if name == "status" else None)
    for name in ("steps", "loss", "eval", "tok/s", "started", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        steps = f"{one.step:,}/{one.total:,}" if one.total and one.step != one.total else f"{one.step:,}"
        when = time.strftime("%m-%d %H:%M", time.localtime(one.started)) if one.started else NONE
        name = str(one.folder.relative_to(folder)) if one.folder != folder and one.folder.is_relative_to(folder) else str(one.folder)
        rate = f"{one.tokens_per_second:,.0f}" if one.tokens_per_second else NONE
        table.add_row(plain(name), plain(Path(one.base_model).name), plain(one.method), Text(one.status, style=_STATUS.get(one.status, "red")), steps,
                      _number(one.last_loss), _number(one.eval_loss), rate, when, size(one.bytes))
    out.print(table)


def _number(loss: float | None) -> str:
    return NONE if loss is None else f"{loss:.3f}"


def show_comparison(out: Console, compared: ComparedRuns) -> None:
    """Curves, measurements, differences."""
    for index, curve in enumerate(compared.curves):
        out.print(Text.assemble(("━━ ", COLOURS[index % len(COLOURS)]), plain(curve.name)))
    curves = compared.curves
    pictures = (("training loss", 8, [one.loss for one in curves]), ("held-out loss", 6, [one.eval_loss for one in curves]),
                ("learning rate", 4, [one.learning_rate for one in curves]), ("gradient norm", 4, [one.grad_norm for one in curves]))
    for title, height, lines in pictures:
        rows = plot(lines, height=height)
        if rows:
            out.print(Text(f"\n{title}", style="bold"))
            for row in rows:
                out.print(row)
    table = Table("", box=None, pad_edge=False)
    for curve in curves:
        table.add_column(Text(plain(Path(curve.name).name or curve.name)))
    for fact in compared.facts:
        table.add_row(fact.name, *(plain(in_words(value, fact.unit)) for value in fact.values))
    out.print()
    out.print(table)
    for one in compared.differences:
        out.print()
        _show_differences(out, one)


def _show_differences(out: Console, one: Differences) -> None:
    out.print(Text(f"{plain(one.first)} -> {plain(one.second)}", style="bold"))
    if one.unknown:
        out.print(f"  their configs cannot be compared: {plain(one.unknown)}")
    elif not one.differences:
        out.print("  the same settings")
    for found in one.differences:
        out.print(Text.assemble("  ", (plain(found.name), "bold"), "  ", (plain(found.shown_first), "red"), " -> ", (plain(found.shown_second), "green")))
