"""A run, read top to bottom: build, resume, try the worst batch, step, evaluate, save.

`gradient_accumulation_steps` micro-batches (of each process) make a step; the loss of a step is the mean over all its units,
supervised tokens for ordinary fine-tuning. After each step the event file has a line with the samples that it used; after each
checkpoint a killed run can go on to the same losses, bit for bit on one machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from accelerate.state import AcceleratorState

from tunelab.config import Config
from tunelab.data.mixing import seed_of
from tunelab.data.sample import Sample
from tunelab.errors import FolderError, Interrupted, RunError
from tunelab.planning.schedule import Schedule
from tunelab.runs.checkpoints import damage, newest_whole
from tunelab.runs.doctor import Diagnosis, Doctor
from tunelab.runs.events import EventLog, StepRecord
from tunelab.runs.folder import RunFolder
from tunelab.training.checkpoint import Progress, RandomState, save_checkpoint, save_result
from tunelab.training.distributed import make_accelerator
from tunelab.training.interrupt import StopRequest
from tunelab.training.loop import Loop
from tunelab.training.memory import naming_what_to_lower, peak_memory_bytes, reset_peak
from tunelab.training.model import build_model, trainable
from tunelab.training.objective import Objective
from tunelab.training.optimizer import build_optimizer, resting
from tunelab.training.preference.methods import objective_of
from tunelab.training.supervised import Supervised


@dataclass(frozen=True)
class Job:
    """Everything a run needs; `precision` is fp32, bf16 or fp16, `vocabulary` the tokenizer's size."""

    config: Config
    weights: Path
    train: Sequence[Sample]
    held_out: Sequence[Sample]
    schedule: Schedule
    precision: str
    vocabulary: int
    pad_id: int
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run knows beside its events. `eval_loss`: of the weights that are the result.

    `stopped_early`: the step after which patience ran out; `best`: the step whose weights are the result, when it is not the last.
    """

    steps: int
    eval_loss: float | None
    peak_memory_bytes: int
    trainable_parameters: int
    stopped_early: int | None
    best: int | None


class Watch:
    """Told what happens, for a progress display; the default watches nothing."""

    def phase(self, text: str) -> None:
        """A new phase begins."""

    def note(self, text: str) -> None:
        """Something worth a line: what was passed over, what was found."""

    def step(self, record: StepRecord, total: int) -> None:
        """A step is done."""

    def evaluation(self, step: int, loss: float, measures: Mapping[str, float]) -> None:
        """The held-out rows were evaluated."""

    def finding(self, finding: Diagnosis) -> None:
        """The doctor found something wrong with the run."""


def train(job: Job, run: RunFolder, events: EventLog, watch: Watch) -> Outcome:
    """Run a job to its end. Raises Interrupted when stopped (a checkpoint is saved), RunError when the loss is not finite or memory ran out."""
    plan = job.schedule.steps
    torch.manual_seed(seed_of(job.config))
    watch.phase("loading the model")
    reset_peak()
    loop = _build(job)
    loop.processes.draw_apart(torch.initial_seed())
    loop.look_ahead(plan.total)
    progress = Progress(0, RandomState.now())
    if job.resume:
        progress = _resume(job.config, run, loop, events, watch)
    watch.phase("trying the largest batch")
    _rehearse(job, loop, events)
    progress.random.restore()
    doctor = Doctor.of(run, progress.step)
    watch.phase("training")
    with StopRequest() as stop:
        while progress.step < plan.total and not plan.out_of_patience(progress.evaluations):
            record = loop.step(progress.step, lambda: stop.requested)
            if record is None:
                raise _stopped(job, run, progress, loop)
            _note(events, record, job.schedule.samples(record.step - 1))
            watch.step(record, plan.total)
            _say(doctor.step(asdict(record)), events, watch)
            _check_finite(record, doctor)
            progress = replace(progress, step=record.step, random=RandomState.now())
            if plan.is_eval(record.step):
                loss, measures = loop.evaluate()
                loop.rate.observe(loss)
                progress = replace(progress, random=RandomState.now(), evaluations={**progress.evaluations, record.step: loss})
                rows = sum(len(row) for batch in job.schedule.evaluation_batches() for row in batch)
                events.append("evaluation", step=record.step, loss=loss, rows=rows, measures=measures)
                watch.evaluation(record.step, loss, measures)
                _say(doctor.evaluation({"step": record.step, "loss": loss}), events, watch)
            if plan.is_save(record.step) or (plan.keeps_best and progress.best == record.step):
                _save(job, run, progress, loop)
                events.append("checkpoint", step=record.step, durable=True)
                doctor.saved(record.step)
    _say(doctor.end(), events, watch)
    early = progress.step if progress.step < plan.total else None
    if early is not None:
        events.append("stopped early", step=early, durable=True)
        watch.note(f"Stopped early after step {early}: the evaluation loss has not become lower for {plan.patience} evaluations.")
    best = _take_best(run, progress, loop, watch) if plan.loads_best else None
    watch.phase("saving")
    with resting(loop.optimizer) if best is None else nullcontext():  # the best checkpoint's weights rest already
        state = loop.state()
        if loop.processes.first:
            save_result(state, run)
    evaluations = progress.evaluations
    return Outcome(
        steps=progress.step, eval_loss=evaluations[best or max(evaluations)] if evaluations else None, peak_memory_bytes=peak_memory_bytes(),
        trainable_parameters=sum(parameter.numel() for _, parameter in trainable(loop.model)), stopped_early=early, best=best)


def first_steps(job: Job, count: int) -> list[StepRecord]:
    """Take the first steps of a job and throw the weights away: for measuring."""
    torch.manual_seed(42)
    loop = _build(job)
    loop.look_ahead(min(count, job.schedule.steps.total))
    records = [loop.step(step, lambda: False) for step in range(min(count, job.schedule.steps.total))]
    return [record for record in records if record is not None]


def _build(job: Job) -> Loop:
    AcceleratorState._reset_state()  # its precision is one for the whole process; a second run may want another
    accelerator = make_accelerator(job.config, job.precision)
    model = build_model(job.config, job.weights, job.precision, job.vocabulary)
    optimizer = build_optimizer(job.config, model, warmup=job.schedule.steps.warmup)
    return Loop(job.config, job.schedule, _objective(job, model, accelerator.device), accelerator, model, optimizer)


def _objective(job: Job, model: torch.nn.Module, device: torch.device) -> Objective:
    """What the config asks to minimise."""
    if job.config.preference.method is not None:
        return objective_of(job.config, model, (job.train, job.held_out), device)
    return Supervised(job.config, model, (job.train, job.held_out), job.pad_id, device)


def _resume(config: Config, run: RunFolder, loop: Loop, events: EventLog, watch: Watch) -> Progress:
    """Put the newest whole checkpoint (or the one that the config names) into place; step 0 when there is none."""
    named = config.run.resume_from_checkpoint
    folder = Path(named) if isinstance(named, str) else None
    if folder is None:
        newest, passed = loop.processes.agree(lambda: newest_whole(run))
        for text in passed:
            events.append("checkpoint passed over", reason=text, durable=True)
            watch.note(f"Passed over {text}.")
        if newest is None:
            events.append("resumed", step=0, durable=True)
            return Progress(0, RandomState.now())
        folder = newest[1]
    elif wrong := loop.processes.agree(lambda: damage(Path(folder))):
        raise FolderError(f"This is no whole checkpoint: {wrong}.", where=str(folder),
                          next_step="Name another in resume_from_checkpoint, or leave the key out and use --resume: it takes the newest whole one.")
    progress = loop.load(folder)
    events.append("resumed", step=progress.step, checkpoint=folder.name, durable=True)
    return progress


def _rehearse(job: Job, loop: Loop, events: EventLog) -> None:
    """Run out of memory now if at all: the largest training batch forward and backward, the largest of evaluation forward."""
    for rows, tokens, held_out in loop.largest():
        events.append("rehearsal", tokens=tokens, held_out=held_out, durable=True)  # when the system kills us in it, this line says so
        with naming_what_to_lower(job.config, tokens, held_out):
            loop.rehearse(rows, held_out=held_out)
    events.append("rehearsed", peak_memory_bytes=peak_memory_bytes())


def _save(job: Job, run: RunFolder, progress: Progress, loop: Loop) -> None:
    """Write a checkpoint of the state after a step."""
    best = progress.best if job.schedule.steps.keeps_best else None
    with resting(loop.optimizer):
        state, progress = loop.state(), loop.remember(progress)
        if loop.processes.first:
            save_checkpoint(run, progress, state, job.config.run.save_total_limit, best)


def _take_best(run: RunFolder, progress: Progress, loop: Loop, watch: Watch) -> int | None:
    """Put the weights of the best checkpoint into place; None when that is where the run stands, or when it is no longer whole."""
    best = progress.best
    if best is None or best == progress.step:
        return None
    if wrong := loop.processes.agree(lambda: damage(run.checkpoint(best))):
        watch.note(f"The best checkpoint, of step {best}, cannot be taken ({wrong}); the result has the weights of step {progress.step}.")
        return None
    loop.load_weights(run.checkpoint(best))
    watch.note(f"The result has the weights of step {best}, whose evaluation loss {progress.evaluations[best]:.4f} is the lowest.")
    return best


def _note(events: EventLog, record: StepRecord, samples: Sequence[int]) -> None:
    events.append("step", step=record.step, epoch=record.epoch, loss=record.loss, lr=record.lr, grad_norm=record.grad_norm,
                  tokens=record.tokens, supervised=record.supervised, seconds=round(record.seconds, 4), samples=list(samples),
                  measures=dict(record.measures))


def _say(findings: Sequence[Diagnosis], events: EventLog, watch: Watch) -> None:
    for finding in findings:
        events.append("finding", durable=True, **asdict(finding))
        watch.finding(finding)


def _check_finite(record: StepRecord, doctor: Doctor) -> None:
    if not (abs(record.loss) < float("inf")):
        why = doctor.found["TD101"]
        edit = f" Edit: {'; '.join(why.edit.splitlines())}." if why.edit else ""
        raise RunError(f"The loss became {record.loss} at step {record.step}; going on would only spoil the weights. {why.why}", where=str(doctor.run),
                       next_step=f"{why.advice}{edit} Then train again in a new output_dir; more: tunelab doctor {doctor.run}")


def _stopped(job: Job, run: RunFolder, progress: Progress, loop: Loop) -> Interrupted:
    """Save the state after the last whole step and say how to go on."""
    step = progress.step
    if step > 0:
        _save(job, run, progress, loop)
    return Interrupted(f"Stopped after step {step}; " + (f"everything up to there is saved in {run.checkpoint(step)}." if step else
                                                       "nothing was trained yet."),
                       next_step="Go on with the same command and --resume.")
