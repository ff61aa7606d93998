"""init: write a commented config to begin with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from tunelab.errors import FolderError, UsageError
from tunelab.planning.starter import Hardware, Method, starter
from tunelab.runs.store import write_text

Name = TypeVar("Name", bound=StrEnum)


def init(path: Path, model: str, *, method: str, hardware: str, data: str, output: str) -> None:
    """Write a starter config. Raises FolderError when the file is there already (nothing is overwritten), UsageError for a name that is no
    method or hardware."""
    chosen, place = _one_of("method", method, Method), _one_of("hardware", hardware, Hardware)
    if path.exists():
        raise FolderError("The file is there already.", where=str(path), next_step="Choose another name with --to, or delete it first.")
    write_text(path, starter(model, chosen, place, data, output))


def _one_of(option: str, name: str, names: type[Name]) -> Name:
    try:
        return names(name)
    except ValueError:
        raise UsageError(f"`{name}` is no {option} that init knows.", next_step=f"--{option}: one of {', '.join(names)}") from None
