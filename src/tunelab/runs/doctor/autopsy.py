"""`examine`: what became of a run, from what lies in its folder: finished, stopped, failed, killed, still going, or half deleted (TD7xx).

Nothing in the folder is taken for granted and nothing in it is changed; only a folder without any trace of a run is an error.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelab.config.finding import Severity
from tunelab.runs.checkpoints import damage
from tunelab.runs.doctor.ailment import Case, Diagnosis, ailment, case_of, number
from tunelab.runs.doctor.live import Doctor
from tunelab.runs.doctor.remains import Remains, at, read
from tunelab.runs.folder import RunFolder

STOPPED = ailment(
    "TD701", Severity.NOTE, "The run was stopped", looks_for="the event `interrupted`: Ctrl-C or a polite end (SIGTERM)",
    why="A person or a job scheduler asked for it; the state after the last whole step was saved.", advice="Go on with --resume.")
OUT_OF_MEMORY = ailment(
    "TD702", Severity.ERROR, "Out of memory", looks_for="an error that says so; or a process that vanished without a word while it tried the largest "
    "batch, or whose memory was within 15 % of what the machine had free",
    why="When memory runs out, the system kills the process: it has no time to say anything.",
    advice="Lower what a batch needs; the sequence length counts most.")
STORAGE = ailment(
    "TD703", Severity.ERROR, "A file could not be written", looks_for="a failure that names the disk: full, over quota, read-only, no permission",
    why="Checkpoints are written whole or not at all, so what was there before is sound.",
    advice="Make room (or keep fewer checkpoints), then go on with --resume.")
KILLED = ailment(
    "TD704", Severity.ERROR, "The process ended without a word", looks_for="a manifest that says running, while nobody holds the folder's lock",
    why="kill -9, a power cut, a closed session, a scheduler's time limit, or the system short of memory.", advice="Go on with --resume.")
FAILED = ailment(
    "TD705", Severity.ERROR, "The run failed", looks_for="the event `failed` for any other reason", why="Its last words are above.",
    advice="Mend what they name, then go on with --resume.")
DAMAGED_CHECKPOINT = ailment(
    "TD706", Severity.WARNING, "A checkpoint is not whole", looks_for="files that are missing from it or differ from their checksums",
    why="It was changed, or half deleted, after it was written. --resume passes over it and takes the newest whole one.",
    advice="Delete its folder; it is of no use.")
PARTS_MISSING = ailment(
    "TD707", Severity.WARNING, "Parts of the run are missing or damaged",
    looks_for="a manifest.json, events.jsonl or result that cannot be read where there must be one",
    why="Somebody deleted or changed files; what is left is told here.", advice="Restore the files from a copy if there is one.")
SILENT = ailment(
    "TD708", Severity.WARNING, "The run is alive and silent",
    looks_for="a held lock, and no event for two minutes and for 20 times as long as a step takes",
    why="It hangs, swaps, or is in a long evaluation or a slow save.", advice="Look at the process (CPU, memory, swap) before you stop it.")

_MEMORY_WORDS = ("out of memory", "not enough memory", "cannot allocate memory", "can't allocate memory", "bad_alloc", "memoryerror")
_DISK_WORDS = ("disk is full", "disk quota", "no space left", "read-only", "permission was denied", "file size")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk. `damage`: what is wrong with it, None when it is whole, "not looked at" without checksums."""

    step: int
    folder: str
    bytes: int
    damage: str | None


@dataclass(frozen=True, slots=True)
class Examined:
    """A run as it lies on disk.

    `status` is finished, interrupted, failed, killed, running or unknown; `sentence` says it in words. `losses` and `evaluations` are
    (step, loss). `next_step` is the command to go on with, or what to do instead; `resumes_at` the step that --resume would go on from.
    """

    folder: Path
    status: str
    sentence: str
    step: int
    total: int
    epoch: float
    seconds: float
    tokens_per_second: float | None
    losses: tuple[tuple[int, float], ...]
    evaluations: tuple[tuple[int, float], ...]
    checkpoints: tuple[Checkpoint, ...]
    resumes_at: int | None
    next_step: str
    findings: tuple[Diagnosis, ...]
    base_model: str
    started: float | None
    last_event: float | None


def examine(path: Path, *, checksums: bool = True) -> Examined:
    """Look at a run. `checksums` False leaves large checkpoints unread. Raises FolderError when there is no trace of a run."""
    remains = read(path)
    case = case_of(remains.manifest)
    doctor = Doctor(case)
    for _ in doctor.replay(remains.events):
        pass
    status = remains.status
    if status == "finished":
        doctor.end()
    checkpoints = tuple(_checkpoints(remains.run, checksums))
    whole = [one for one in checkpoints if one.damage is None or one.damage == "not looked at"]
    broken = [DAMAGED_CHECKPOINT.found(f"{Path(one.folder).name}: {one.damage}", step=one.step) for one in checkpoints if one not in whole]
    lost = [PARTS_MISSING.found("; ".join(remains.wrong))] if remains.wrong else []
    findings = (*_how_it_ended(remains, status, doctor, checkpoints), *lost, *broken, *doctor.diagnoses)
    steps = {event["step"]: event for event in remains.events if event["event"] == "step"}
    looked = {event["step"]: event for event in remains.events if event["event"] == "evaluation"}
    seconds = sum(number(event.get("seconds"), 0.0) for event in steps.values())
    tokens = sum(number(event.get("tokens"), 0.0) for event in steps.values())
    at = max(steps, default=0)
    resumes_at = None if status in ("finished", "running", "unknown") else whole[-1].step if whole else 0
    return Examined(
        folder=path, status=status, sentence=_sentence(status, at, case), step=at, total=case.total,
        epoch=number(steps[at].get("epoch"), 0.0) if at else 0.0, seconds=round(seconds, 3),
        tokens_per_second=round(tokens / seconds, 2) if seconds else None,
        losses=tuple((step, number(steps[step].get("loss"), float("nan"))) for step in sorted(steps)),
        evaluations=tuple((step, number(looked[step].get("loss"), float("nan"))) for step in sorted(looked)), checkpoints=checkpoints,
        resumes_at=resumes_at, next_step=_next(remains, status, resumes_at, doctor), findings=findings,
        base_model=str(remains.at("base_model", "name") or ""), started=remains.at("started"),
        last_event=remains.events[-1].get("time") if remains.events else None)


def _checkpoints(run: RunFolder, checksums: bool) -> Iterator[Checkpoint]:
    for step, folder in run.checkpoints():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        yield Checkpoint(step, str(folder), size, damage(folder) if checksums else "not looked at")


def _how_it_ended(remains: Remains, status: str, doctor: Doctor, checkpoints: Sequence[Checkpoint]) -> Iterator[Diagnosis]:
    if status == "running":
        yield from _silence(remains)
    elif status == "interrupted":
        yield STOPPED.found(remains.last_words or "stopped")
    elif status == "failed":
        said = remains.last_words or "no reason was written"
        low = said.lower()
        if any(word in low for word in _MEMORY_WORDS):
            yield OUT_OF_MEMORY.found(said, why="The allocator said so in time.", edit=_smaller(remains))
        elif any(word in low for word in _DISK_WORDS):
            yield STORAGE.found(f"{said} Free now: {_gigabytes(_free(remains.run))}.", edit="save_total_limit: 1" if len(checkpoints) > 1 else "")
        elif not {"TD101", "TD102"} & set(doctor.found):
            yield FAILED.found(said)
    elif status == "killed":
        yield _death(remains, checkpoints)


def _death(remains: Remains, checkpoints: Sequence[Checkpoint]) -> Diagnosis:
    """The likeliest cause of a death without a word, by what was going on."""
    done, last = remains.done, remains.events[-1] if remains.events else {}
    when = f"after step {done['step']}" if done is not None else "before the first step"
    if last.get("event") == "rehearsal":
        what = "evaluation" if last.get("held_out") else "training"
        return OUT_OF_MEMORY.found(f"it vanished while trying the largest batch of {what} ({last.get('tokens')} tokens)", edit=_smaller(remains))
    peak = max((number(event.get("peak_memory_bytes"), 0.0) for event in remains.events), default=0.0)
    need = max(peak, number(remains.at("plan", "memory", "total"), 0.0))
    free = number(remains.at("machine", "memory_free_bytes"), 0.0)
    if not remains.at("machine", "gpus") and free and need > 0.85 * free:
        return OUT_OF_MEMORY.found(f"it vanished {when}; it needed {_gigabytes(need)} and the machine had {_gigabytes(free)} free when it began",
                                   edit=_smaller(remains))
    parts = [f"it ended {when}"]
    saving = sorted(leftover.name.split(".")[1] for leftover in remains.run.path.glob(".checkpoint-*") if leftover.is_dir())
    if saving:
        parts.append(f"while {saving[-1]} was being written")
    room, size = _free(remains.run), max((one.bytes for one in checkpoints), default=0)
    if size and room < size:
        parts.append(f"the disk has {_gigabytes(room)} left and a checkpoint takes {_gigabytes(size)}")
    if need and free:
        parts.append(f"memory was not short ({_gigabytes(need)} of {_gigabytes(free)})")
    return KILLED.found("; ".join(parts))


def _silence(remains: Remains) -> Iterator[Diagnosis]:
    last, done = remains.events[-1] if remains.events else None, remains.done
    if last is None or not isinstance(last.get("time"), int | float):
        return
    quiet = time.time() - last["time"]
    if quiet > max(120.0, 20 * number(done.get("seconds"), 0.0) if done is not None else 0.0):
        yield SILENT.found(f"the last event ({last['event']}) is {quiet:.0f} s old")


def _smaller(remains: Remains) -> str:
    """YAML that lowers the memory of a batch, from what the run has."""
    sections = remains.at("config", "sections") or {}
    length = number(at(sections, "data", "sequence_len"), 0.0)
    rows = int(number(at(sections, "optimisation", "micro_batch_size"), 1))
    accumulation = int(number(at(sections, "optimisation", "gradient_accumulation_steps"), 1))
    if rows > 1:
        return f"micro_batch_size: 1\ngradient_accumulation_steps: {rows * accumulation}"
    lines = [] if at(sections, "hardware", "gradient_checkpointing") else ["gradient_checkpointing: true"]
    return "\n".join([*lines, *([f"sequence_len: {int(length) // 2}"] if length >= 2 else [])])


def _sentence(status: str, at: int, case: Case) -> str:
    of = f"step {at:,} of {case.total:,} ({at / case.total:.0%})" if case.total else f"step {at:,}"
    return {"finished": f"Finished: {of}.", "interrupted": f"Stopped after {of}.", "failed": f"Failed at {of}.",
            "killed": f"Dead since {of}: its process is gone, and it wrote no reason.", "running": f"Running: {of}."
            }.get(status, f"It cannot be told how this run ended; the events go up to {of}.")


def _next(remains: Remains, status: str, resumes_at: int | None, doctor: Doctor) -> str:
    if status == "running":
        return "Wait, or stop it with Ctrl-C (it saves a checkpoint)."
    if status == "finished":
        return f"tunelab report {remains.run.path}" if remains.has_result else "The result is gone: train again in a new output_dir."
    if {"TD101", "TD102", "TD103"} & set(doctor.found):
        return "Make the edit below, give it a new output_dir, and train again; going on from a checkpoint meets the same step."
    if not remains.manifest:
        return "Without manifest.json the run cannot be resumed: train again in a new output_dir."
    config, changed = _config(remains)
    again = f" (from step {resumes_at})" if resumes_at else " (from the beginning: no checkpoint is whole)"
    return f"tunelab train {config} --resume{again}{changed}"


def _config(remains: Remains) -> tuple[str, str]:
    """The config to resume with, and a word when the one that was used has changed since."""
    path, digest = Path(str(remains.at("config", "path") or "")), remains.at("config", "sha256")
    copy = str(remains.run.config_path)
    if not path.is_file():
        return copy, ""
    same = hashlib.sha256(path.read_bytes()).hexdigest() == digest
    return str(path), "" if same else f"; {path} has changed since, the run's own copy is {copy}"


def _free(run: RunFolder) -> int:
    return shutil.disk_usage(run.path).free


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
