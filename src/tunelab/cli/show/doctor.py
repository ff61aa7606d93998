"""A run on the doctor's table: what became of it, its loss as a curve, what is wrong, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.cli.show.curve import COLOURS, plot
from tunelab.cli.show.findings import COLOURS as SEVERITIES
from tunelab.report.numbers import duration, loss, size
from tunelab.runs.doctor import Ailment, Diagnosis, Examined

_STATUS = {"finished": "bold green", "running": "bold cyan", "interrupted": "bold yellow"}


def show_examined(out: Console, one: Examined) -> None:
    """Print all that is known about a run."""
    out.print(Text.assemble((plain(one.sentence), _STATUS.get(one.status, "bold red")), f"  {plain(str(one.folder))}"))
    rate = f", {one.tokens_per_second:,.0f} tokens/s" if one.tokens_per_second else ""
    facts = [plain(one.base_model), f"epoch {one.epoch:.2f}" if one.epoch else "", f"{duration(one.seconds)} in steps{rate}" if one.seconds else ""]
    out.print("  ".join(fact for fact in facts if fact), style="dim")
    if one.losses:
        out.print()
        for row in plot([one.losses, one.evaluations]):
            out.print(row)
        key = Text.assemble(("loss ", COLOURS[0]), f"{loss(one.losses[0][1])} -> {loss(one.losses[-1][1])}")
        if one.evaluations:
            best = min(one.evaluations, key=lambda looked: looked[1])
            key.append("   held-out ", COLOURS[1]).append(f"{loss(one.evaluations[-1][1])}, best {loss(best[1])} after step {best[0]}")
        out.print(key)
    for finding in one.findings:
        out.print()
        show_diagnosis(out, finding)
    if one.checkpoints:
        out.print()
        out.print(_checkpoints(one))
    if not one.findings:
        out.print("\nNothing is wrong with it.", style="green")
    out.print(Text.assemble(("\nnext: ", "bold"), plain(one.next_step)))


def show_diagnosis(out: Console, one: Diagnosis) -> None:
    """One finding: what, the numbers, why, the edit."""
    out.print(Text.assemble((f"{one.severity} {one.code}", SEVERITIES[one.severity]), "  ", (one.title, "bold")))
    rows = [("seen", Text(plain(one.seen))), ("why", Text(one.why, style="dim")), ("do", Text(plain(one.advice)))]
    out.print(_grid([*rows, *([("edit", Text(plain(one.edit), style="green"))] if one.edit else [])]))


def show_ailments(out: Console, found: Sequence[Ailment]) -> None:
    """The list of ailments, or one of them in full."""
    if len(found) == 1:
        one = found[0]
        out.print(Text.assemble((f"{one.severity} {one.code}", SEVERITIES[one.severity]), "  ", (one.title, "bold")))
        out.print(_grid([("looks for", Text(one.looks_for)), ("why", Text(one.why)), ("do", Text(one.advice))]))
        return
    table = Table("code", "severity", "", box=None, pad_edge=False)
    for one in found:
        table.add_row(one.code, Text(str(one.severity), style=SEVERITIES[one.severity]), one.title)
    out.print(table)


def _grid(rows: Sequence[tuple[str, Text]]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 2))
    for name, text in rows:
        table.add_row(Text(name, style="dim"), text)
    return table


def _checkpoints(one: Examined) -> Table:
    table = Table("checkpoint", "size", "state", box=None, pad_edge=False)
    for checkpoint in one.checkpoints:
        state = "whole" if checkpoint.damage is None else checkpoint.damage
        table.add_row(f"step {checkpoint.step:,}", size(checkpoint.bytes), Text(plain(state), style="" if checkpoint.damage is None else "red"))
    return table
