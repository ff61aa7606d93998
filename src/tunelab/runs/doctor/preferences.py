"""Preference training that does not prefer (TD6xx). It reads the measures that such a step has: reward accuracy, chosen and rejected rewards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tunelab.config.finding import Severity
from tunelab.runs.doctor.ailment import Case, Diagnosis, Watcher, Window, ailment
from tunelab.runs.events import StepRecord

COIN_TOSS = ailment(
    "TD601", Severity.WARNING, "The preferred answers are not told apart",
    looks_for="a mean reward accuracy between 0.45 and 0.55 over 20 steps, 50 steps after warm-up or at the end",
    why="The model ranks the chosen answer above the rejected one as often as a coin does: the pairs differ in nothing that it can learn, or the "
        "updates are too small.",
    advice="Look at some pairs with `tunelab preview`; then a higher learning rate or beta lower by half.")
BOTH_FALL = ailment(
    "TD602", Severity.WARNING, "Chosen and rejected answers both become less likely",
    looks_for="mean rewards of both below -1 over 20 steps, and falling since the 20 steps before",
    why="The margin grows because rejected answers fall faster, while the answers that should be learnt fall too; what gains is text that is in no "
        "pair (often: degenerate output).",
    advice="Lower the learning rate, raise beta, or add a supervised term on the chosen answers.")


class CoinToss(Watcher):
    """TD601. 20 steps of 8 pairs have a standard error of 0.04 around 0.5."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._accuracy = Window(20)
        self._judge_at, self._steps = case.warmup + 50, 0

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        found = measure(step.measures, "accurac")
        if found is not None:
            self._accuracy.add(found)
            self._steps = step.step
            if step.step == self._judge_at:
                yield from self._judged()

    def end(self) -> Iterator[Diagnosis]:
        yield from self._judged()

    def _judged(self) -> Iterator[Diagnosis]:
        if self._accuracy.full and 0.45 <= self._accuracy.mean <= 0.55:
            rate = self.case.learning_rate
            yield COIN_TOSS.found(f"accuracy {self._accuracy.mean:.3g} over steps {self._steps - 19} to {self._steps}", step=self._steps,
                                  edit=f"learning_rate: {5 * rate:.3g}" if rate else "")


class BothFall(Watcher):
    """TD602. A reward of -1 at beta 0.1 is ten nats less likely than under the reference."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._chosen, self._rejected = Window(20), Window(20)
        self._before, self._said = 0.0, False

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        chosen, rejected = measure(step.measures, "rewards/chosen"), measure(step.measures, "rewards/rejected")
        if chosen is None or rejected is None or self._said:
            return
        self._chosen.add(chosen)
        self._rejected.add(rejected)
        if step.step % 20 or not self._chosen.full:
            return
        if max(self._chosen.mean, self._rejected.mean) < -1 and self._chosen.mean < self._before:
            self._said = True
            yield BOTH_FALL.found(f"rewards of chosen answers {self._chosen.mean:.3g} and of rejected ones {self._rejected.mean:.3g} over steps "
                                  f"{step.step - 19} to {step.step}", step=step.step, edit=f"learning_rate: {self.case.learning_rate / 2:.3g}")
        self._before = self._chosen.mean


def measure(measures: Mapping[str, float], part: str) -> float | None:
    """The measure whose name holds this, or None."""
    return next((value for name, value in measures.items() if part in name), None)
