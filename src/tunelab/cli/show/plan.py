"""A plan in a terminal: the numbers, a bar for the memory, and what they assume."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.cli.show.findings import show_findings
from tunelab.planning.memory import MemoryPlan
from tunelab.planning.plan import Plan
from tunelab.report.numbers import duration, size
from tunelab.workflow.plan import Planned

PARTS = (("weights", "blue"), ("adapter", "cyan"), ("gradients", "magenta"), ("optimizer", "yellow"), ("activations", "green"),
         ("logits", "red"), ("framework", "white"))


def show_plan(out: Console, result: Planned) -> None:
    """Print a plan."""
    plan = result.plan
    table = Table.grid(padding=(0, 2))
    for label, text in _rows(plan):
        table.add_row(Text(label, style="dim"), plain(text))
    out.print(table)
    if plan.memory is not None:
        _memory(out, plan, plan.memory)
    for sentence in plan.assumptions:
        out.print(f"- {plain(sentence)}", style="dim")
    for sentence in result.missing:
        out.print(f"not planned: {plain(sentence)}", style="yellow")
    if result.findings:
        show_findings(out, result.path, result.findings)


def _rows(plan: Plan) -> list[tuple[str, str]]:
    rows = [("device", f"{plan.device}, computing in {plan.precision}")]
    if plan.parameters:
        trained = f"; {plan.trainable:,} are trained ({plan.share:.2%})" if plan.trainable is not None and plan.share is not None else ""
        rows.append(("parameters", f"{plan.parameters:,}{trained}"))
    if plan.rows is not None and plan.fill is not None:
        rows.append(("data", f"{plan.rows:,} rows to train on, {plan.held_out:,} held out; {plan.tokens_per_epoch:,} tokens an epoch, "
                             f"{plan.supervised_per_epoch:,} with loss; rows of a batch are {plan.fill:.1%} full"))
    if plan.steps is not None:
        rows.append(("steps", f"{plan.steps:,} in all, about {plan.rows_per_step:.3g} rows each; warm-up {plan.warmup_steps}; "
                              f"{plan.evaluations} evaluations, {plan.checkpoints} checkpoints"))
        rows.append(("tokens", f"{plan.tokens_total:,} go through the model, {plan.supervised_total:,} carry loss"))
    rows.append(("time", f"about {duration(plan.seconds)} of training" if plan.seconds else "not known without --calibrate"))
    if plan.disk_bytes is not None:
        rows.append(("disk", f"{size(plan.disk_bytes)} of {size(plan.disk_free)} free"))
    if plan.memory is not None:
        fits = {True: "fits", False: "DOES NOT FIT", None: "free memory unknown"}[plan.fits]
        rows.append(("memory", f"{size(plan.memory.total)} at the peak of {size(plan.memory_free)} free: {fits} (a machine with {plan.needs} will do)"))
    return rows


def _memory(out: Console, plan: Plan, memory: MemoryPlan) -> None:
    """A stacked bar, one colour and one label per component."""
    bar, legend = Text("  "), Text("  ")
    for name, colour in PARTS:
        share = getattr(memory, name) / max(1, memory.total)
        bar.append("█" * round(60 * share), style=colour)
        legend.append("■ ", style=colour)
        legend.append(f"{name} {size(getattr(memory, name))}  ")
    out.print(bar)
    out.print(legend)
