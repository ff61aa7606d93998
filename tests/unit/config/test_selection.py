"""Findings are chosen by code, on the command line and in comments of the file; what makes a file unreadable is always shown."""

from __future__ import annotations

from pathlib import Path

from tunelab.config.finding import Finding, Severity
from tunelab.config.selection import choose, without_ignored
from tunelab.config.source import parse_source

FOUND = tuple(Finding(code, Severity.WARNING, "x.", "seed", line=line) for code, line in (("TL101", 1), ("TL303", 2), ("TL306", 3), ("TL504", 3)))


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


def test_select_and_ignore_take_codes_and_their_beginnings() -> None:
    assert codes(choose(FOUND, select=["TL3"])) == ["TL303", "TL306"]
    assert codes(choose(FOUND, ignore=["tl3", "TL101"])) == ["TL101", "TL504"]
    assert codes(choose(FOUND, select=["TL3"], ignore=["TL306"])) == ["TL303"]


def commented(text: str) -> list[str]:
    source, _ = parse_source(Path("c.yml"), text)
    return codes(without_ignored(source, FOUND, ["TL101", "TL303", "TL306", "TL504"]))


def test_comments_hide_a_line_the_next_line_or_a_file() -> None:
    assert commented("a: 1\nb: 2  # tunelab: ignore TL303\nc: 3\n") == ["TL101", "TL306", "TL504"]
    assert commented("a: 1\nb: 2\n# tunelab: ignore TL306, TL504\nc: 3\n") == ["TL101", "TL303", "TL306", "TL504"]  # the line below is line 4
    assert commented("a: 1\n# tunelab: ignore TL306, TL5\nc: 3\nd: 4\n") == ["TL101", "TL303"]
    assert commented("# tunelab: ignore-file TL3\na: 1\nb: 2\nc: 3\n") == ["TL101", "TL504"]
    assert commented("a: 1 # tunelab: ignore TL101\nb: 2\nc: 3\n") == ["TL101", "TL303", "TL306", "TL504"]  # not to be hidden


def test_a_comment_without_a_rule_is_said() -> None:
    assert commented("a: 1 # tunelab: ignore TL999\nb: 2\n")[0] == "TL114" or "TL114" in commented("a: 1 # tunelab: ignore TL999\nb: 2\n")
    assert commented('a: "# tunelab: ignore TL303"\nb: 2\n') == ["TL101", "TL303", "TL306", "TL504"]
