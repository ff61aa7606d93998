"""The rules of check in a terminal: the list, and the page of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from tunelab.cli.show.findings import COLOURS
from tunelab.planning.rules import Rule


def show_rules(out: Console, rules: Sequence[Rule]) -> None:
    """One line a rule."""
    table = Table.grid(padding=(0, 2))
    for rule in rules:
        table.add_row(Text(rule.code, style="bold"), Text(str(rule.severity), style=COLOURS[rule.severity]), Text(rule.title),
                      Text("safe fix" if rule.safe else "", style="green"))
    out.print(table)


def show_rule(out: Console, rule: Rule) -> None:
    """The page of a rule: why, and YAML with and without it."""
    out.print(Text.assemble((f"{rule.code} ", "bold"), (str(rule.severity), COLOURS[rule.severity]), f"  {rule.title}"))
    out.print(Text(rule.why))
    for bad in rule.bad:
        out.print(Text("bad:", style="red"))
        out.print(Syntax(bad, "yaml", background_color="default"))
    out.print(Text("good:", style="green"))
    out.print(Syntax(rule.good, "yaml", background_color="default"))


def rule_as_data(rule: Rule) -> dict[str, Any]:
    """A rule without its code, for JSON."""
    return {"code": rule.code, "severity": str(rule.severity), "title": rule.title, "why": rule.why, "bad": list(rule.bad),
            "good": rule.good, "safe_fix": rule.safe}
