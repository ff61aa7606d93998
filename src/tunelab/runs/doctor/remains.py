"""`read`: what is left of a run on disk. Nothing in the folder is taken for granted, and nothing in it is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.errors import FolderError, StorageError
from tunelab.runs.folder import LOCK, RunFolder

ENDS = ("finished", "interrupted", "failed")


@dataclass(frozen=True, slots=True)
class Remains:
    """What was read: the manifest (empty when it is not there), whole events, lines and files that are damaged, in words."""

    run: RunFolder
    manifest: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    held: bool
    wrong: tuple[str, ...]

    def last(self, *kinds: str) -> Mapping[str, Any] | None:
        """The last event of one of these kinds."""
        return next((event for event in reversed(self.events) if event["event"] in kinds), None)

    @property
    def done(self) -> Mapping[str, Any] | None:
        """The event of the step that the run stands at."""
        return max((event for event in self.events if event["event"] == "step"), key=lambda event: event["step"], default=None)

    @property
    def status(self) -> str:
        """finished, interrupted, failed, killed (it says running, and nobody holds it), running or unknown."""
        said = str(self.manifest.get("status") or "")
        if self.held:
            return "running"
        if said in ENDS:
            return said
        end = self.last(*ENDS, "step", "resumed")
        return str(end["event"]) if end is not None and end["event"] in ENDS else "killed" if said == "running" else "unknown"

    @property
    def last_words(self) -> str:
        """Why it ended, as it was written; "" when nothing was."""
        end = self.last("failed", "interrupted") or {}
        return str(self.manifest.get("reason") or end.get("reason") or "")

    @property
    def has_result(self) -> bool:
        """Whether the finished weights are there."""
        return has_result(self.run)

    def at(self, *keys: str) -> Any:
        """A place in the manifest, or None."""
        return at(self.manifest, *keys)


def has_result(run: RunFolder) -> bool:
    """Whether the finished weights of a run are there."""
    return run.adapter is not None or any(run.path.glob("model*.safetensors"))


def is_held(run: RunFolder) -> bool:
    """Whether a living process holds the run's lock."""
    from filelock import FileLock, Timeout

    if not (run.path / LOCK).exists():
        return False
    lock = FileLock(run.path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False  # a folder that cannot be locked is written by nobody
    lock.release()
    return False


def read(path: Path) -> Remains:
    run = RunFolder(path)
    traces = [run.manifest_path, run.events_path, *(folder for _, folder in run.checkpoints())]
    if not path.is_dir() or not any(trace.exists() for trace in traces):
        raise FolderError("This folder holds no tunelab run (no manifest.json, events.jsonl or checkpoint).", where=str(path),
                          next_step="Give the output_dir of a `tunelab train`, or list runs with: tunelab runs")
    wrong: list[str] = []
    manifest: Mapping[str, Any] = {}
    try:
        found = run.manifest()
        manifest = found if isinstance(found, dict) else {}
    except (FolderError, StorageError, UnicodeDecodeError) as error:
        wrong.append("manifest.json is missing" if isinstance(error, FolderError) else "manifest.json is damaged")
    events = []
    if not run.events_path.exists():
        wrong.append("events.jsonl is missing")
    else:
        lines = run.events_path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        parsed = [_event(line) for line in lines]
        events = [event for event in parsed if event is not None]
        bad = [index + 1 for index, event in enumerate(parsed) if event is None and lines[index].endswith("\n")]
        if bad:
            wrong.append(f"{len(bad)} of {len(lines)} lines of events.jsonl are damaged (the first is line {bad[0]})")
    if manifest.get("status") == "finished" and not has_result(run):
        wrong.append("the run finished and its result (adapter_model.safetensors or model.safetensors) is gone")
    return Remains(run, manifest, events, is_held(run), tuple(wrong))


def _event(line: str) -> Mapping[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(event, dict) and isinstance(event.get("event"), str)
    counted = whole and (event["event"] not in ("step", "evaluation", "checkpoint") or isinstance(event.get("step"), int))
    return event if counted else None


def at(values: Any, *keys: str) -> Any:
    """A place in nested mappings, or None."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
