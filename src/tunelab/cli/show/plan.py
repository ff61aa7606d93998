"""A plan in a terminal: the numbers, a bar for the memory, the GPUs it fits on, and what they assume."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.cli.show.findings import show_findings
from tunelab.planning.duration import Seconds
from tunelab.planning.fits import Fit
from tunelab.planning.memory import MemoryPlan
from tunelab.planning.plan import Plan
from tunelab.report.numbers import duration, size
from tunelab.workflow.plan import Planned

PARTS = (("weights", "blue"), ("adapter", "cyan"), ("gradients", "magenta"), ("optimizer", "yellow"), ("activations", "green"),
         ("logits", "red"), ("buffers", "bright_blue"), ("communication", "bright_magenta"), ("allocator", "bright_black"), ("framework", "white"))
_MARKS = {"fits": ("fits", "green"), "fits with a change": ("with a change", "yellow"), "needs several": ("several", "yellow"),
          "does not fit": ("no", "red")}


def show_plan(out: Console, result: Planned) -> None:
    """Print a plan."""
    plan = result.plan
    table = Table.grid(padding=(0, 2))
    for label, text in _rows(plan):
        table.add_row(Text(label, style="dim"), plain(text))
    out.print(table)
    if plan.memory is not None:
        _memory(out, plan.memory)
    if plan.fits_on:
        _fits(out, plan.fits_on)
    for sentence in plan.assumptions:
        out.print(f"- {plain(sentence)}", style="dim")
    for sentence in result.missing:
        out.print(f"not planned: {plain(sentence)}", style="yellow")
    if result.findings:
        show_findings(out, result.path, result.findings)


def _rows(plan: Plan) -> list[tuple[str, str]]:
    several = f"{plan.processes} processes; " if plan.processes > 1 else ""
    rows = [("device", f"{several}{plan.device}, computing in {plan.precision}")]
    if plan.parameters:
        trained = f"; {plan.trainable:,} are trained ({plan.share:.2%})" if plan.trainable is not None and plan.share is not None else ""
        source = f" [{plan.shapes_source}]" if plan.shapes_source else " [read off the name]"
        rows.append(("parameters", f"{plan.parameters:,}{trained}{source}"))
    if plan.rows is not None and plan.fill is not None:
        rows.append(("data", f"{plan.rows:,} rows to train on, {plan.held_out:,} held out; {plan.tokens_per_epoch:,} tokens an epoch, "
                             f"{plan.supervised_per_epoch:,} with loss; rows of a batch are {plan.fill:.1%} full [{plan.data_source}]"))
    if plan.steps is not None:
        rows.append(("steps", f"{plan.steps:,} in all, about {plan.rows_per_step:.3g} rows each; warm-up {plan.warmup_steps}; "
                              f"{plan.evaluations} evaluations, {plan.checkpoints} checkpoints"))
        rows.append(("tokens", f"{plan.tokens_total:,} go through the model, {plan.supervised_total:,} carry loss"))
    rows.append(("time", _time(plan)))
    if plan.disk_bytes is not None:
        rows.append(("disk", f"{size(plan.disk_bytes)} of {size(plan.disk_free)} free"))
    return rows + _memory_rows(plan)


def _time(plan: Plan) -> str:
    if plan.seconds:
        return f"about {duration(plan.seconds)} of training"
    if plan.seconds_range is not None:
        return f"{_between(plan.seconds_range)} of training, if it runs at {plan.seconds_range.basis}"
    return "not known without --calibrate"


def _memory_rows(plan: Plan) -> list[tuple[str, str]]:
    if plan.memory is None:
        return []
    fits = {True: "fits", False: "DOES NOT FIT", None: "free memory unknown"}[plan.fits]
    peak = (f"{size(plan.memory.total)} at the peak ({plan.memory.moment}) of {size(plan.memory_free)} free: {fits} "
            f"(a machine with {plan.needs} will do)")
    rows = [("memory", peak + ("" if plan.memory.validated else " [unvalidated]"))]
    others = []
    if plan.evaluation is not None:
        others.append(f"evaluating {size(plan.evaluation.total)}")
    if plan.merge is not None:
        others.append(f"merging the adapter afterwards {size(plan.merge.total)}, and {size(plan.merge_disk_bytes)} of disk")
    return [*rows, ("", "; ".join(others))] if others else rows


def _memory(out: Console, memory: MemoryPlan) -> None:
    """A stacked bar, one colour and one label per component."""
    bar, legend = Text("  "), Text("  ")
    for name, colour in PARTS:
        part = getattr(memory, name)
        if not part:
            continue
        bar.append("█" * round(60 * part / max(1, memory.total)), style=colour)
        legend.append("■ ", style=colour)
        legend.append(f"{name} {size(part)}  ")
    out.print(bar)
    out.print(legend)


def _fits(out: Console, fits: tuple[Fit, ...]) -> None:
    """One line per GPU, or one for all of them when none is too small."""
    if all(one.verdict == "fits" for one in fits):
        times = [one.seconds for one in fits if one.seconds]
        took = f"; training takes {duration(min(one.low for one in times))} to {duration(max(one.high for one in times))}" if times else ""
        out.print(f"fits on all {len(fits)} GPUs of the table, from {size(fits[0].memory_bytes)} up, with a peak of {size(fits[0].bytes)}{took}")
    else:
        _grouped(out, fits)
    out.print("  GPU numbers are estimates that were not held against runs on one; times are for 25 to 50 % of a GPU's peak speed "
              "(8 to 35 % below a billion parameters).", style="dim")


def _grouped(out: Console, fits: tuple[Fit, ...]) -> None:
    """The GPUs by what it takes to run on them: nothing, a change of the config, several of them."""
    out.print(f"fits on (peak {size(max(one.bytes for one in fits))} as the config stands):")
    groups: dict[tuple[str, str], list[Fit]] = {}
    for one in fits:
        groups.setdefault((one.verdict, one.change), []).append(one)
    for (verdict, change), members in groups.items():
        words, colour = _MARKS[verdict]
        peak = max((one.changed_bytes for one in members if one.changed_bytes is not None), default=None)
        edit = f": {change.replace(chr(10), ', ')}" + (f"  (peak {size(peak)})" if peak is not None else "") if change else ""
        out.print(Text.assemble("  ", (words, colour), plain(edit)))
        out.print(Text("      " + "; ".join(_device(one) for one in members), style="dim"))


def _device(one: Fit) -> str:
    took = f" {_between(one.seconds)}" if one.seconds else ""
    several = f" (or {one.count} of them, FSDP)" if one.count and one.count > 1 else ""
    return f"{one.device}{took}{several}"


def _between(seconds: Seconds) -> str:
    return f"{duration(seconds.low)} to {duration(seconds.high)}"
