"""A comparison in a terminal: verdicts first, then answers side by side."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.comparison import Record
from tunelab.workflow.compare import Compared

SHOWN = 6
COLOURS = {"helped": "bold green", "hurt": "bold red"}


def show_comparison(out: Console, result: Compared) -> None:
    """Print each group's verdict, a few pairs of answers, observations and warnings."""
    for verdict in result.verdicts:
        out.print(Text.assemble((f"{verdict.group}: ", "bold"), (plain(verdict.sentence), COLOURS.get(verdict.word, "bold yellow"))))
    for preference in result.preferences:
        out.print(plain(preference.sentence))
    table = Table("prompt", "base", "tuned", "", show_lines=True, expand=True)
    for record in _interesting(result.comparison.records)[:SHOWN]:
        table.add_row(Text(_short(record.prompt.messages[-1]["content"])), Text(_short(record.base.text if record.base else "")),
                      Text(_short(record.tuned.text if record.tuned else "")), record.outcome)
    out.print(table)
    for observation in result.observations:
        out.print(f"- {plain(observation.text)}")
    for warning in result.warnings:
        out.print(f"warning: {plain(warning)}", style="yellow")
    out.print(f"Every answer in full: {result.path}", style="bold green")


def _interesting(records: tuple[Record, ...]) -> list[Record]:
    """Lost prompts first, then won, then the rest: harm must be seen."""
    order = {"lost": 0, "won": 1, "neither": 2, "both": 3, "ungraded": 4}
    ranked = sorted(records, key=lambda record: order[record.outcome])
    lost = [record for record in ranked if record.outcome == "lost"][:3]
    return lost + [record for record in ranked if record.outcome != "lost"]


def _short(text: str, limit: int = 240) -> str:
    shown = plain(text.strip())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
