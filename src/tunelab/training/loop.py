"""The parts of a step, bound to one model, optimizer and objective: take it, evaluate, and try the worst of both before the first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from tunelab.config import Config
from tunelab.planning.rate import Rate
from tunelab.planning.schedule import Rows, Schedule
from tunelab.runs.events import StepRecord
from tunelab.training.checkpoint import Progress, RandomState, State, load_checkpoint
from tunelab.training.distributed import make_engine
from tunelab.training.objective import Costed, Objective
from tunelab.training.optimizer import resting, set_rate, wake
from tunelab.training.processes import Processes


class Loop:
    """One model in training."""

    def __init__(self, config: Config, schedule: Schedule, objective: Objective, accelerator: Accelerator, model: torch.nn.Module,
                 optimizer: torch.optim.Optimizer) -> None:
        self._schedule, self._objective = schedule, objective
        self.processes = Processes()
        self.rate = Rate(schedule.steps.course)
        self._engine = make_engine(config, accelerator, self.processes.count, Costed(model, objective), optimizer)

    @property
    def model(self) -> Any:
        """The model itself, without wrappers."""
        return self._engine.model

    @property
    def optimizer(self) -> Any:
        """Its optimizer, as the engine has it."""
        return self._engine.optimizer

    def look_ahead(self, steps: int) -> None:
        """Show the objective what it has to see of the first `steps` steps and the evaluation before the model learns."""
        self._engine.train(False)
        with torch.no_grad():
            for batch in self._objective.first_batches(self._schedule, steps):
                self._engine.cost(batch)

    def step(self, step: int, stop: Callable[[], bool]) -> StepRecord | None:
        """One optimizer step; None when a stop was asked for before it was complete (nothing is changed then)."""
        began = time.perf_counter()
        share = self.processes.share(self._schedule.micro_batches(step))
        batches = [(self._objective.lay_out(rows, held_out=False), counts) for rows, counts in share]
        sizes = [(batch.units, batch.tokens, batch.supervised) for batch, counts in batches if counts]
        sizes_here = [sum(size) for size in zip(*sizes, strict=True)] or [0, 0, 0]
        units, tokens, supervised, stops = self.processes.sums([*sizes_here, stop()])
        if stops:  # all stop before the same step
            return None
        lr = set_rate(self.optimizer, self.rate, step)
        self._engine.train()
        sums: dict[str, float] = {"loss": 0.0}
        for number, (batch, counts) in enumerate(batches, 1):
            if self.processes.count == 1 and stop():
                self._engine.forget()
                return None
            with self._engine.micro_batch(last=number == len(batches)):
                summed, measures = self._engine.cost(batch)
                loss = summed * float(counts) / max(1, units)
                self._engine.backward(loss * self.processes.count)  # the mean over processes is taken of it
            for name, value in {"loss": loss, **{key: one * float(counts) / max(1, units) for key, one in measures.items()}}.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
        norm = self._engine.update()
        means = dict(zip(sums, self.processes.sums(list(sums.values())), strict=True))
        return StepRecord(step + 1, round(self._schedule.epoch_after(step), 4), means.pop("loss"), lr, norm, int(tokens), int(supervised),
                          time.perf_counter() - began, self._objective.told(means))

    def evaluate(self) -> tuple[float, Mapping[str, float]]:
        """Mean loss per unit over all held-out rows, and the means of the further measures."""
        self._engine.train(False)
        sums: dict[str, float] = {"units": 0.0, "loss": 0.0}
        with torch.no_grad(), resting(self.optimizer):
            for rows, counts in self.processes.share(self._schedule.evaluation_batches()):
                batch = self._objective.lay_out(rows, held_out=True)
                summed, measures = self._engine.cost(batch)
                for name, value in {"units": batch.units, "loss": summed, **measures}.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * counts
        totals = dict(zip(sums, self.processes.sums(list(sums.values())), strict=True))
        units = max(1.0, totals.pop("units"))
        means = {name: value / units for name, value in totals.items()}
        return means.pop("loss"), self._objective.told(means)

    def largest(self) -> Iterator[tuple[Rows, int, bool]]:
        """The micro-batch of training, and that of evaluation where there is one, with the most tokens: (rows, tokens, held out)."""
        steps, evaluation = self._schedule.steps, self._schedule.evaluation_batches()
        training = [rows for step in range(steps.total) for rows in self._schedule.micro_batches(step)]
        for batches, held_out in ((training, False), (evaluation if steps.eval_steps else (), True)):
            if batches:
                sizes = [self._objective.tokens(rows, held_out=held_out) for rows in batches]
                place = sizes.index(max(sizes))
                yield batches[place], sizes[place], held_out

    def rehearse(self, rows: Rows, *, held_out: bool) -> None:
        """One forward pass, and unless held out one backward, on these rows; nothing is kept but the memory it took."""
        batch = self._objective.lay_out(rows, held_out=held_out)
        self._engine.train(not held_out)
        with torch.no_grad() if held_out else nullcontext():
            loss, _ = self._engine.cost(batch)
        if not held_out:
            self._engine.rehearse(loss / max(1, batch.units))

    def remember(self, progress: Progress) -> Progress:
        """With what else has a state between steps: the loss scaling of float16, a learning rate that follows the evaluation loss, the random
        numbers of the other processes."""
        scaler = self._engine.scaler
        scaling = {} if scaler is None else {"scaler": scaler.state_dict()}
        return replace(progress, random=RandomState.of_all(self.processes.gather(progress.random.tensors)),
                       memories={**progress.memories, **scaling, "rate": self.rate.state()})

    def state(self) -> State:
        """What a checkpoint holds of the model and the optimizer; whole on the first process."""
        return self._engine.state()

    def load(self, folder: Path) -> Progress:
        """Put a checkpoint into place; returns how far it was."""
        progress, optimizer = load_checkpoint(folder)
        self.load_weights(folder)
        self._engine.put_optimizer(optimizer)
        return self._restore(progress)

    def load_weights(self, folder: Path) -> None:
        """Put the weights of a checkpoint into place."""
        self._engine.put_weights(folder)

    def _restore(self, progress: Progress) -> Progress:
        """Take back what `remember` gave."""
        if (scaler := self._engine.scaler) is not None and "scaler" in progress.memories:
            scaler.load_state_dict(progress.memories["scaler"])
        self.rate.restore(progress.memories.get("rate", {}))
        wake(self.optimizer)
        return replace(progress, random=progress.random.of(self.processes.rank))
