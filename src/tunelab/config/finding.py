"""A finding: one thing to say about a config, at its place, with the edit that mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

KeyPath = tuple[str | int, ...]


class Severity(StrEnum):
    """How much a finding matters. Only an error stops a run."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about a config.

    `code` is stable ("TL301"); `key` is a dotted path ("datasets[0].type") or "" for the whole file;
    `line` and `column` are 1-based, None when the key is not written; `message` is one sentence that says
    what was found; `expected` and `fix` complete it: `fix` is the edit, in YAML.
    """

    code: str
    severity: Severity
    message: str
    key: str = ""
    line: int | None = None
    column: int | None = None
    expected: str = ""
    fix: str = ""


def dotted(path: KeyPath) -> str:
    """("datasets", 0, "type") -> "datasets[0].type"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that stop a run."""
    return tuple(finding for finding in findings if finding.severity is Severity.ERROR)
