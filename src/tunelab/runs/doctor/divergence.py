"""Training that falls apart: losses that are no numbers, that explode, jump, or lose again what was learnt (TD1xx)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tunelab.config.finding import Severity
from tunelab.runs.doctor.ailment import Average, Case, Diagnosis, Watcher, Window, ailment, figures
from tunelab.runs.events import StepRecord

FP16_RETRIES = 20
"""So many gradients in a row may overflow with fp16: its loss scale starts at 2**16 and halves each time until they fit (PyTorch's GradScaler)."""

NOT_A_NUMBER = ailment(
    "TD101", Severity.ERROR, "The loss is not a number", looks_for="a loss of NaN or infinity, at once",
    why="A step so large that it left the range of the numbers, or weights or data that held no numbers to begin with. Every later step would "
        "only spread it, so the run stops.",
    advice="Start again with a much lower learning rate; the checkpoints before that step are sound.")
GRADIENT_NOT_A_NUMBER = ailment(
    "TD102", Severity.ERROR, "The gradient is not a number",
    looks_for=f"a gradient norm of NaN or infinity beside a finite loss; with fp16, {FP16_RETRIES} in a row (a few are how its loss scale settles)",
    why="The weights that this gradient is applied to are lost with it: the next loss will not be a number either.",
    advice="Start again with a much lower learning rate, or with bfloat16 in place of fp16.")
EXPLODED = ailment(
    "TD103", Severity.ERROR, "The loss explodes",
    looks_for="the mean of the last 10 losses above 1.5 times the start plus 1 nat, by five standard errors; or one loss above three times the start "
              "and above 15 nats, which is worse than guessing among 3 million tokens. The start is the mean of the first five losses, or of "
              "the first two where the others are far above them already",
    why="Steps overshoot: each makes the model worse than it was before training. Waiting does not mend it.",
    advice="Stop, and start again with a much lower learning rate and a longer warm-up.")
LOST_AGAIN = ailment(
    "TD104", Severity.ERROR, "What was learnt is lost again",
    looks_for="the mean of the last 10 losses has lost nine tenths of the way that it had come down from the first ten, where that way was a fifth of "
              "them and eight standard errors",
    why="The learning rate was bearable at first and is too high for where the weights are now; usually one bad step that was not survived.",
    advice="Go back to a checkpoint from before that, or start again with a lower learning rate.")
SPIKED = ailment(
    "TD105", Severity.WARNING, "Loss spikes",
    looks_for="three losses in a row that lie above the running mean by six times the usual deviation and by a third of it",
    why="One batch threw the weights off course for several steps; a single high loss is only a hard row. Spikes that recover cost time; more of "
        "them say that the learning rate is at the edge of what holds.",
    advice="Half of the learning rate, or tighter clipping.")
GROWING_GRADIENT = ailment(
    "TD106", Severity.WARNING, "The gradient norm keeps growing",
    looks_for="a running gradient norm above ten times that of steps 6 to 25, and above 1, for 20 steps, while the loss does not fall",
    why="Growing gradients at a loss that does not fall are how divergence begins.",
    advice="Half of the learning rate, and clipping if it is off.")


def calmer(case: Case, factor: float) -> str:
    """YAML with the learning rate divided, and clipping where it is off."""
    lines = [f"learning_rate: {figures(case.lower_rate(factor))}"] if case.learning_rate else []
    return "\n".join([*lines, *(["max_grad_norm: 1.0"] if math.isinf(case.clip_at) else [])])


class NotANumber(Watcher):
    """TD101, TD102. No thresholds but NaN and infinity."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._before: StepRecord | None = None
        self._overflows = 0
        self._trained = False  # whether an update with a learning rate above 0 was made

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        if not math.isfinite(step.loss):
            yield self._loss(step)
        elif not math.isfinite(step.grad_norm):
            self._overflows += 1
            if self.case.precision != "fp16" or self._overflows == FP16_RETRIES:
                yield GRADIENT_NOT_A_NUMBER.found(f"gradient norm {step.grad_norm} at step {step.step}, where the loss is {step.loss:.4g} and the "
                                                  f"learning rate {figures(step.lr)}", step=step.step, edit=self._edit())
        else:
            self._overflows = 0
        self._before = step
        self._trained = self._trained or step.lr > 0

    def _loss(self, step: StepRecord) -> Diagnosis:
        before = self._before
        if before is None or not self._trained:
            return NOT_A_NUMBER.found(
                f"loss {step.loss} at step {step.step}, before any weight had changed", step=step.step,
                edit="bf16: auto\nfp16: false" if self.case.precision == "fp16" else "",
                why="No learning rate did this: the base weights hold NaN or infinity, or fp16 is too narrow for this model's activations.",
                advice="Get the base model again and compare its checksums, or give another base_model.")
        return NOT_A_NUMBER.found(
            f"loss {step.loss} at step {step.step}; one step before it was {before.loss:.4g} with gradient norm {before.grad_norm:.3g} and learning "
            f"rate {figures(before.lr)}", step=step.step, edit=self._edit())

    def _edit(self) -> str:
        return calmer(self.case, 10) if self.case.precision != "fp16" else f"bf16: auto\nfp16: false\n{calmer(self.case, 10)}"


class Exploding(Watcher):
    """TD103, TD104. A start of 2 (a chat model on chats) may reach 4 and one of 10.8 (random weights) 17.2 before it counts; five standard errors
    keep small, noisy batches from being taken for divergence. The first two losses, because the third may be an explosion already."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._first, self._start, self._ten, self._recent = Window(2), Window(5), Window(10), Window(10)
        self._best, self._best_step, self._error = math.inf, 0, 0.0

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        for window in (self._first, self._start, self._ten):
            if not window.full:
                window.add(step.loss)
        self._recent.add(step.loss)
        start = self._start.mean if self._start.mean <= 2 * self._first.mean else self._first.mean
        recent, error = self._recent.mean, self._recent.error
        if self._first.full and step.loss > max(3 * start, 15.0):
            yield self._exploded(step, f"loss {step.loss:.4g} at step {step.step}, {start:.4g} at the start")
        if not self._recent.full or step.step < 12:
            return
        if recent > 1.5 * start + 1 and recent > start + 5 * error:
            yield self._exploded(step, f"loss {recent:.4g} over steps {step.step - 9} to {step.step}, {start:.4g} at the start")
        begin, way = self._ten.mean, self._ten.mean - self._best
        if recent < self._best:
            self._best, self._best_step, self._error = recent, step.step, error
        elif way > 0.2 * begin and way > 8 * max(self._error, error) and recent > begin - 0.1 * way:
            yield LOST_AGAIN.found(f"loss {begin:.4g} at the start, {self._best:.4g} around step {self._best_step}, and {recent:.4g} again over steps "
                                   f"{step.step - 9} to {step.step}", step=step.step, edit=calmer(self.case, 5))

    def _exploded(self, step: StepRecord, seen: str) -> Diagnosis:
        warm = f"\nwarmup_steps: {max(10, self.case.total // 20)}" if self.case.warmup < 5 and self.case.total > 20 else ""
        return EXPLODED.found(seen, step=step.step, edit=calmer(self.case, 10) + warm)


class Spikes(Watcher):
    """TD105. Six mean deviations are exceeded by 1 in 400 draws of an exponential distribution, three times in a row by 1 in 10 million."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._usual = Average(0.05)
        self._high: list[float] = []  # losses of the spike that is going on: three are kept
        self._since, self._spikes, self._worst = 0, 0, 0.0
        self._first = self._last = 0

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        usual = self._usual
        edge = usual.mean + max(6 * usual.spread, usual.mean / 3, 0.1)
        if usual.count < 20 or not step.loss > edge:
            if len(self._high) == 3:
                yield self._found(step.step, "it recovered")
            elif self._high:
                usual.add(self._high[0])  # a hard row or two: part of what is usual here
            self._high.clear()
            usual.add(step.loss)
            return
        if not self._high:
            self._since = step.step
        if len(self._high) < 3:
            self._high.append(step.loss)
            if len(self._high) == 3:
                self._spikes += 1
                self._first = self._first or self._since
        self._last, self._worst = self._since, max(self._worst, step.loss)
        if step.step - self._since == 50:
            yield self._found(step.step, "50 steps later it has not recovered")

    def end(self) -> Iterator[Diagnosis]:
        if self._spikes > 1:
            yield SPIKED.found(f"{self._spikes} spikes between steps {self._first} and {self._last}, up to a loss of {self._worst:.4g}",
                               step=self._first, edit=calmer(self.case, 2))

    def _found(self, step: int, how: str) -> Diagnosis:
        return SPIKED.found(f"from {self._usual.mean:.4g} up to {self._worst:.4g}, from step {self._since} on; {how} (step {step})", step=self._since,
                            edit=calmer(self.case, 2))


class GrowingGradient(Watcher):
    """TD106. Norms rise two- to fivefold while an adapter's second matrix leaves zero (steps 1 to 5 here); tenfold later on is something else."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._norm, self._loss = Average(0.1), Average(0.1)
        self._base, self._base_loss, self._for = math.nan, math.nan, 0

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        if step.step <= 5:
            return
        self._norm.add(step.grad_norm)
        self._loss.add(step.loss)
        if self._norm.count == 20:
            self._base, self._base_loss = self._norm.mean, self._loss.mean
        grown = self._norm.mean > max(10 * self._base, 1.0) and self._loss.mean > 0.9 * self._base_loss
        self._for = self._for + 1 if grown else 0
        if self._for == 20:
            yield GROWING_GRADIENT.found(f"gradient norm {self._norm.mean:.3g} around step {step.step}, {self._base:.3g} over steps 6 to 25; the loss is "
                                         f"{self._loss.mean:.4g} and was {self._base_loss:.4g}", step=step.step, edit=calmer(self.case, 2))
