"""train: check, prepare, plan, run, and keep what was promised beside what happened."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab import __version__
from tunelab.config import Config
from tunelab.config.catalogue import SECTIONS
from tunelab.config.sections.tracking import TrackingSection
from tunelab.data.gate import GateProblem, gate, known_codes, stopped, stopping
from tunelab.data.tokenizer import tokenizer_files
from tunelab.errors import FolderError, Interrupted, TunelabError, needs
from tunelab.facts.model import ensure_weights, weights_fingerprint
from tunelab.planning.plan import Plan, make_plan
from tunelab.planning.precision import precision
from tunelab.runs.events import EventLog, SilentLog, steps
from tunelab.runs.folder import RunFolder, open_for_training
from tunelab.runs.store import read_json, write_json, write_text
from tunelab.workflow.opening import Loaded, Opened, load_data, open_config
from tunelab.workflow.preview import preview_of

if TYPE_CHECKING:
    from tunelab.training.run import Job, Outcome, Watch

# Settings that a resumed run may change: they decide what is kept and said, not what is learnt.
_FREE_ON_RESUME = {"resume_from_checkpoint", "logging_steps", "save_steps", "saves_per_epoch", "save_strategy", "save_total_limit",
                   "dataset_prepared_path", "dataset_num_proc", "output_dir", *TrackingSection.model_fields}


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder and its manifest."""

    folder: Path
    manifest: Mapping[str, Any]


def train(path: str, *, resume: bool = False, watch: Watch | None = None, tokens_per_second: float | None = None, allow: Iterable[str] = (),
          stand_ins: bool = False, said: Callable[[GateProblem], None] | None = None) -> Trained:
    """Run a config to its end. `tokens_per_second` lets the plan predict the time.

    `allow`: codes of the gate's problems that must not stop the run; `said` is told every problem with which the run goes on.
    `stand_ins`: settings that this machine cannot honour may be taken as the nearest that it can.

    Raises ConfigError, DataError, ModelError, FolderError (nothing was started), Interrupted (saved; resumable), RunError.
    """
    with needs("train", "Training"):
        from tunelab.training.processes import join
        from tunelab.training.run import Watch as SilentWatch
        from tunelab.training.run import train as run_job
    watch = watch or SilentWatch()
    watch.phase("reading the config")
    opened = open_config(path, network=True, allow_stand_ins=stand_ins)
    config = opened.config_or_raise()
    for one in opened.stand_ins:
        watch.note(one.sentence)
    resume = resume or config.run.resume_from_checkpoint is not None
    processes = join(config)
    if not processes.first:  # the first one writes and speaks
        watch, said = SilentWatch(), None
    output = Path(config.run.output_dir)
    folder, lock = open_for_training(output, resume=resume) if processes.first else (RunFolder(output), None)
    resume = processes.agree(lambda: resume and folder.manifest_path.exists())  # killed while it prepared the data, it has nothing to go on from
    try:
        watch.phase("preparing the data")
        with processes.first_alone():
            loaded, job = prepare_job(opened, resume=resume, allow=known_codes(allow), said=said, processes=processes.count)
        if not processes.first:
            run_job(job, folder, SilentLog(), watch)
            return Trained(folder.path, {})
        plan = make_plan(config, opened.shapes, opened.machine, loaded.facts, tokens_per_second, processes=processes.count)
        if resume:
            _check_unchanged(folder, opened, loaded, processes.count)
            folder.update_manifest(status="running")
        else:
            _begin(folder, opened, loaded, plan, job)
        _keep_papers(folder, opened, loaded)
        outcome = _supervised(run_job, job, folder, watch)
        for name, text in tokenizer_files(loaded.tokenizer).items():
            write_text(folder.path / name, text)
        folder.update_manifest(status="finished", finished=time.time(), measured=_measured(folder, outcome))
        return Trained(folder.path, folder.manifest())
    finally:
        if lock is not None:
            lock.release()


def prepare_job(opened: Opened, *, resume: bool = False, allow: frozenset[str] = frozenset(),
                said: Callable[[GateProblem], None] | None = None, processes: int = 1) -> tuple[Loaded, Job]:
    """Load the data, hold it against the gate, and make the job for the training loop of so many processes."""
    from tunelab.training.run import Job

    config = opened.config_or_raise()
    model = opened.model_or_raise()
    weights = ensure_weights(model)
    loaded = load_data(config, model, processes=processes)
    problems = gate(loaded.prepared, loaded.tokenizer, config)
    if grave := stopping(problems, allow):
        raise stopped(grave, str(opened.source.path), allow)
    if said is not None:
        for problem in problems:
            said(problem)
    tokenizer = loaded.tokenizer
    pad = tokenizer.pad_id if tokenizer.pad_id is not None else tokenizer.eos_id or 0
    return loaded, Job(config, weights, loaded.prepared.train, loaded.prepared.held_out, loaded.schedule,
                       precision(config, opened.machine), tokenizer.vocab_size, pad, resume)


def _supervised(run_job: Any, job: Job, folder: RunFolder, watch: Watch) -> Outcome:
    """Run the job with its event file open; note how it ended when it did not end well."""
    from tunelab.training.trackers import tracked

    events = EventLog(folder.events_path)
    try:
        with tracked(job.config, folder, events, watch) as told:
            outcome: Outcome = run_job(job, folder, events, told)
        events.append("finished", step=outcome.steps, durable=True)
        return outcome
    except BaseException as error:
        note_end(folder, events, error)
        raise
    finally:
        events.close()


def note_end(folder: RunFolder, events: EventLog, error: BaseException) -> None:
    """Say in the run's events and manifest how it ended when it did not end well."""
    status = "interrupted" if isinstance(error, Interrupted) else "failed"
    reason = error.message if isinstance(error, TunelabError) else f"{type(error).__name__}: {error}"
    with suppress(TunelabError):  # the disk that stopped the run may not take this note either; the first error is the one to tell
        events.append(status, reason=reason, durable=True)
        folder.update_manifest(status=status, reason=reason)


def _begin(folder: RunFolder, opened: Opened, loaded: Loaded, plan: Plan, job: Job) -> None:
    config, base = opened.config_or_raise(), opened.model_or_raise().folder
    origin = base / "origin.json"
    folder.update_manifest(
        tunelab=__version__, status="running", started=time.time(),
        config={"path": str(opened.source.path), "sha256": hashlib.sha256(opened.source.text.encode()).hexdigest(), "sections": _sections(config)},
        base_model={"name": config.model.base_model, "folder": str(base), "origin": read_json(origin) if origin.exists() else None,
                    "fingerprint": weights_fingerprint(base)},
        data={"fingerprint": loaded.prepared.fingerprint(), "counts": asdict(loaded.prepared.counts)},
        plan=asdict(plan), precision=job.precision, machine=asdict(opened.machine), versions=_versions(),
        findings=[asdict(finding) for finding in opened.findings], stand_ins=[asdict(one) for one in opened.stand_ins])


def _keep_papers(folder: RunFolder, opened: Opened, loaded: Loaded) -> None:
    """The config as it was written and a few rows, beside the manifest; a killed start may have left them out."""
    if not folder.config_path.exists():
        write_text(folder.config_path, opened.source.text)
    if not folder.preview_path.exists():
        write_json(folder.preview_path, asdict(preview_of(loaded, range(min(4, len(loaded.prepared.train))), opened.config)))


def _sections(config: Config) -> dict[str, Any]:
    """Every setting after defaults, for the record."""
    return {name: config.section(name).model_dump(mode="json") for name in SECTIONS}


def _check_unchanged(folder: RunFolder, opened: Opened, loaded: Loaded, processes: int) -> None:
    """A resumed run has the processes, the config, the data and the base model of the run that it resumes; otherwise say what changed."""
    manifest = folder.manifest()
    then = manifest["plan"].get("processes", 1)
    if then != processes:
        raise FolderError(f"The run to be resumed is one of {then} process{'es' if then != 1 else ''}, and this is {processes}: steps would have another "
                          "size, and dropout other random numbers.", where=str(folder.path),
                          next_step=f"Add --nproc {then}." if then > 1 else "Leave --nproc out.")
    before, now = manifest["config"]["sections"], _sections(opened.config)
    changed = [f"{key} (was {before[name].get(key)!r}, is {value!r})" for name, values in now.items() for key, value in values.items()
               if key not in _FREE_ON_RESUME and before.get(name, {}).get(key) != value]
    if changed:
        raise FolderError(f"The config differs from the run that would be resumed: {'; '.join(changed)}.", where=str(folder.path),
                          next_step=f"Restore these settings (the run's own copy is {folder.config_path}), or train in a new output_dir.")
    if manifest["data"]["fingerprint"] != loaded.prepared.fingerprint():
        raise FolderError("The data differs from what the run to be resumed was trained on.", where=str(folder.path),
                          next_step="Restore the data, or train in a new output_dir.")
    base = opened.model_or_raise().folder
    weights = weights_fingerprint(base)
    if manifest["base_model"].get("fingerprint", weights) != weights:
        raise FolderError("The base model's weights differ from those that the run to be resumed began with.", where=str(base),
                          next_step="Restore the weights, or train in a new output_dir.")


def _measured(folder: RunFolder, outcome: Outcome) -> dict[str, Any]:
    """What the whole run did, over all its sittings."""
    done = steps(folder.events_path)
    seconds = sum(event["seconds"] for event in done)
    tokens = sum(event["tokens"] for event in done)
    return {"steps": len(done), "tokens": tokens, "supervised": sum(event["supervised"] for event in done), "seconds": round(seconds, 3),
            "tokens_per_second": round(tokens / seconds, 2) if seconds else None, "first_loss": done[0]["loss"], "last_loss": done[-1]["loss"],
            "eval_loss": outcome.eval_loss, "stopped_early": outcome.stopped_early, "best_step": outcome.best,
            "peak_memory_bytes": outcome.peak_memory_bytes,
            "trainable_parameters": outcome.trainable_parameters, "disk_bytes": _disk_bytes(folder)}


def _disk_bytes(folder: RunFolder) -> int:
    return sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file())


def _versions() -> dict[str, str]:
    packages = ("torch", "transformers", "peft", "accelerate", "tokenizers")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
