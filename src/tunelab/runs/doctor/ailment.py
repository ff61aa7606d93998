"""What an ailment and a diagnosis are, the table of all ailments, and what a watcher is told of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunelab.config.finding import Severity
from tunelab.runs.events import StepRecord


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """An ailment found in a run. `seen` are the numbers and steps that show it; `edit` is YAML to paste into the config, "" where no setting
    mends it; `advice` is what to do in words; `step` is where it showed, None for the run as a whole."""

    code: str
    severity: Severity
    title: str
    seen: str
    why: str
    edit: str = ""
    advice: str = ""
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Ailment:
    """One thing that goes wrong with runs. `looks_for` is the threshold in words, `why` what it means, `advice` what to do about it."""

    code: str
    severity: Severity
    title: str
    looks_for: str
    why: str
    advice: str

    def found(self, seen: str, *, step: int | None = None, edit: str = "", why: str = "", advice: str = "",
              severity: Severity | None = None) -> Diagnosis:
        """A diagnosis of it; `why` and `advice` where this case is more special than the ailment."""
        return Diagnosis(self.code, severity or self.severity, self.title, seen, why or self.why, edit, advice or self.advice, step)


MOST_RATE = 0.01
"""No learning rate above it is suggested; very small models with adapters are trained with up to about that."""

AILMENTS: dict[str, Ailment] = {}
"""Every ailment by its code: TD1xx divergence, TD2xx no learning, TD3xx generalising, TD4xx data and speed, TD6xx preferences, TD7xx how it ended."""


def ailment(code: str, severity: Severity, title: str, *, looks_for: str, why: str, advice: str) -> Ailment:
    """Enter an ailment into the table."""
    assert code not in AILMENTS, f"{code} is used twice"
    AILMENTS[code] = Ailment(code, severity, title, looks_for, why, advice)
    return AILMENTS[code]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation event."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Case:
    """What was asked of the run, from its manifest; None or 0 where the manifest does not say. `clip_at`: inf when nothing is clipped."""

    total: int = 0
    warmup: int = 0
    epochs: float = 0.0
    learning_rate: float = 0.0
    scheduler: str = ""
    clip_at: float = 1.0
    accumulation: int = 1
    adapter: str | None = None
    lora_r: int | None = None
    precision: str = ""
    planned_evaluations: int | None = None

    @property
    def usual_rate(self) -> float:
        """A learning rate to begin with, where the one that was asked for is out of all bounds."""
        return 2e-4 if self.adapter else 2e-5

    def lower_rate(self, factor: float) -> float:
        """The learning rate divided, or a usual one where that is still out of all bounds."""
        rate = self.learning_rate / factor
        return rate if rate <= MOST_RATE else self.usual_rate


class Watcher:
    """Looks for one ailment, told of each event once and in order; each call takes constant time. The default finds nothing."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def step(self, step: StepRecord) -> Iterator[Diagnosis]:
        """After a step."""
        yield from ()

    def evaluation(self, evaluation: Evaluation) -> Iterator[Diagnosis]:
        """After an evaluation."""
        yield from ()

    def saved(self, step: int) -> None:
        """A checkpoint of this step was written."""

    def end(self) -> Iterator[Diagnosis]:
        """After the last step of a run that finished. May say again, with the final numbers, what was found on the way."""
        yield from ()


class Average:
    """A running exponential mean of finite numbers, and of their distance from it; `shift` is the weight of the newest."""

    def __init__(self, shift: float) -> None:
        self._shift = shift
        self.mean, self.spread, self.count = math.nan, 0.0, 0

    def add(self, value: float) -> None:
        """Take in a number."""
        if not math.isfinite(value):
            return
        self.count += 1
        if self.count == 1:
            self.mean = value
            return
        shift = max(self._shift, 1 / self.count)  # the plain mean of all until there are enough of them
        self.spread += shift * (abs(value - self.mean) - self.spread)
        self.mean += shift * (value - self.mean)


class Window:
    """The mean and its standard error of the last `size` finite numbers."""

    def __init__(self, size: int) -> None:
        self.size, self._values, self._next = size, [0.0] * size, 0
        self.count = 0

    def add(self, value: float) -> None:
        """Take in a number; the oldest goes."""
        if math.isfinite(value):
            self._values[self._next] = value
            self._next = (self._next + 1) % self.size
            self.count = min(self.size, self.count + 1)

    @property
    def full(self) -> bool:
        """Whether there are `size` numbers."""
        return self.count == self.size

    @property
    def mean(self) -> float:
        """Their mean; NaN of none."""
        return sum(self._values[: self.count]) / self.count if self.count else math.nan

    @property
    def error(self) -> float:
        """The standard error of the mean; infinite of fewer than two."""
        if self.count < 2:
            return math.inf
        mean = self.mean
        return math.sqrt(sum((value - mean) ** 2 for value in self._values[: self.count]) / (self.count - 1) / self.count)


def case_of(manifest: Mapping[str, Any]) -> Case:
    """The case from a manifest; whatever it does not say stays at its default."""
    plan = _mapping(manifest.get("plan"))
    sections = _mapping(_mapping(manifest.get("config")).get("sections"))
    optimisation, adapter = _mapping(sections.get("optimisation")), _mapping(sections.get("adapter"))
    limit = optimisation.get("max_grad_norm")
    return Case(
        total=int(plan.get("steps") or 0), warmup=int(plan.get("warmup_steps") or 0), epochs=number(optimisation.get("num_epochs"), 0.0),
        learning_rate=number(optimisation.get("learning_rate"), 0.0), scheduler=str(optimisation.get("lr_scheduler") or ""),
        clip_at=math.inf if limit == 0 else number(limit, 1.0), accumulation=int(number(optimisation.get("gradient_accumulation_steps"), 1)),
        adapter=adapter.get("adapter"), lora_r=adapter.get("lora_r"), precision=str(manifest.get("precision") or ""),
        planned_evaluations=plan.get("evaluations"))


def step_of(event: Mapping[str, Any]) -> StepRecord:
    """A step event of the event file; numbers that are missing are NaN or 0."""
    measures = {str(name): number(value, math.nan) for name, value in _mapping(event.get("measures")).items()}
    return StepRecord(int(event["step"]), number(event.get("epoch"), 0.0), number(event.get("loss"), math.nan), number(event.get("lr"), 0.0),
                number(event.get("grad_norm"), math.nan), int(number(event.get("tokens"), 0)), int(number(event.get("supervised"), 0)),
                number(event.get("seconds"), 0.0), measures)


def number(value: Any, missing: float) -> float:
    """A number of a JSON file, which may be written as a name ("nan")."""
    try:
        return missing if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return missing


def figures(value: float) -> str:
    """A number as it is pasted into YAML: 0.0002, 1e-05, 12."""
    return f"{value:.3g}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
