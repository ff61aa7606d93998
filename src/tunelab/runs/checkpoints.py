"""Which checkpoints of a run are whole: each holds a state.json with a checksum of every other file."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from tunelab.runs.folder import RunFolder

STATE = "state.json"
FORMAT = 2
"""Raised when what a checkpoint holds changes, so that no older one is taken for what it is not."""


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but its state.json, by name."""
    return {file.name: _checksum(file) for file in sorted(folder.iterdir()) if file.is_file() and file.name != STATE}


def read_state(folder: Path) -> dict[str, Any]:
    """What state.json says. Raises OSError or ValueError when it cannot be read."""
    state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return state


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words, or None when it is whole."""
    try:
        state = read_state(folder)
        expected = state["sha256"]
        if state.get("format") != FORMAT:
            return "it was written by another version of tunelab"
    except FileNotFoundError:
        return f"{STATE} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{STATE} is damaged"
    for name, digest in expected.items():
        try:
            if _checksum(folder / name) != digest:
                return f"{name} is not what was written (its checksum differs)"
        except OSError:
            return f"{name} is missing or cannot be read"
    return None


def newest_whole(run: RunFolder) -> tuple[tuple[int, Path] | None, list[str]]:
    """The newest checkpoint that is whole, or None, and a few words on each newer one that is not."""
    passed: list[str] = []
    for step, folder in reversed(run.checkpoints()):
        wrong = damage(folder)
        if wrong is None:
            return (step, folder), passed
        passed.append(f"{folder.name}: {wrong}")
    return None, passed


def rotate(run: RunFolder, keep: int | None, best: int | None) -> None:
    """Remove the oldest checkpoints over `keep`; the one of step `best` stays and is one of them."""
    if keep is None:
        return
    found = run.checkpoints()
    others = [path for step, path in found if step != best]
    surplus = max(0, len(others) - (keep - (len(others) < len(found))))
    newest = bool(found) and found[-1][0] != best  # what a killed run goes on from
    for path in others[: min(surplus, len(others) - newest)]:
        shutil.rmtree(path, ignore_errors=True)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
