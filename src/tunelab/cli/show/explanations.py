"""Settings explained, as a list to read (all) or in depth (single keys)."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.cli.show.findings import show_findings
from tunelab.config.catalogue import FIRST
from tunelab.planning.explain import Explanation
from tunelab.workflow.explain import Explained


def show_explanations(out: Console, result: Explained) -> None:
    """Print each setting: name and value, what it is, what it does in this run."""
    room = ""
    for index, item in enumerate(result.explanations):
        if result.path and not result.in_depth and index >= len(FIRST) and item.section != room:
            room = item.section
            out.print(Text(f"--- {room} ---", style="bold"))
        place = f"  line {item.line}" if item.line else ("  not written: default" if result.path else "")
        value = f" = {plain(item.shown)}" if result.path else ""
        out.print(Text.assemble((item.name, "bold cyan"), (value, "bold"), (place, "dim")))
        out.print(f"  {item.says}")
        if item.here:
            out.print(Text(f"  here: {plain(item.here)}", style="green"))
        if result.in_depth:
            _depth(out, item)
        out.print()
    if result.changes:
        out.print("What Axolotl changes without a word, and what happens here:", style="bold")
        for change in result.changes:
            out.print(Text.assemble("  ", (change.key, "bold cyan"), f"  Axolotl: {change.axolotl} ", (f"Here: {change.tunelab}", "green")))
        out.print()
    if result.findings and not result.in_depth:
        out.print("What check has to say:", style="bold")
        show_findings(out, result.path, result.findings)


def _depth(out: Console, item: Explanation) -> None:
    """Everything else that is known about a setting."""
    support = item.support + (f" ({item.hardware})" if item.hardware else "")
    axolotl = item.dialect if item.dialect != item.takes else ""
    for label, text in (("effect", item.effect), ("takes", item.takes), ("Axolotl takes", axolotl), ("default", item.default),
                        ("typical", item.typical), ("interacts with", ", ".join(item.interacts)), ("status", item.status),
                        ("modern spelling", item.replaced_by), ("plugin", item.plugin), ("support in tunelab", support)):
        if text:
            out.print(f"  {label}: {text}")
    if item.example:
        out.print("  example:")
        out.print(Text("\n".join(f"    {line}" for line in item.example.splitlines()), style="green"))
