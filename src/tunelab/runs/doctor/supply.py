"""What the steps are fed with, and how fast: supervised tokens and tokens per second (TD4xx)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tunelab.config.finding import Severity
from tunelab.runs.doctor.ailment import Case, Diagnosis, Watcher, Window, ailment
from tunelab.runs.events import StepRecord

FEW_TOKENS = ailment(
    "TD401", Severity.WARNING, "Very few supervised tokens per step",
    looks_for="fewer than 16 supervised tokens per step, on average over the first 20 steps",
    why="The gradient of a step is a mean over its supervised tokens; over so few of them it is mostly noise, and the loss curve with it.",
    advice="More rows per step.")
NO_TOKENS = ailment(
    "TD402", Severity.WARNING, "A step with nothing to learn from",
    looks_for="a step without a supervised token",
    why="All of its labels are masked, so its gradient is 0 and, with AdamW, old momentum moves the weights anyway.",
    advice="Look at the rows with `tunelab preview CONFIG --worst`; sample_packing puts several rows into a step.")
MOSTLY_CONTEXT = ailment(
    "TD403", Severity.NOTE, "Nearly all computing goes into tokens without loss",
    looks_for="under 2 % supervised tokens over the first 20 steps",
    why="Prompts (or padding) fill the rows; the answers are a sliver of them.",
    advice="Shorter prompts, train_on_inputs for texts that are worth learning, or no padding.")
SLOWED_DOWN = ailment(
    "TD404", Severity.WARNING, "Training has become much slower",
    looks_for="ten steps at under a third of the best tokens per second of ten steps, once that has cost a minute",
    why="The machine is swapping, hot, or busy with something else; the steps themselves have not changed.",
    advice="Look at the machine (memory, swap, other processes). If it swaps, lower micro_batch_size or sequence_len.")


class Supply(Watcher):
    """TD401, TD402, TD403. A single answer of a sentence has 16 tokens."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._tokens = self._supervised = self._steps = 0
        self._empty = False

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        if not step.supervised and not self._empty:
            self._empty = True
            yield NO_TOKENS.found(f"step {step.step}: {step.tokens} tokens, none supervised", step=step.step)
        if self._steps == 20:
            return
        self._steps, self._tokens, self._supervised = self._steps + 1, self._tokens + step.tokens, self._supervised + step.supervised
        if self._steps == 20:
            yield from self._judged()

    def end(self) -> Iterator[Diagnosis]:
        if 3 <= self._steps < 20:
            yield from self._judged()

    def _judged(self) -> Iterator[Diagnosis]:
        each, seen = self._supervised / self._steps, f"{self._supervised} supervised of {self._tokens} tokens over {self._steps} steps"
        if each < 16:
            factor = min(16, math.ceil(64 / max(each, 1)))
            yield FEW_TOKENS.found(f"{seen}, {each:.3g} a step", step=self._steps, edit=f"gradient_accumulation_steps: {factor * self.case.accumulation}")
        if self._supervised < 0.02 * self._tokens:
            yield MOSTLY_CONTEXT.found(f"{seen} ({self._supervised / self._tokens:.1%})", step=self._steps)


class Speed(Watcher):
    """TD404. A third: rows of differing length without packing make factors of two; a minute, because less is not worth reading about."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._rate = Window(10)
        self._best, self._lost, self._since, self._said = 0.0, 0.0, 0, False

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        if step.seconds <= 0 or step.step < 3:  # the first steps allocate and compile
            return
        self._rate.add(step.tokens / step.seconds)
        if not self._rate.full:
            return
        rate = self._rate.mean
        self._best = max(self._best, rate)
        if rate > self._best / 3:
            self._lost, self._since = 0.0, 0
            return
        self._since = self._since or step.step
        self._lost += step.seconds - step.tokens / self._best
        if self._lost >= 60 and not self._said:
            self._said = True
            yield SLOWED_DOWN.found(f"{rate:,.0f} tokens per second over the last ten steps, {self._best:,.0f} at best; since about step "
                                    f"{self._since} it has cost {self._lost:.0f} s", step=self._since)
