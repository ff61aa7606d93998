"""A finished run in a terminal: what was promised beside what happened."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tunelab.report.numbers import duration, size
from tunelab.workflow.train import Trained


def show_trained(out: Console, result: Trained) -> None:
    """Print the loss, the plan against the measurement, and where the result lies."""
    plan, measured = result.manifest["plan"], result.manifest["measured"]
    table = Table("", "planned", "measured", box=None, pad_edge=False)
    table.add_row("steps", f"{plan['steps']:,}", f"{measured['steps']:,}")
    table.add_row("tokens", f"{plan['tokens_total']:,}", f"{measured['tokens']:,}")
    table.add_row("peak memory", size(plan["memory"]["total"]) if plan.get("memory") else "not planned", size(measured["peak_memory_bytes"]))
    planned_time = duration(plan["seconds"]) if plan.get("seconds") else "not calibrated"
    table.add_row("training time", planned_time, f"{duration(measured['seconds'])} ({measured['tokens_per_second']:,.0f} tokens/s)")
    out.print(table)
    evaluation = f", evaluation loss {measured['eval_loss']:.4f}" if measured["eval_loss"] is not None else ""
    out.print(f"loss {measured['first_loss']:.4f} -> {measured['last_loss']:.4f}{evaluation}")
    out.print(f"Written: {result.folder}", style="bold green")
