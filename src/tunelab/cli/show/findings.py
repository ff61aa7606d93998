"""Findings in the manner of a compiler: place, code, sentence, the line itself, the edit; and as SARIF for code-scanning services."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tunelab.cli.output import plain
from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules import Rule

COLOURS = {Severity.ERROR: "bold red", Severity.BLOCKED: "bold magenta", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}


def show_findings(out: Console, path: str, findings: Sequence[Finding]) -> None:
    """Print every finding with its line of the file."""
    lines = _lines(path)
    for finding in findings:
        place = f"{path}:{finding.line}:{finding.column}" if finding.line else path
        out.print(Text.assemble((plain(place), "bold"), "  ", (f"{finding.severity} {finding.code}", COLOURS[finding.severity]), "  ",
                                plain(finding.message)))
        if finding.severity is Severity.NOTE and not finding.fix:
            continue  # one line is enough for what asks for nothing
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
    """The closing line: how many of each, and what follows from it."""
    counts = {severity: sum(f.severity is severity for f in findings) for severity in Severity}
    said = ", ".join(f"{count} {severity}{'s' if count != 1 and severity is not Severity.BLOCKED else ''}"
                     for severity, count in counts.items() if count)
    out.print(f"{plain(path)}: {said or 'nothing to say, all good'}", style="bold" if said else "bold green")
    if counts[Severity.BLOCKED] and not counts[Severity.ERROR]:
        out.print("The config is right; what is blocked cannot be run by this version or on this machine.", style="dim")
    fixes = sum(finding.safe for finding in findings)
    if fixes:
        out.print(f"{fixes} of these can be mended safely: tunelab check --fix {plain(path)}", style="dim")


def show_fixed(out: Console, path: str, applied: Sequence[Finding]) -> None:
    """One line for each edit that was made."""
    for finding in applied:
        out.print(Text.assemble(("mended ", "green"), (plain(finding.key), "bold"), f"  {finding.code}: ",
                                plain("; ".join(finding.fix.splitlines()))))
    if not applied:
        out.print(f"{plain(path)}: no safe edit to make", style="dim")


def sarif(results: Sequence[tuple[str, Sequence[Finding]]], rules: Sequence[Rule], version: str) -> dict[str, Any]:
    """Findings as a SARIF 2.1.0 log (OASIS): one run, the rules that were used, one result a finding."""
    used = {finding.code for _, findings in results for finding in findings}
    levels = {Severity.ERROR: "error", Severity.BLOCKED: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
    driver = {"name": "tunelab", "version": version, "rules": [
        {"id": rule.code, "name": rule.title, "shortDescription": {"text": rule.title}, "fullDescription": {"text": rule.why},
         "defaultConfiguration": {"level": levels[rule.severity]}} for rule in rules if rule.code in used]}
    found = [{"ruleId": finding.code, "level": levels[finding.severity],
              "message": {"text": finding.message + (f" Edit: {finding.fix}" if finding.fix else "")},
              "properties": {"severity": str(finding.severity), "key": finding.key},
              "locations": [{"physicalLocation": {"artifactLocation": {"uri": Path(path).as_posix()},
                                                  "region": {"startLine": finding.line or 1, "startColumn": finding.column or 1}}}]}
             for path, findings in results for finding in findings]
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": found}]}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return []
