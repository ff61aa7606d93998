"""Learning the rows by heart, and rows from which nothing can be learnt or judged (TD3xx)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tunelab.config.finding import Severity
from tunelab.runs.doctor.ailment import Case, Diagnosis, Evaluation, Watcher, Window, ailment
from tunelab.runs.events import StepRecord

OVERFITTING = ailment(
    "TD301", Severity.WARNING, "Overfitting: the held-out loss rises while the training loss falls",
    looks_for="two evaluations in a row that lie above the best one by 2 % and by 0.01 nats, with a lower training loss than at the best one",
    why="From there on the model learns these rows by heart and gets worse on others. Evaluation has no sampling noise, so 2 % twice is a turn.",
    advice="Use the checkpoint of the best evaluation, and train for fewer epochs, with a lower learning rate or more rows.")
GAP = ailment(
    "TD302", Severity.WARNING, "The training loss is far under the held-out loss",
    looks_for="ten training losses whose mean is under half of the held-out loss and 0.5 nats under it",
    why="What lowers the training loss does not carry over to other rows: the rows are known by heart, or the held-out rows are of another kind.",
    advice="Fewer epochs, a smaller adapter or more varied rows; look at both kinds with `tunelab preview`.")
UNJUDGED = ailment(
    "TD303", Severity.WARNING, "A loss near 0, and no held-out rows to judge it by",
    looks_for="a mean of ten training losses under 0.05 nats, from above 0.3, in a run without evaluation",
    why="Without rows that are not trained on, learning the task and knowing the rows by heart look the same.",
    advice="Hold some rows out and evaluate on them.")
NOTHING_TO_LEARN = ailment(
    "TD304", Severity.WARNING, "The loss is near 0 from the start",
    looks_for="a mean of the first five losses under 0.1 nats, over at least 16 supervised tokens a step",
    why="The base model knows the answers already: they stand in the prompt (a leak), most supervised tokens are the same in all rows, or it was "
        "trained on these rows before.",
    advice="Look at what is trained on with `tunelab preview CONFIG --worst`.")


class Overfitting(Watcher):
    """TD301."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._recent = Window(10)
        self._epoch, self._best_epoch, self._train_at_best = 0.0, 0.0, math.nan
        self._best = Evaluation(0, math.inf)
        self._latest, self._risen, self._said = self._best, 0, False
        self._saved = self._saved_before_best = 0

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        self._recent.add(step.loss)
        self._epoch = step.epoch
        yield from ()

    def saved(self, step: int) -> None:
        self._saved = step
        if abs(step - self._best.step) < abs(self._saved_before_best - self._best.step):
            self._saved_before_best = step

    def evaluation(self, evaluation: Evaluation) -> Iterator[Diagnosis]:
        self._latest = evaluation
        if evaluation.loss < self._best.loss:
            self._best, self._best_epoch, self._train_at_best, self._risen = evaluation, self._epoch, self._recent.mean, 0
            self._saved_before_best = self._saved
        elif evaluation.loss > max(1.02 * self._best.loss, self._best.loss + 0.01) and self._recent.mean < self._train_at_best:
            self._risen += 1
            if self._risen == 2 and not self._said:
                self._said = True
                yield self._found()
        else:
            self._risen = 0

    def end(self) -> Iterator[Diagnosis]:
        if self._said and self._risen >= 2:
            yield self._found()

    def _found(self) -> Diagnosis:
        near = self._saved_before_best
        kept = f" The checkpoint nearest to it is checkpoint-{near}." if near else " No checkpoint was saved near it."
        epochs = f"num_epochs: {max(0.1, round(self._best_epoch, 1)):g}" if self._best_epoch else ""
        return OVERFITTING.found(
            f"held-out loss {self._best.loss:.4g} after step {self._best.step} (epoch {self._best_epoch:.2g}), the best, and "
            f"{self._latest.loss:.4g} after step {self._latest.step}; training loss {self._train_at_best:.4g} and {self._recent.mean:.4g}",
            step=self._best.step, edit=epochs, advice=OVERFITTING.advice + kept)


class Gap(Watcher):
    """TD302. Half and 0.5 nats: dropout and a few epochs make gaps of a tenth or two."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._recent = Window(10)
        self._epoch, self._rows, self._last = 0.0, "", ""

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        self._recent.add(step.loss)
        self._epoch = step.epoch
        yield from ()

    def evaluation(self, evaluation: Evaluation) -> Iterator[Diagnosis]:
        train = self._recent.mean
        if self._recent.full and train < 0.5 * evaluation.loss and train < evaluation.loss - 0.5:
            first = self._epoch < 1
            yield GAP.found(
                f"training loss {train:.4g} over ten steps, held-out loss {evaluation.loss:.4g}, after step {evaluation.step} (epoch {self._epoch:.2g})",
                step=evaluation.step, edit="" if first else f"num_epochs: {max(1, math.floor(self._epoch / 2))}\nlora_dropout: 0.1"
                if self.case.adapter else f"num_epochs: {max(1, math.floor(self._epoch / 2))}",
                why="No row was seen twice yet, so it is not memory: the held-out rows are of another kind, or many training rows are near copies of "
                    "each other." if first else "")


class Unjudged(Watcher):
    """TD303. 0.05 nats is a probability of 95 % for every token."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._start, self._recent = Window(5), Window(10)
        self._evaluated = self._said = False

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        if not self._start.full:
            self._start.add(step.loss)
        self._recent.add(step.loss)
        if not self._said and self.case.planned_evaluations == 0 and self._low:
            self._said = True
            yield self._found(step.step)

    def evaluation(self, evaluation: Evaluation) -> Iterator[Diagnosis]:
        self._evaluated = True
        yield from ()

    def end(self) -> Iterator[Diagnosis]:
        if not self._evaluated and not self._said and self._low:
            yield self._found(None)

    @property
    def _low(self) -> bool:
        return self._recent.full and self._recent.mean < 0.05 and self._start.mean > 0.3

    def _found(self, step: int | None) -> Diagnosis:
        return UNJUDGED.found(f"training loss {self._start.mean:.4g} at the start and {self._recent.mean:.3g} over ten steps"
                              + (f" up to step {step}" if step else ""), step=step, edit="val_set_size: 0.1\nevals_per_epoch: 2")


class NothingToLearn(Watcher):
    """TD304. A chat model starts at 1 to 3 nats on chats it has not seen, random weights at the logarithm of the vocabulary."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._start, self._supervised = Window(5), 0

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        if self._start.full:
            return
        self._start.add(step.loss)
        self._supervised += step.supervised
        if self._start.full and self._start.mean < 0.1 and self._supervised >= 5 * 16:
            yield NOTHING_TO_LEARN.found(f"loss {self._start.mean:.3g} over the first five steps, {self._supervised} supervised tokens", step=step.step)
