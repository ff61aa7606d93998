"""Training without effect: nothing moves, the learning rate never rises, or it does not come down (TD2xx)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tunelab.config.finding import Severity
from tunelab.runs.doctor.ailment import MOST_RATE, Case, Diagnosis, Evaluation, Watcher, Window, ailment, figures
from tunelab.runs.events import StepRecord

FLAT = ailment(
    "TD201", Severity.WARNING, "The loss stays where it began",
    looks_for="the held-out loss unchanged to 0.1 % over five steps or more while the training loss has not fallen by 2 %; or, 50 steps after warm-up, "
              "the training loss within 0.5 % of its first ten steps, where its noise is small enough to tell",
    why="The weights hardly move, or what moves has no effect on the output.",
    advice="Ten times the learning rate; if that changes nothing, look at what is trained (`tunelab plan`: trainable parameters).")
NO_RATE = ailment(
    "TD202", Severity.ERROR, "The learning rate is 0, or next to it",
    looks_for="a learning rate of 0 at every step until two after warm-up (an error); at most 1e-8, or at the end less than half of what the config "
              "asks for (a warning)",
    why="The size of every update is proportional to it. Adam moves a weight by at most about the learning rate per step, and weights are around "
        "0.02, so 1e-8 over thousands of steps is no change.",
    advice="Set learning_rate, and a warm-up that ends well before the run does.")
NO_GRADIENT = ailment(
    "TD203", Severity.ERROR, "The gradient norm is 0",
    looks_for="a gradient norm below 1e-10 at three steps in a row that had supervised tokens (or at all of them, where there were fewer)",
    why="What is trained has no influence on the loss: an adapter that sits nowhere or is scaled to nothing, or frozen weights.",
    advice="Put the adapter on layers that the model uses, with lora_alpha of the size of lora_r.")
ALWAYS_CLIPPED = ailment(
    "TD204", Severity.WARNING, "The gradient is cut down at every step",
    looks_for="50 steps in a row whose gradient norm is more than ten times max_grad_norm",
    why="Clipping is for the odd bad batch. When it acts every time, only the direction of the gradient is used, and a bad batch counts as much as a "
        "good one. A norm a few times over the limit is common and harmless.",
    advice="Let one step average over more tokens, or raise max_grad_norm to about the usual norm.")
LATE_RATE = ailment(
    "TD205", Severity.NOTE, "The learning rate had not come down at the end",
    looks_for="a schedule that ends near 0, and a last learning rate above a fifth of the highest one after ten steps or more",
    why="The last steps with small rates are what settles the weights; a run cut off before them ends noisier than it needs to.",
    advice="Let max_steps or num_epochs be the true length of the run, so that the schedule is laid over it.")

_DECAYING = ("cosine", "linear", "polynomial")


class Flat(Watcher):
    """TD201. Evaluation has no noise (same rows, no dropout), so 0.1 % is no change; training loss needs its standard error beside it."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._start, self._recent = Window(10), Window(10)
        self._first: Evaluation | None = None
        self._judge_at = case.warmup + 50
        self._moved = False  # an update with a learning rate above 0 was made before the first evaluation

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        if not self._start.full:
            self._start.add(step.loss)
        self._recent.add(step.loss)
        self._moved = self._moved or step.lr > 0
        if step.step == self._judge_at:
            yield from self._judged(step.step)

    def evaluation(self, evaluation: Evaluation) -> Iterator[Diagnosis]:
        if self._first is None:
            self._first = evaluation if self._moved and evaluation.step >= self.case.warmup else None
            return
        first = self._first
        change = abs(evaluation.loss - first.loss) / max(first.loss, 1e-9)
        fallen = self._recent.mean < 0.98 * self._start.mean
        if evaluation.step - first.step >= 5 and change <= 0.001 and not fallen:
            yield self._found(f"held-out loss {first.loss:.5g} after step {first.step} and {evaluation.loss:.5g} after step {evaluation.step}",
                              evaluation.step)

    def end(self) -> Iterator[Diagnosis]:
        if self.case.total > self._judge_at:
            yield from self._judged(self.case.total)

    def _judged(self, step: int) -> Iterator[Diagnosis]:
        start, recent = self._start.mean, self._recent.mean
        noise = math.hypot(self._start.error, self._recent.error)
        if abs(recent - start) <= 0.005 * start and noise <= 0.0025 * start:
            yield self._found(f"training loss {start:.5g} over the first ten steps and {recent:.5g} over steps {step - 9} to {step}", step)

    def _found(self, seen: str, step: int) -> Diagnosis:
        rate, usual = self.case.learning_rate, self.case.usual_rate
        if rate <= MOST_RATE:
            higher = min(max(10 * rate, usual), MOST_RATE)
            return FLAT.found(f"{seen}; learning rate {figures(rate)}", step=step, edit=f"learning_rate: {figures(higher)}" if higher > rate else "")
        return FLAT.found(f"{seen}; learning rate {figures(rate)}", step=step, edit=f"learning_rate: {figures(usual)}",
                          why="The learning rate is so high that the first steps threw the weights to where all answers are equally bad.",
                          advice="Begin with a usual learning rate.")


class NoRate(Watcher):
    """TD202."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._highest, self._steps = 0.0, 0
        last = case.total or 10
        self._judge_at = min(last, max(10, case.warmup + 2))

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        self._highest, self._steps = max(self._highest, step.lr), step.step
        if step.step == self._judge_at and self._highest <= 1e-8:
            severity = Severity.ERROR if self._highest == 0 else Severity.WARNING
            yield NO_RATE.found(f"learning rate {figures(self._highest)} at most over steps 1 to {step.step}", step=step.step, severity=severity,
                                edit=f"learning_rate: {figures(self.case.usual_rate)}")

    def end(self) -> Iterator[Diagnosis]:
        asked = self.case.learning_rate
        if 1e-8 < self._highest < 0.5 * asked and self._steps >= 5:
            yield NO_RATE.found(f"the highest learning rate of {self._steps} steps was {figures(self._highest)}, and learning_rate is "
                                f"{figures(asked)}: warm-up takes {self.case.warmup} steps", severity=Severity.WARNING,
                                edit=f"warmup_steps: {max(1, self._steps // 20)}")


class NoGradient(Watcher):
    """TD203. A true gradient of a float32 model is never under 1e-10 while its loss is above 0.001; zero loss is TD304's business."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._zero = self._steps = 0

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        if not step.supervised:
            return
        self._steps += 1
        self._zero = self._zero + 1 if step.grad_norm < 1e-10 and step.loss > 1e-3 else 0
        if self._zero == 3:
            yield self._found(step.step)

    def end(self) -> Iterator[Diagnosis]:
        if 0 < self._zero == self._steps < 3:
            yield self._found(self._steps)

    def _found(self, step: int) -> Diagnosis:
        edit = f"lora_target_linear: true\nlora_alpha: {2 * (self.case.lora_r or 16)}" if self.case.adapter else ""
        advice = "" if edit else "Look at what is frozen: unfrozen_parameters must name parameters that the model has."
        return NO_GRADIENT.found(f"gradient norm below 1e-10 at {self._zero} steps in a row, up to step {step}", step=step, edit=edit, advice=advice)


class AlwaysClipped(Watcher):
    """TD204. Adam's update does not depend on the gradient's scale, so only a norm far over the limit is worth a word."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._cut, self._sum = 0, 0.0

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        cut = step.grad_norm > 10 * self.case.clip_at
        self._cut, self._sum = (self._cut + 1, self._sum + step.grad_norm) if cut else (0, 0.0)
        if self._cut == 50:
            yield ALWAYS_CLIPPED.found(f"gradient norm {self._sum / 50:.3g} on average over steps {step.step - 49} to {step.step}, max_grad_norm "
                                       f"{figures(self.case.clip_at)}", step=step.step,
                                       edit=f"gradient_accumulation_steps: {4 * self.case.accumulation}\nmax_grad_norm: {figures(self._sum / 50)}")


class LateRate(Watcher):
    """TD205. Decaying schedules end below a tenth of their peak; a fifth leaves room for a run that stopped a little early."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._highest = self._last = 0.0
        self._steps = 0

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        self._highest, self._last, self._steps = max(self._highest, step.lr), step.lr, step.step
        yield from ()

    def end(self) -> Iterator[Diagnosis]:
        if self.case.scheduler in _DECAYING and self._steps >= 10 and self._last > 0.2 * self._highest:
            yield LATE_RATE.found(f"learning rate {figures(self._last)} at step {self._steps}, {figures(self._highest)} at its highest", step=self._steps,
                                  edit=f"warmup_steps: {max(1, self._steps // 20)}" if self.case.warmup >= self._steps else f"max_steps: {self._steps}")
