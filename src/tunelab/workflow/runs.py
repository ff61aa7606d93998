"""runs: which runs there are, and two or more of them side by side: curves, measurements, and what their configs mean differently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunelab.errors import FolderError, TunelabError, UsageError
from tunelab.report.runs import ComparedRuns, Curves, Differences, Fact, Points, render_runs_html
from tunelab.runs.doctor.ailment import number
from tunelab.runs.doctor.remains import read
from tunelab.runs.folder import RunFolder
from tunelab.runs.listing import Listed, find_runs, listed
from tunelab.runs.store import write_text
from tunelab.workflow.diff import diff

_PLACES = frozenset({"output_dir", "dataset_prepared_path", "resume_from_checkpoint"})
"""Settings that differ between any two runs and say nothing about them."""

def list_runs(folder: Path) -> tuple[Listed, ...]:
    """The runs below a folder, the newest last. Raises FolderError when there is no such folder."""
    if not folder.is_dir():
        raise FolderError("There is no such folder.", where=str(folder), next_step="Give the folder that holds your runs: tunelab runs FOLDER")
    return find_runs(folder)


def compare_runs(paths: Sequence[Path]) -> ComparedRuns:
    """Two or more runs side by side; runs that are going on, or that are dead, too. Raises FolderError where there is none."""
    if len(paths) < 2:
        raise UsageError("Two runs or more can be compared.", next_step="tunelab runs compare RUN RUN; list them with: tunelab runs")
    remains = [read(path) for path in paths]
    runs = tuple(listed(path) if RunFolder(path).manifest_path.exists() else Listed(path, one.status) for path, one in zip(paths, remains, strict=True))
    return ComparedRuns(runs, tuple(_curves(path, one.events) for path, one in zip(paths, remains, strict=True)),
                        _facts([one.manifest for one in remains], runs), tuple(_differences(paths[0], other) for other in paths[1:]))


def write_comparison(compared: ComparedRuns, path: Path) -> None:
    """Write the comparison as one HTML file. Raises StorageError."""
    write_text(path, render_runs_html(compared))


def _curves(path: Path, events: Sequence[Any]) -> Curves:
    steps = {event["step"]: event for event in events if event["event"] == "step"}
    looked = {event["step"]: event for event in events if event["event"] == "evaluation"}

    def curve(found: dict[int, Any], name: str) -> Points:
        return tuple((step, number(found[step].get(name), float("nan"))) for step in sorted(found))

    return Curves(str(path), curve(steps, "loss"), curve(looked, "loss"), curve(steps, "lr"), curve(steps, "grad_norm"))


def _facts(manifests: Sequence[Any], runs: Sequence[Listed]) -> tuple[Fact, ...]:
    """What was measured; then what was used, where it is not the same in all."""
    measured = [one.get("measured") or {} for one in manifests]
    plans = [one.get("plan") or {} for one in manifests]
    facts = [
        Fact("status", "text", tuple(run.status for run in runs)), Fact("method", "text", tuple(run.method for run in runs)),
        Fact("steps", "count", tuple(run.step or None for run in runs)), Fact("last loss", "loss", tuple(run.last_loss for run in runs)),
        Fact("held-out loss", "loss", tuple(run.eval_loss for run in runs)),
        Fact("tokens trained on", "count", tuple(one.get("supervised") for one in measured)),
        Fact("tokens per second", "count", tuple(run.tokens_per_second for run in runs)),
        Fact("time in steps", "seconds", tuple(one.get("seconds") for one in measured)),
        Fact("peak memory", "bytes", tuple(one.get("peak_memory_bytes") for one in measured)),
        Fact("trainable parameters", "count", tuple(one.get("trainable") for one in plans)),
        Fact("size on disk", "bytes", tuple(run.bytes for run in runs))]
    used = {"base model": tuple(run.base_model for run in runs), "precision": tuple(one.get("precision") for one in manifests),
            "machine": tuple((one.get("machine") or {}).get("cpu_name") for one in manifests)}
    used |= {name: tuple((one.get("versions") or {}).get(name) for one in manifests)
             for name in dict.fromkeys(name for one in manifests for name in one.get("versions") or {})}
    prints = [(one.get("data") or {}).get("fingerprint") for one in manifests]
    same = {first: f"data {chr(65 + index)}" for index, first in enumerate(dict.fromkeys(one for one in prints if one))}
    used["rows and labels"] = tuple(same.get(one) for one in prints)
    return (*facts, *(Fact(name, "text", values) for name, values in used.items() if len(set(values)) > 1))


def _differences(first: Path, second: Path) -> Differences:
    configs = [RunFolder(path).config_path for path in (first, second)]
    missing = [str(path) for path in configs if not path.exists()]
    if missing:
        return Differences(str(first), str(second), (), f"{missing[0]} is missing")
    try:
        found = diff(*(str(path) for path in configs)).differences
    except TunelabError as error:
        return Differences(str(first), str(second), (), error.message)
    return Differences(str(first), str(second), tuple(one for one in found if one.name not in _PLACES))
