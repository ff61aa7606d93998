"""A run, read top to bottom: build, resume, step, evaluate, save.

One micro-batch is one row of samples laid end to end; `gradient_accumulation_steps` of them make a step; the loss of a
step is the mean over all its supervised tokens. After each step the event file has a line; after each checkpoint a
killed run can go on to the same losses, bit for bit on one machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from tunelab.config import Config
from tunelab.data.sample import Sample
from tunelab.errors import FolderError, Interrupted, RunError
from tunelab.planning.schedule import Schedule
from tunelab.runs.events import EventLog
from tunelab.runs.events import evaluations as events_of_evaluations
from tunelab.runs.folder import RunFolder
from tunelab.training.batch import MicroBatch, lay_out
from tunelab.training.checkpoint import RandomState, is_whole, load_checkpoint, newest_whole, save_checkpoint, save_result
from tunelab.training.interrupt import StopRequest
from tunelab.training.loss import summed_loss, takes_logits_to_keep
from tunelab.training.memory import peak_memory_bytes, reset_peak
from tunelab.training.model import build_model, trainable
from tunelab.training.optimizer import build_optimizer


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
class StepRecord:
    """What one step did. `loss` in nats per supervised token; `step` counts from 1."""

    step: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    supervised: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run measured. `seconds` are of this process's steps alone, without loading and saving."""

    steps: int
    tokens: int
    supervised: int
    seconds: float
    first_loss: float
    last_loss: float
    eval_loss: float | None
    peak_memory_bytes: int
    trainable_parameters: int
    total_parameters: int


class Watch:
    """Told what happens, for a progress display; the default watches nothing."""

    def phase(self, text: str) -> None:
        """A new phase begins."""

    def step(self, record: StepRecord, total: int) -> None:
        """A step is done."""

    def evaluation(self, step: int, loss: float) -> None:
        """The held-out rows were evaluated."""


def train(job: Job, run: RunFolder, events: EventLog, watch: Watch) -> Outcome:
    """Run a job to its end. Raises Interrupted when stopped (a checkpoint is saved), RunError when the loss is not finite."""
    config, plan = job.config, job.schedule.steps
    torch.manual_seed(config.run.seed if config.run.seed is not None else 42)
    watch.phase("loading the model")
    reset_peak()
    accelerator = _accelerator(job)
    model = build_model(config, job.weights, job.precision, job.vocabulary)
    optimizer = build_optimizer(config, trainable(model))
    first, random = 0, RandomState.now()
    if job.resume:
        first, random = _resume(config, run, model, optimizer, events)
    model, optimizer = accelerator.prepare(model, optimizer)
    loop = _Loop(job, accelerator, model, optimizer)
    random.restore()
    counted = [parameter.numel() for _, parameter in trainable(model)]
    evaluations = [float(event["loss"]) for event in events_of_evaluations(run.events_path) if event["step"] <= first]
    records: list[StepRecord] = []
    watch.phase("training")
    with StopRequest() as stop:
        for step in range(first, plan.total):
            random = RandomState.now()
            record = loop.step(step, lambda: stop.requested)
            if record is None:
                raise _stopped(run, step, loop, random)
            records.append(record)
            _note(events, record, job.schedule.samples(step))
            watch.step(record, plan.total)
            _check_finite(record)
            is_best = False
            if plan.is_eval(record.step):
                loss = loop.evaluate()
                is_best = plan.save_best and loss < min(evaluations, default=float("inf"))
                evaluations.append(loss)
                events.append("evaluation", step=record.step, loss=loss, rows=len(job.held_out))
                watch.evaluation(record.step, loss)
            if plan.is_save(record.step) or is_best:
                loop.save(run, record.step, RandomState.now())
                events.append("checkpoint", step=record.step, durable=True)
    watch.phase("saving")
    save_result(accelerator.unwrap_model(model), run)
    return Outcome(
        steps=plan.total, tokens=sum(r.tokens for r in records), supervised=sum(r.supervised for r in records),
        seconds=sum(r.seconds for r in records), first_loss=records[0].loss if records else float("nan"),
        last_loss=records[-1].loss if records else float("nan"), eval_loss=evaluations[-1] if evaluations else None, peak_memory_bytes=peak_memory_bytes(),
        trainable_parameters=sum(counted), total_parameters=sum(p.numel() for p in model.parameters()))


def first_steps(job: Job, count: int) -> list[StepRecord]:
    """Take the first steps of a job and throw the weights away: for measuring."""
    torch.manual_seed(42)
    accelerator = _accelerator(job)
    model = build_model(job.config, job.weights, job.precision, job.vocabulary)
    loop = _Loop(job, accelerator, *accelerator.prepare(model, build_optimizer(job.config, trainable(model))))
    records = [loop.step(step, lambda: False) for step in range(min(count, job.schedule.steps.total))]
    return [record for record in records if record is not None]


def _accelerator(job: Job) -> Accelerator:
    AcceleratorState._reset_state()  # its precision is one for the whole process; a second run may want another
    return Accelerator(mixed_precision=None if job.precision == "fp32" else job.precision, cpu=not torch.cuda.is_available())


class _Loop:
    """The parts of a step, bound to one model and optimizer."""

    def __init__(self, job: Job, accelerator: Accelerator, model: Any, optimizer: Any) -> None:
        self._job, self._accelerator, self._model, self._optimizer = job, accelerator, model, optimizer
        self._selective = takes_logits_to_keep(accelerator.unwrap_model(model))
        self._parameters = [parameter for _, parameter in trainable(model)]

    def step(self, step: int, stop: Callable[[], bool]) -> StepRecord | None:
        """One optimizer step; None when a stop was asked for before it was complete (nothing is changed then)."""
        began = time.perf_counter()
        batches = [self._lay_out(rows) for rows in self._job.schedule.micro_batches(step)]
        supervised = sum(batch.supervised for batch in batches)
        lr = self._job.schedule.steps.lr_at(step)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._model.train()
        total = 0.0
        for batch in batches:
            if stop():
                self._optimizer.zero_grad()
                return None
            loss = summed_loss(self._model, batch, self._selective) / max(1, supervised)
            self._accelerator.backward(loss)
            total += float(loss.detach())
        norm = self._accelerator.clip_grad_norm_(self._parameters, self._clip_at())
        self._optimizer.step()
        self._optimizer.zero_grad()
        return StepRecord(step + 1, round(self._job.schedule.epoch_after(step), 4), total, lr, float(norm),
                          sum(batch.tokens for batch in batches), supervised, time.perf_counter() - began)

    def evaluate(self) -> float:
        """Mean loss per supervised token over all held-out rows."""
        self._model.eval()
        total, supervised = 0.0, 0
        with torch.no_grad():
            for rows in self._job.schedule.evaluation_batches():
                batch = self._lay_out(rows, held_out=True)
                total += float(summed_loss(self._model, batch, self._selective))
                supervised += batch.supervised
        return total / max(1, supervised)

    def save(self, run: RunFolder, step: int, random: RandomState) -> None:
        """Write a checkpoint of the state after `step`."""
        save_checkpoint(run, step, self._accelerator.unwrap_model(self._model), self._optimizer, random,
                        self._job.config.run.save_total_limit)

    def _lay_out(self, rows: Sequence[Sequence[int]], held_out: bool = False) -> MicroBatch:
        samples = self._job.held_out if held_out else self._job.train
        pad_to = self._job.config.data.sequence_len if self._job.config.data.pad_to_sequence_len else None
        return lay_out([[samples[index] for index in row] for row in rows], pad_id=self._job.pad_id, pad_to=pad_to,
                       device=self._accelerator.device)

    def _clip_at(self) -> float:
        limit = self._job.config.optimisation.max_grad_norm
        return float("inf") if limit == 0 else 1.0 if limit is None else limit


def _resume(config: Config, run: RunFolder, model: Any, optimizer: torch.optim.Optimizer, events: EventLog) -> tuple[int, RandomState]:
    """Put the newest whole checkpoint (or the one that the config names) into place; step 0 when there is none."""
    named = config.run.resume_from_checkpoint
    folder = Path(named) if isinstance(named, str) else None
    if folder is None:
        newest = newest_whole(run)
        if newest is None:
            events.append("resumed", step=0, durable=True)
            return 0, RandomState.now()
        folder = newest[1]
    elif not is_whole(folder):
        raise FolderError("This is no whole checkpoint (its state.json is missing or its files do not match it).", where=str(folder),
                          next_step="Name another in resume_from_checkpoint, or leave the key out and use --resume: it takes the newest whole one.")
    step, random = load_checkpoint(folder, model, optimizer)
    events.append("resumed", step=step, checkpoint=folder.name, durable=True)
    return step, random


def _note(events: EventLog, record: StepRecord, samples: Sequence[int]) -> None:
    events.append("step", step=record.step, epoch=record.epoch, loss=record.loss, lr=record.lr, grad_norm=record.grad_norm,
                  tokens=record.tokens, supervised=record.supervised, seconds=round(record.seconds, 4), samples=list(samples))


def _check_finite(record: StepRecord) -> None:
    if not (abs(record.loss) < float("inf")):
        raise RunError(f"The loss became {record.loss} at step {record.step}; going on would only spoil the weights.",
                       next_step="Lower learning_rate (a tenth of it is a good try), then train again in a new output_dir.")


def _stopped(run: RunFolder, step: int, loop: _Loop, random: RandomState) -> Interrupted:
    """Save the state after the last whole step and say how to go on."""
    if step > 0:
        loop.save(run, step, random)
    return Interrupted(f"Stopped after step {step}; " + (f"everything up to there is saved in {run.checkpoint(step)}." if step else
                                                       "nothing was trained yet."),
                       next_step="Go on with the same command and --resume.")
