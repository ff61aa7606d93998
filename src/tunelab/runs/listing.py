"""`find_runs`: every run below a folder with what a list of runs says of it. Of each event file only the end is read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.errors import StorageError
from tunelab.runs.doctor.remains import at, is_held
from tunelab.runs.folder import MANIFEST, RunFolder

_TAIL = 256 * 1024
"""So much of an event file is read at first: a few hundred steps with their samples."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in a list. `status` as in `runs.doctor.Examined`, or damaged when its manifest cannot be read; None: not known (yet)."""

    folder: Path
    status: str
    base_model: str = ""
    method: str = ""
    step: int = 0
    total: int = 0
    last_loss: float | None = None
    eval_loss: float | None = None
    tokens_per_second: float | None = None
    started: float | None = None
    bytes: int = 0


def find_runs(folder: Path) -> tuple[Listed, ...]:
    """The runs at and below a folder, the newest last. Links are not followed, and nothing is looked for inside a run."""
    found = [listed(path) for path in _folders(folder)]
    return tuple(sorted(found, key=lambda one: (one.started or 0.0, str(one.folder))))


def listed(path: Path) -> Listed:
    """One run."""
    run = RunFolder(path)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    try:
        manifest = run.manifest()
    except (StorageError, UnicodeDecodeError):
        return Listed(path, "damaged", bytes=size)
    status = str(at(manifest, "status") or "unknown")
    if status == "running" and not is_held(run):
        status = "killed"
    last, looked = _last(run.events_path)
    seconds, tokens = at(manifest, "measured", "seconds") or last.get("seconds"), at(manifest, "measured", "tokens") or last.get("tokens")
    return Listed(
        folder=path, status=status, base_model=str(at(manifest, "base_model", "name") or ""), method=method_of(manifest), step=int(last.get("step") or 0),
        total=int(at(manifest, "plan", "steps") or 0), last_loss=last.get("loss"), eval_loss=looked.get("loss"),
        tokens_per_second=round(tokens / seconds, 2) if seconds and tokens else None, started=at(manifest, "started"), bytes=size)


def method_of(manifest: Mapping[str, Any]) -> str:
    """What a run trained, in a word or two: "full", "lora", "qlora dpo"."""
    sections = at(manifest, "config", "sections")
    tuned = at(sections, "adapter", "adapter") or "full"
    aim = at(sections, "preference", "rl") or ("reward" if at(sections, "preference", "reward_model") else "")
    return f"{tuned} {aim}".strip()


def _folders(folder: Path) -> Iterator[Path]:
    for place, below, files in os.walk(folder):
        if MANIFEST in files and _is_run(Path(place)):
            below.clear()
            yield Path(place)
        below[:] = sorted(name for name in below if not name.startswith(".") and name != "node_modules")


def _is_run(path: Path) -> bool:
    """manifest.json is a common name: a run has events beside it, or a manifest of ours."""
    if (path / "events.jsonl").exists():
        return True
    try:
        return "tunelab" in RunFolder(path).manifest()
    except (StorageError, UnicodeDecodeError, TypeError):
        return False


def _last(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The last step event and the last evaluation event, empty where there is none."""
    try:
        size = path.stat().st_size
        for reach in (_TAIL, size):
            with path.open("rb") as file:
                file.seek(max(0, size - reach))
                found = _of_kinds(file.read().decode("utf-8", errors="replace").splitlines())
            if len(found) == 2 or reach >= size:
                break
    except OSError:
        return {}, {}
    return found.get("step", {}), found.get("evaluation", {})


def _of_kinds(lines: list[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        if '"step"' in line or '"evaluation"' in line:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the first line is cut, and the last may be torn
            if isinstance(event, dict) and event.get("event") in ("step", "evaluation") and isinstance(event.get("loss"), int | float):
                found[event["event"]] = event
    return found
