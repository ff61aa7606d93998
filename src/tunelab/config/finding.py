"""A finding: one thing to say about a config, at its place, with the edit that mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

KeyPath = tuple[str | int, ...]


class Severity(StrEnum):
    """How much a finding matters.

    ERROR: the config is wrong; nothing is planned or run. BLOCKED: the config is right, and this version or this machine cannot run it;
    it is explained and planned. WARNING: it runs, and probably not as meant. NOTE: something happens that the file does not say.
    """

    ERROR = "error"
    BLOCKED = "blocked"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about a config.

    `code` is stable ("TL301"); `key` is a dotted path ("datasets[0].type") or "" for the whole file;
    `line` and `column` are 1-based, None when the key is not written; `message` is one sentence that says
    what was found; `expected` and `fix` complete it: `fix` is the edit, a text of lines as `config.mend` reads them.
    `safe`: the edit keeps the meaning, so `--fix` makes it.
    """

    code: str
    severity: Severity
    message: str
    key: str = ""
    line: int | None = None
    column: int | None = None
    expected: str = ""
    fix: str = ""
    safe: bool = False


def dotted(path: KeyPath) -> str:
    """("datasets", 0, "type") -> "datasets[0].type"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def parts(key: str) -> KeyPath:
    """"datasets[0].type" -> ("datasets", 0, "type")."""
    return tuple(int(number) if number else name for number, name in re.findall(r"\[(\d+)\]|([^.\[\]]+)", key))


def general(path: KeyPath) -> str:
    """The name of a key in the catalogue: ("datasets", 0, "type") -> "datasets[].type"."""
    return dotted(tuple("[]" if isinstance(part, int) else part for part in path)).replace(".[]", "[]")


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that say the config is wrong."""
    return tuple(finding for finding in findings if finding.severity is Severity.ERROR)


def stops_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that stop a run: errors, and what this version or this machine cannot do."""
    return tuple(finding for finding in findings if finding.severity in (Severity.ERROR, Severity.BLOCKED))
