"""An exported model in a terminal: how near it is to what it was made from."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tunelab.cli.output import plain
from tunelab.export.verification import Difference
from tunelab.report.numbers import percent
from tunelab.workflow.export import Exported


def show_exported(out: Console, result: Exported) -> None:
    """Print the verification, what else there is to say, and where the model lies."""
    found = result.verification
    table = Table("", "KL, nats/token", "logits: largest", "mean", "same top token", box=None, pad_edge=False)
    _row(table, "merged | base + adapter", found.merged)
    _row(table, "base | base + adapter", found.effect)
    if found.trained is not None:
        _row(table, f"merged | {result.origin['quantised']} + adapter", found.trained)
    out.print(table)
    out.print(f"{found.prompts} prompts ({found.prompts_from}), {found.merged.positions:,} positions, computed in {found.compute}; "
              f"greedy answers equal: {found.greedy_same} of {found.greedy}")
    changed, moved = result.origin["changed"], result.origin["moved"]
    out.print(f"stored in {found.dtype}: of {moved:,} weights that the adapter moves, rounding leaves {changed:,} moved ({percent(changed / moved)})")
    out.print(f"base: {plain(str(result.origin['base']))}; licence: {plain(str(result.origin['license']))}")
    for note in result.notes:
        out.print(f"note: {plain(note)}", style="yellow")
    out.print(f"Written: {result.folder}", style="bold green")


def _row(table: Table, name: str, one: Difference) -> None:
    table.add_row(name, f"{one.kl:.2e}", f"{one.max_abs:.2e}", f"{one.mean_abs:.2e}", percent(one.same_top))
