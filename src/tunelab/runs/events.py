"""The append-only event file of a run: one JSON object a line, written as things happen.

A run that was resumed writes some steps again; `steps` keeps the last line of each, which is what the weights saw.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelab.errors import storage_errors


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step did. `loss`: the mean per unit (nats per supervised token; for preferences, per pair); `step` counts from 1.

    `measures`: further means over the units, such as reward margins. Tokens and losses are those of all processes, seconds this one's.
    """

    step: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    supervised: int
    seconds: float
    measures: Mapping[str, float] = field(default_factory=dict)


class EventLog:
    """Appends events to a file; opening it cuts off a half-written last line left by a killed process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path, "Opening the event file"):
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_tail(path)
            self._file = path.open("a", encoding="utf-8", newline="\n")

    def append(self, kind: str, *, durable: bool = False, **fields: Any) -> None:
        """Write one event; `durable` also flushes it through to the disk."""
        line = json.dumps({"event": kind, "time": round(time.time(), 3), **fields}, ensure_ascii=False)
        with storage_errors(self.path, "Writing an event"):
            self._file.write(line + "\n")
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SilentLog(EventLog):
    """Writes nothing: for a process of a run that is not the first."""

    def __init__(self) -> None:
        pass

    def append(self, kind: str, *, durable: bool = False, **fields: Any) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """All whole events of a file, in order; a torn last line is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n") and line.strip():
                yield json.loads(line)


def steps(path: Path) -> list[dict[str, Any]]:
    """The step events in order of step, each step once (its last writing)."""
    latest = {event["step"]: event for event in read_events(path) if event["event"] == "step"}
    return [latest[step] for step in sorted(latest)]


def evaluations(path: Path) -> list[dict[str, Any]]:
    """The evaluation events in order of step, each step once."""
    latest = {event["step"]: event for event in read_events(path) if event["event"] == "evaluation"}
    return [latest[step] for step in sorted(latest)]


def _cut_torn_tail(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
