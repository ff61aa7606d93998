"""Parts of a report from what lies on disk: a run's manifest, events and preview, explanations of its config. No judgement is made here.

The manifest's keys are those that `workflow.train` writes; a part that a run does not have (it was stopped, or is older) is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tunelab.config.finding import Finding
from tunelab.report import numbers
from tunelab.report.content import (
    ConfigPart,
    EvaluationPoint,
    FindingRow,
    MemoryPart,
    Piece,
    PlanPart,
    PlanRow,
    SettingRow,
    Source,
    State,
    StepPoint,
    TokenRow,
    TrainingPart,
    Unit,
)
from tunelab.runs.events import evaluations, steps
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import read_json

if TYPE_CHECKING:
    from tunelab.data.preview import PreviewRow
    from tunelab.planning.explain import Explanation

# What, where in the plan, where in the measurement, unit.
_PROMISES: tuple[tuple[str, str, str, Unit], ...] = (
    ("Optimizer steps", "steps", "steps", "count"),
    ("Tokens", "tokens_total", "tokens", "tokens"),
    ("Tokens trained on", "supervised_total", "supervised", "tokens"),
    ("Peak memory", "memory.total", "peak_memory_bytes", "bytes"),
    ("Time in steps", "seconds", "seconds", "seconds"),
    ("Trainable parameters", "trainable", "trainable_parameters", "count"),
    ("Disk", "disk_bytes", "disk_bytes", "bytes"),
)
_MEMORY = {"framework": "Libraries", "weights": "Base weights", "adapter": "Adapter", "gradients": "Gradients", "optimizer": "Optimizer state",
           "activations": "Activations", "logits": "Scores over the vocabulary", "buffers": "Copies and workspaces",
           "communication": "Exchange between devices", "allocator": "Held by the allocator"}
_STATES: tuple[State, ...] = get_args(State)


def training_part(run: RunFolder) -> TrainingPart:
    """What the run did, from its events and manifest. Raises FolderError when the folder holds no run, StorageError when it is damaged."""
    manifest = run.manifest()
    events = steps(run.events_path)
    done = tuple(StepPoint(event["step"], _number(event["loss"]), _number(event["lr"]), _number(event["grad_norm"]), event["tokens"],
                           _number(event["seconds"])) for event in events)
    looked = tuple(EvaluationPoint(event["step"], _number(event["loss"])) for event in evaluations(run.events_path))
    measured = manifest.get("measured") or {}
    seconds = measured.get("seconds", sum(point.seconds for point in done))
    tokens = measured.get("tokens", sum(point.tokens for point in done))
    supervised = measured.get("supervised", sum(event.get("supervised", 0) for event in events))
    return TrainingPart(
        status=str(manifest.get("status", "unknown")), reason=str(manifest.get("reason") or ""), steps=done, evaluations=looked,
        base_model=str((manifest.get("base_model") or {}).get("name", "")), precision=str(manifest.get("precision", "")), tokens=tokens,
        supervised=supervised, seconds=seconds, tokens_per_second=tokens / seconds if seconds else None,
        machine=_machine(manifest.get("machine") or {}, str(manifest.get("precision", ""))),
        versions=tuple((name, str(version)) for name, version in (manifest.get("versions") or {}).items()))


def plan_part(manifest: Mapping[str, Any]) -> PlanPart | None:
    """The plan against what happened, or None for a run without a plan. What was not measured (yet) stays open."""
    plan, measured = manifest.get("plan"), manifest.get("measured") or {}
    if not isinstance(plan, Mapping):
        return None
    rows = (PlanRow(what, _at(plan, there), _at(measured, here), unit) for what, there, here, unit in _PROMISES)
    memory = plan.get("memory") or {}
    parts = tuple(MemoryPart(words, int(memory[key])) for key, words in _MEMORY.items() if memory.get(key))
    peak = _at(measured, "peak_memory_bytes")
    return PlanPart(tuple(row for row in rows if row.predicted is not None or row.measured is not None), parts,
                    int(peak) if peak else None, tuple(str(one) for one in plan.get("assumptions") or ()))


def config_part(file: str, text: str, explanations: Iterable[Explanation], findings: Iterable[Finding | Mapping[str, Any]] = ()) -> ConfigPart:
    """The config with its explanations (`planning.explain`) and findings (as objects, or as the manifest keeps them)."""
    settings = tuple(SettingRow(one.name, one.shown, one.says, one.here, one.line, one.written, one.effect, one.typical)
                     for one in explanations)
    return ConfigPart(file, text, settings, tuple(_finding(one) for one in findings))


def preview_part(run: RunFolder) -> tuple[TokenRow, ...]:
    """The rows that the run kept for looking at; none when it kept none."""
    if not run.preview_path.exists():
        return ()
    kept = read_json(run.preview_path)
    return token_rows(kept.get("rows") or ()) if isinstance(kept, dict) else ()


def token_rows(rows: Sequence[PreviewRow | Mapping[str, Any]]) -> tuple[TokenRow, ...]:
    """Rows of `data.preview`, as objects or as they lie in preview.json."""
    return tuple(_token_row(asdict(row) if is_dataclass(row) and not isinstance(row, type) else row) for row in rows)


def origin_part(manifest: Mapping[str, Any]) -> dict[str, str] | None:
    """Where the base weights came from, as their folder says; else at least what they were called."""
    base = manifest.get("base_model") or {}
    origin = base.get("origin")
    if isinstance(origin, Mapping):
        return {str(name): str(value) for name, value in origin.items()}
    return {"model": str(base["name"])} if base.get("name") else None


def source_parts(run: RunFolder, beside: Path, comparison: Path | None = None) -> tuple[Source, ...]:
    """The files that the report's numbers came from, with paths as seen from the folder `beside` which the report is written to."""
    known = (("manifest", "manifest", run.manifest_path, "what was asked for, the plan, and what was measured"),
             ("events", "events", run.events_path, "every step, evaluation and checkpoint as it happened"),
             ("config", "config", run.config_path, "the config as it was written"),
             ("preview", "preview", run.preview_path, "rows token by token"),
             ("comparison", "comparison", comparison, "every answer of both models, in full"))
    return tuple(Source(key, label, _seen_from(beside, path), says) for key, label, path, says in known if path and path.exists())


def split_prompt(messages: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """(what stood before, the prompt) of a conversation: the last message is the prompt, each earlier one a line that names its role."""
    if not messages:
        return "", ""
    return "\n".join(f"{one.get('role', '')}: {one.get('content', '')}" for one in messages[:-1]), str(messages[-1].get("content", ""))


def _token_row(row: Mapping[str, Any]) -> TokenRow:
    tokens = list(row.get("tokens") or ())
    trained = sum(_state(token.get("state")) in ("trained", "end_of_turn_trained") for token in tokens)
    others = iter([_place(origin) for origin in row.get("others") or ()])
    number = row.get("index")
    return TokenRow(_place(row.get("origin")), tuple(_piece(group, others) for group in _groups(tokens)), len(tokens), trained,
                    number if isinstance(number, int) and number >= 0 else None, tuple(str(one) for one in row.get("why") or ()),
                    str(row.get("side") or ""))


def _place(origin: Any) -> str:
    return f"{origin.get('file', '')}:{origin.get('row', '')}" if isinstance(origin, Mapping) else str(origin or "")


def _groups(tokens: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Tokens that are shown as one: those of one character, and a stretch of padding."""
    group: list[Mapping[str, Any]] = []
    for index, token in enumerate(tokens):
        group.append(token)
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        padding = following is not None and token.get("state") == following.get("state") == "padding"
        # A run's older preview.json has no `joined`: there a token without text belongs to the next one.
        inside = token.get("joined", not token["text"])
        if following is None or not (padding or inside):
            yield group
            group = []


def _piece(group: Sequence[Mapping[str, Any]], others: Iterator[str]) -> Piece:
    states = [_state(token.get("state")) for token in group]
    border = "pack_border" in states
    state = "pack_border" if border else states[-1]
    text = str(group[0]["text"]) if state == "padding" else "".join(str(token["text"]) for token in group)
    ids = tuple(int(token["id"]) for token in group if token.get("id") is not None)
    return Piece(text, state, ids, bool(group[-1].get("special")), next(others, "") if border else "")


def _state(name: Any) -> State:
    return next((state for state in _STATES if state == str(name)), "context")


def _finding(one: Finding | Mapping[str, Any]) -> FindingRow:
    values = one if isinstance(one, Mapping) else asdict(one)
    return FindingRow(str(values["severity"]), values["code"], values["message"], values.get("line"), values.get("fix") or "")


def _machine(machine: Mapping[str, Any], precision: str) -> tuple[tuple[str, str], ...]:
    gpus = ", ".join(f"{gpu['name']} ({numbers.size(gpu['memory_bytes'])})" for gpu in machine.get("gpus") or ())
    facts = (("System", machine.get("system")), ("Processor", machine.get("cpu_name")), ("Cores", machine.get("cores")),
             ("Memory", numbers.size(machine["memory_bytes"]) if machine.get("memory_bytes") else None),
             ("GPU", gpus or ("none" if machine else None)), ("Precision", precision))
    return tuple((name, str(value)) for name, value in facts if value)


def _at(values: Mapping[str, Any], place: str) -> float | None:
    """The number at a dotted place, or None."""
    found: Any = values
    for part in place.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _number(value: Any) -> float:
    """A number of an event; what was not finite may stand there as a name or as null."""
    return float(value) if value is not None else float("nan")


def _seen_from(folder: Path, path: Path) -> str:
    """A path relative to a folder where there is such a path (not across Windows drives), with forward slashes."""
    try:
        return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:
        return path.as_posix()
