"""The folder of a run: who may write to it, what it holds, where each part lies.

    manifest.json     what was asked for, with what, where, and how it ended   (atomic)
    config.yml        the config as it was written
    events.jsonl      every step, evaluation, checkpoint, warning              (append-only)
    preview.json      a few rows with what happens to each token
    checkpoint-N/     weights, optimizer, random state at step N               (atomic)
    adapter_model.safetensors, adapter_config.json   the result of a LoRA run, in PEFT's format
    model.safetensors, config.json                   the result of a full run, in transformers' format
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.errors import FolderError, LockedError, StorageError, storage_errors
from tunelab.runs.store import read_json, remove_leftovers, write_json

MANIFEST = "manifest.json"
LOCK = ".lock"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside a run's folder."""

    path: Path

    @property
    def manifest_path(self) -> Path:
        return self.path / MANIFEST

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def config_path(self) -> Path:
        return self.path / "config.yml"

    @property
    def preview_path(self) -> Path:
        return self.path / "preview.json"

    @property
    def adapter(self) -> Path | None:
        """The folder with the finished adapter, or None when the run trained full weights or is not finished."""
        return self.path if (self.path / "adapter_model.safetensors").exists() else None

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.path / f"checkpoint-{step}"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """(step, folder) of every checkpoint, oldest first."""
        found = [(int(match.group(1)), path) for path in self.path.glob("checkpoint-*")
                 if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))]
        return sorted(found)

    def manifest(self) -> dict[str, Any]:
        """The manifest; a FolderError when this is no run."""
        if not self.manifest_path.exists():
            raise FolderError("This folder holds no tunelab run (no manifest.json).", where=str(self.path),
                              next_step="Give the output_dir of a finished `tunelab train`.")
        manifest: dict[str, Any] = read_json(self.manifest_path)
        return manifest

    def update_manifest(self, **fields: Any) -> None:
        """Merge fields into the manifest, atomically."""
        current = read_json(self.manifest_path) if self.manifest_path.exists() else {"schema": SCHEMA}
        write_json(self.manifest_path, {**current, **fields})


class RunLock:
    """Holds a run's folder for one writing process; the operating system lets go when that process dies."""

    def __init__(self, folder: RunFolder) -> None:
        from filelock import FileLock, Timeout

        with storage_errors(folder.path, "Creating the output folder", "Choose an output_dir that can be written to."):
            folder.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder.path / LOCK)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise LockedError("Another tunelab process is writing to this folder.", where=str(folder.path),
                                  next_step="Wait for it, stop it, or give this run another output_dir.") from None
            except NotImplementedError as error:
                raise StorageError(f"The folder cannot be locked: {error}.", where=str(folder.path)) from error

    def release(self) -> None:
        """Let another process in."""
        self._lock.release()


def open_for_training(path: Path, *, resume: bool) -> tuple[RunFolder, RunLock]:
    """Take a folder for a run. A FolderError when it holds another run, or other files, and `resume` is not asked for.

    Resuming needs a folder that a run has taken: one that was killed before it wrote anything there begins anew.
    """
    if path.exists() and not path.is_dir():
        raise FolderError("output_dir is a file; expected a folder.", where=str(path), next_step="Choose another output_dir.")
    folder = RunFolder(path)
    taken = (path / LOCK).exists()
    lock = RunLock(folder)
    try:
        _check_free(folder, resume, taken)
        remove_leftovers(path, "checkpoint-")
        remove_leftovers(path, "result")
    except BaseException:
        lock.release()
        if not taken:  # a refusal leaves nothing behind
            (path / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
    return folder, lock


def _check_free(folder: RunFolder, resume: bool, taken: bool) -> None:
    where = str(folder.path)
    if folder.manifest_path.exists():
        if resume:
            return
        status = folder.manifest().get("status", "unknown")
        raise FolderError(f"This folder already holds a run ({status}).", where=where,
                          next_step="Go on with it (--resume), or write another output_dir, or remove the folder yourself.")
    others = sorted(item.name for item in folder.path.iterdir() if not item.name.startswith((LOCK, f".{MANIFEST}.")))
    if resume and (others or not taken):
        raise FolderError("There is no run here to resume.", where=where, next_step="Leave out --resume to start one.")
    if others:
        raise FolderError(f"This folder holds other files ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''}).", where=where,
                          next_step="Choose an output_dir that is empty or does not exist.")
