"""`Rate`: the learning rate of a run as it goes. Most schedules are known beforehand; two of them follow the evaluation loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tunelab.planning.schedules import FOLLOWING, Course


@dataclass
class _Seen:
    """What a following schedule remembers of the evaluations so far. `moved`: its present share of the peak rate. Plain JSON."""

    moved: float = 1.0
    best: float | None = None
    bad: int = 0
    good: int = 0
    resting: int = 0
    rising: int = 0
    at_floor: int = 0
    recent: list[float] = field(default_factory=list)
    total: float = 0.0


class Rate:
    """The course of a run, moved by evaluations where the schedule is one that follows them.

    reduce_lr_on_plateau is torch's ReduceLROnPlateau; greedy is transformers' GreedyLR (arXiv:2512.14527). Both are told the loss of each
    evaluation. `state` and `restore` carry them over a checkpoint.
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._seen = _Seen()

    def share(self, step: int) -> float:
        """The share of the peak rate for the update after `step` done updates."""
        return self._course.share(step) * self._seen.moved

    def at(self, step: int) -> float:
        """That learning rate."""
        return self._course.rate * self.share(step)

    def momentum(self, step: int) -> float | None:
        """The optimizer's momentum at that update where the schedule moves it too (one_cycle)."""
        return self._course.momentum(step)

    def observe(self, loss: float) -> None:
        """Be told the loss of an evaluation."""
        if self._course.name == "reduce_lr_on_plateau":
            self._plateau(loss)
        elif self._course.name == "greedy":
            self._greedy(loss)

    def state(self) -> dict[str, Any]:
        """What is remembered, as JSON; empty for a schedule that is known beforehand."""
        return asdict(self._seen) if self._course.name in FOLLOWING else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        known = {one.name for one in fields(_Seen)}
        self._seen = _Seen(**{name: value for name, value in state.items() if name in known})

    def _plateau(self, loss: float) -> None:
        seen = self._seen
        if self._is_better(loss, threshold=1e-4, mode="rel"):
            seen.best, seen.bad = loss, 0
        else:
            seen.bad += 1
        if seen.resting > 0:
            seen.resting, seen.bad = seen.resting - 1, 0
        if seen.bad > self._course.option("patience", 10):
            self._lower(factor=0.1, floor=0.0)
            seen.resting, seen.bad = self._course.option("cooldown", 0), 0

    def _greedy(self, loss: float) -> None:
        seen, option = self._seen, self._course.option
        loss = self._smoothed(loss) if option("smooth", False) else loss
        if seen.resting > 0:
            seen.resting, seen.bad, seen.good = seen.resting - 1, 0, 0
            return
        if seen.rising > 0:
            seen.rising, seen.bad, seen.good = seen.rising - 1, 0, 0
            return
        if self._is_better(loss, threshold=1e-6, mode="abs"):
            seen.best, seen.bad, seen.good = loss, 0, seen.good + 1
        else:
            seen.bad, seen.good = seen.bad + 1, 0
        if seen.good > option("patience", 10):
            self._raise_rate()
            seen.rising, seen.good, seen.at_floor = option("warmup", 0), 0, 0
        elif seen.bad > option("patience", 10):
            self._lower(factor=0.95, floor=1e-3)
            seen.resting, seen.bad = option("cooldown", 0), 0
            self._start_over_at_floor()

    def _is_better(self, loss: float, *, threshold: float, mode: str) -> bool:
        """Lower by more than the threshold (higher with mode: max), which is a share of the best or a difference to it."""
        best = self._seen.best
        if best is None:
            return True
        option = self._course.option
        threshold, sign = option("threshold", threshold), 1 if option("mode", "min") == "max" else -1
        needed = best * (1 + sign * threshold) if option("threshold_mode", mode) == "rel" else best + sign * threshold
        return bool(loss > needed if sign > 0 else loss < needed)

    def _lower(self, *, factor: float, floor: float) -> None:
        rate = self._course.rate * self._seen.moved
        lower = max(rate * self._course.option("factor", factor), self._course.option("min_lr", floor))
        if rate - lower > self._course.option("eps", 1e-8):
            self._seen.moved = lower / self._course.rate

    def _raise_rate(self) -> None:
        rate = self._course.rate * self._seen.moved
        higher = min(rate / self._course.option("factor", 0.95), self._course.option("max_lr", 1.0))
        if higher - rate > self._course.option("eps", 1e-8):
            self._seen.moved = higher / self._course.rate

    def _start_over_at_floor(self) -> None:
        """greedy, held at its floor for `reset_start` turns, forgets everything."""
        if self._course.rate * self._seen.moved > self._course.option("min_lr", 1e-3):
            return
        self._seen.at_floor += 1
        if self._seen.at_floor >= self._course.option("reset_start", 500):
            self._seen = _Seen()

    def _smoothed(self, loss: float) -> float:
        """The mean of the last `window_size` losses."""
        seen = self._seen
        seen.recent.append(loss)
        seen.total += loss
        if len(seen.recent) > self._course.option("window_size", 50):
            seen.total -= seen.recent.pop(0)
        return seen.total / len(seen.recent)
