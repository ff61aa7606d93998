"""doctor: what a run suffers from, or what became of it."""

from __future__ import annotations

from pathlib import Path

from tunelab.errors import UsageError
from tunelab.runs.doctor import AILMENTS, Ailment, Examined, examine


def doctor(run: Path, *, checksums: bool = True) -> Examined:
    """Examine a finished, running or dead run. Raises FolderError when there is no trace of one."""
    return examine(run, checksums=checksums)


def ailments(code: str | None = None) -> tuple[Ailment, ...]:
    """All that the doctor looks for, by code; or the one with this code. Raises UsageError for a code that there is not."""
    if code is None:
        return tuple(AILMENTS[one] for one in sorted(AILMENTS))
    if code.upper() not in AILMENTS:
        raise UsageError(f"There is no ailment {code}.", next_step="List them with: tunelab doctor")
    return (AILMENTS[code.upper()],)
