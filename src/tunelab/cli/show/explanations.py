"""Settings explained, as a list to read (all) or in depth (single keys)."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.cli.show.findings import show_findings
from tunelab.workflow.explain import Explained


def show_explanations(out: Console, result: Explained) -> None:
    """Print each setting: name and value, what it is, what it does in this run."""
    for item in result.explanations:
        place = f"  line {item.line}" if item.line else ("  not written: default" if result.path else "")
        value = f" = {plain(item.shown)}" if result.path else ""
        out.print(Text.assemble((item.name, "bold cyan"), (value, "bold"), (place, "dim")))
        out.print(f"  {item.says}")
        if item.here:
            out.print(Text(f"  here: {plain(item.here)}", style="green"))
        if result.in_depth:
            for label, text in (("effect", item.effect), ("takes", item.takes), ("default", item.default), ("typical", item.typical),
                                ("interacts with", ", ".join(item.interacts)), ("example", item.example), ("support", item.support)):
                if text:
                    out.print(f"  {label}: {text}")
        out.print()
    if result.findings and not result.in_depth:
        out.print("What check has to say:", style="bold")
        show_findings(out, result.path, result.findings)
