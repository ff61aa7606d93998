"""Learning-rate schedules: pure functions from a step to a share of the learning rate.

`course_of(settings, warmup, total)` picks the schedule that a config asks for and its options; `Course.share(step)` is what the update
after `step` done updates is made with. The formulas give, step by step, what transformers' `get_scheduler` and Axolotl 0.21.0's own
schedulers (rex, the cosine with a floor, quadratic warm-up, jagged restarts) give. Two schedules follow the evaluation loss: their share
is 1 here, and `planning.following` moves it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tunelab.config.sections.optimisation import OptimisationSection

MIN_LR_SHARE = 0.1
"""The floor of cosine_with_min_lr when lr_scheduler_kwargs names none, as a share of learning_rate (transformers would stop there)."""
POLYNOMIAL_END = 1e-7
"""Where the polynomial schedule ends unless lr_end says otherwise, as a learning rate."""
FOLLOWING = ("reduce_lr_on_plateau", "greedy")
"""Schedules that move with the evaluation loss."""
_TIMESCALE = 10_000  # inverse_sqrt without warm-up


@dataclass(frozen=True, slots=True)
class Restarts:
    """A saw-tooth over a schedule: every `every` steps it falls to `floor` over `anneal` steps and climbs back over `warmup` steps."""

    every: int
    warmup: int
    anneal: int
    floor: float

    def share(self, step: int) -> float:
        """What the schedule is multiplied by. The first round begins without a climb: the schedule's own warm-up is there."""
        if step < self.every - self.anneal:
            return 1.0
        within = step % self.every
        height = min(1.0, within / self.warmup) if within < self.warmup else \
            min(1.0, (self.every - within) / self.anneal) if within > self.every - self.anneal else 1.0
        return height * (1 - self.floor) + self.floor


@dataclass(frozen=True, slots=True)
class Course:
    """A schedule by its name, and all that it depends on. `options` are lr_scheduler_kwargs; `rate` the peak learning rate."""

    name: str
    warmup: int
    total: int
    rate: float
    options: Mapping[str, Any] = field(default_factory=dict)
    restarts: Restarts | None = None

    def share(self, step: int) -> float:
        """The share of the peak rate with which the (step + 1)-th update is made.

        Axolotl's rex counts from 1, and so do its restarts, which move the schedule inside them along.
        """
        at = step + (self.name == "rex") + (self.restarts is not None)
        return SCHEDULES[self.name](at, self) * (self.restarts.share(at) if self.restarts is not None else 1.0)

    def momentum(self, step: int) -> float | None:
        """one_cycle also moves the optimizer's momentum (AdamW's beta1), down while the rate goes up; None where it stays."""
        if self.name != "one_cycle" or self.option("cycle_momentum", True) is False:
            return None
        most = self.option("max_momentum", 0.95)
        return float(_one_cycle(step, self, start=most, peak=self.option("base_momentum", 0.85), middle=most, end=most))

    def option(self, name: str, default: Any) -> Any:
        """One of lr_scheduler_kwargs, or what the library takes without it."""
        value = self.options.get(name)
        return default if value is None else value


Schedule = Callable[[int, Course], float]


def course_of(settings: OptimisationSection, warmup: int, total: int) -> Course:
    """The schedule of a config. cosine becomes another formula with lr_quadratic_warmup or cosine_min_lr_ratio, as in Axolotl."""
    name: str = settings.lr_scheduler
    options = dict(settings.lr_scheduler_kwargs or {})
    floor = settings.cosine_min_lr_ratio
    if name == "cosine" and settings.lr_quadratic_warmup:
        name, options = "cosine_with_quadratic_warmup", {}
    elif name == "cosine" and floor:
        name, options = "cosine_with_floor", {"floor": floor, "until": settings.cosine_constant_lr_ratio or 1.0}
    elif name == "rex":
        options = {"floor": floor or 0.0}
    restarts = Restarts(settings.jagged_restart_steps, settings.jagged_restart_warmup_steps or 10, settings.jagged_restart_anneal_steps or 1,
                        floor or 0.001) if settings.jagged_restart_steps else None
    return Course(name, warmup, total, settings.learning_rate, MappingProxyType(options), restarts)


def _progress(step: int, course: Course) -> float:
    return (step - course.warmup) / max(1, course.total - course.warmup)


def _half_cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _linear(step: int, course: Course) -> float:
    return max(0.0, (course.total - step) / max(1, course.total - course.warmup))


def _cosine(step: int, course: Course) -> float:
    """Half a cosine (Loshchilov & Hutter 2016, arXiv:1608.03983), or `num_cycles` whole ones."""
    return max(0.0, _half_cosine(2 * course.option("num_cycles", 0.5) * _progress(step, course)))


def _cosine_with_restarts(step: int, course: Course) -> float:
    progress = _progress(step, course)
    return 0.0 if progress >= 1 else max(0.0, _half_cosine(course.option("num_cycles", 1) * progress % 1.0))


def _floor(course: Course) -> float:
    lowest = course.options.get("min_lr")
    return float(course.option("min_lr_rate", MIN_LR_SHARE)) if lowest is None else float(lowest) / course.rate


def _cosine_with_min_lr(step: int, course: Course) -> float:
    floor = _floor(course)
    return max(0.0, _half_cosine(2 * course.option("num_cycles", 0.5) * _progress(step, course)) * (1 - floor) + floor)


def _cosine_warmup_with_min_lr(step: int, course: Course) -> float:
    """The same, a step ahead: the warm-up begins above 0 and the last update is made at the floor."""
    if step < course.warmup:
        start = course.options.get("warmup_lr_rate")
        return (step + 1) / max(1, course.warmup) if start is None else start + (1 - start) * step / max(1, course.warmup - 1)
    return _cosine_with_min_lr(step + 1, course)


def _cosine_with_floor(step: int, course: Course) -> float:
    """Axolotl's cosine_min_lr_ratio and cosine_constant_lr_ratio: the cosine ends at a floor and stays there (arXiv:2308.04014)."""
    end, floor = int(course.total * course.options["until"]), course.options["floor"]
    return float((1 - floor) * _half_cosine((min(step, end) - course.warmup) / max(1, end - course.warmup)) + floor)


def _cosine_with_quadratic_warmup(step: int, course: Course) -> float:
    return (step / max(1, course.warmup)) ** 2 if step < course.warmup else max(0.0, _half_cosine(_progress(step, course)))


def _constant(_step: int, _course: Course) -> float:
    return 1.0


def _polynomial(step: int, course: Course) -> float:
    end = course.option("lr_end", POLYNOMIAL_END)
    if step > course.total or course.total == course.warmup:
        return float(end / course.rate)
    left = 1 - (step - course.warmup) / (course.total - course.warmup)
    return float(((course.rate - end) * left ** course.option("power", 1.0) + end) / course.rate)


def _inverse_sqrt(step: int, course: Course) -> float:
    scale = course.options.get("timescale") or course.warmup or _TIMESCALE
    return 1.0 / math.sqrt((step + scale - course.warmup) / scale)


def _warmup_stable_decay(step: int, course: Course) -> float:
    """Up, level, down (Hu et al. 2024, arXiv:2404.06395). `num_decay_steps` says how long the way down is: a tenth of all when unwritten."""
    decay = course.option("num_decay_steps", max(1, course.total // 10))
    stable = course.option("num_stable_steps", course.total - course.warmup - decay)
    floor = float(course.option("min_lr_ratio", 0.0))
    if step < course.warmup:
        up = step / max(1, course.warmup)
        kind = course.option("warmup_type", "linear")
        up = up if kind == "linear" else 1 - _half_cosine(up) if kind == "cosine" else 1 - math.sqrt(1 - up)
        return max(0.0, up * (1 - floor) + floor)
    after = step - course.warmup - stable
    if after < 0:
        return 1.0
    if after >= decay:
        return floor
    down, kind = after / max(1, decay), course.option("decay_type", "cosine")
    down = 1 - down if kind == "linear" else 1 - math.sqrt(down) if kind == "1-sqrt" else _half_cosine(2 * course.option("num_cycles", 0.5) * down)
    return max(0.0, down * (1 - floor) + floor)


def _rex(step: int, course: Course) -> float:
    """Reflected exponential (Chen et al. 2021, arXiv:2107.04197), counted from 1; the last update is made at the floor."""
    floor, left = course.options["floor"], course.total - step
    if 1 <= step <= course.warmup:
        return step / course.warmup
    if left <= 0 or course.total <= course.warmup:
        return float(floor)
    part = left / (course.total - course.warmup)
    return float(floor + (1 - floor) * part / (0.1 + 0.9 * part))


def _one_cycle_rate(step: int, course: Course) -> float:
    """Up to the peak and down to nearly nothing (Smith & Topin 2017, arXiv:1708.07120), as torch's OneCycleLR has it."""
    start = 1 / course.option("div_factor", 25.0)
    return _one_cycle(step, course, start=start, peak=1.0, middle=start, end=start / course.option("final_div_factor", 1e4))


def _one_cycle(step: int, course: Course, *, start: float, peak: float, middle: float, end: float) -> float:
    """Phases from `start` to `peak`, (with three_phase to `middle`,) and to `end`."""
    share = course.option("pct_start", course.warmup / max(1, course.total))
    top = share * course.total - 1
    marks = [(top, start, peak), (course.total - 1, peak, end)]
    if course.option("three_phase", False):
        marks = [(top, start, peak), (2 * share * course.total - 2, peak, middle), (course.total - 1, middle, end)]
    began = 0.0
    for index, (mark, first, last) in enumerate(marks):
        if step <= mark or index == len(marks) - 1:
            progress = min(1.0, (step - began) / (mark - began)) if mark > began else 1.0
            if course.option("anneal_strategy", "cos") == "linear":
                return first + (last - first) * progress
            return last + (first - last) * _half_cosine(progress)
        began = mark
    raise AssertionError("there is always a last phase")


def _warmed(schedule: Schedule) -> Schedule:
    return lambda step, course: step / max(1, course.warmup) if step < course.warmup else schedule(step, course)


SCHEDULES: Mapping[str, Schedule] = MappingProxyType({
    "linear": _warmed(_linear),
    "cosine": _warmed(_cosine),
    "cosine_with_restarts": _warmed(_cosine_with_restarts),
    "cosine_with_min_lr": _warmed(_cosine_with_min_lr),
    "cosine_warmup_with_min_lr": _cosine_warmup_with_min_lr,
    "constant": _constant,
    "constant_with_warmup": _warmed(_constant),
    "polynomial": _warmed(_polynomial),
    "inverse_sqrt": _warmed(_inverse_sqrt),
    "warmup_stable_decay": _warmup_stable_decay,
    "one_cycle": _one_cycle_rate,
    "rex": _rex,
    "reduce_lr_on_plateau": _constant,
    "greedy": _constant,
    "cosine_with_floor": _warmed(_cosine_with_floor),
    "cosine_with_quadratic_warmup": _cosine_with_quadratic_warmup,
})
"""Every lr_scheduler, and the two that a cosine becomes with other keys."""

_CYCLES, _FLOORS = ("num_cycles",), ("num_cycles", "min_lr", "min_lr_rate")
OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "linear": (), "cosine": _CYCLES, "cosine_with_restarts": _CYCLES, "cosine_with_min_lr": _FLOORS,
    "cosine_warmup_with_min_lr": (*_FLOORS, "warmup_lr_rate"), "constant": (), "constant_with_warmup": (), "polynomial": ("lr_end", "power"),
    "inverse_sqrt": ("timescale",),
    "warmup_stable_decay": ("num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"),
    "one_cycle": ("pct_start", "anneal_strategy", "cycle_momentum", "base_momentum", "max_momentum", "div_factor", "final_div_factor", "three_phase"),
    "rex": (), "reduce_lr_on_plateau": ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"),
    "greedy": ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "warmup", "min_lr", "max_lr", "eps", "smooth", "window_size",
               "reset_start"),
})
"""What lr_scheduler_kwargs may hold, by lr_scheduler."""
WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "warmup_type": ("linear", "cosine", "1-sqrt"), "decay_type": ("linear", "cosine", "1-sqrt"), "anneal_strategy": ("cos", "linear"),
    "mode": ("min", "max"), "threshold_mode": ("rel", "abs")})
"""Options that are words."""
SWITCHES = ("cycle_momentum", "three_phase", "smooth")
"""Options that are true or false."""
