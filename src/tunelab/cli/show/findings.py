"""Findings in the manner of a compiler: place, code, sentence, the line itself, the edit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.config.finding import Finding, Severity

COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}


def show_findings(out: Console, path: str, findings: Sequence[Finding]) -> None:
    """Print every finding with its line of the file."""
    lines = _lines(path)
    for finding in findings:
        place = f"{path}:{finding.line}:{finding.column}" if finding.line else path
        out.print(Text.assemble((plain(place), "bold"), "  ", (f"{finding.severity} {finding.code}", COLOURS[finding.severity]), "  ",
                                plain(finding.message)))
        if finding.line and finding.line <= len(lines):
            text = plain(lines[finding.line - 1])
            start = (finding.column or 1) - 1
            width = max(1, len(text.rstrip()) - start) if "#" not in text else max(1, len(text.split("#")[0].rstrip()) - start)
            out.print(Text(f"  {finding.line:>4} | {text}", style="dim"))
            out.print(Text(f"       | {' ' * start}{'^' * width}", style=COLOURS[finding.severity]))
        if finding.expected:
            out.print(f"       expected: {plain(finding.expected)}")
        if finding.fix:
            first, *rest = finding.fix.splitlines()
            out.print(Text.assemble("       edit: ", (plain(first), "green")))
            for line in rest:
                out.print(Text(f"             {plain(line)}", style="green"))


def show_summary(out: Console, path: str, findings: Sequence[Finding]) -> None:
    """The closing line: how many of each."""
    counts = {severity: sum(f.severity is severity for f in findings) for severity in Severity}
    said = ", ".join(f"{count} {severity}{'s' if count != 1 else ''}" for severity, count in counts.items() if count)
    out.print(f"{plain(path)}: {said or 'nothing to say, all good'}", style="bold" if said else "bold green")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return []
