"""`plan_steps`: how many optimizer steps a run takes, at which of them it saves, evaluates and logs, and the learning rate of each.

The training loop asks these very functions, so that what the plan says is what the run does. Defaults that the config leaves open
are Axolotl 0.21.0's (warm-up, logging, a checkpoint after each epoch); the schedules are in `planning.schedules`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tunelab.config.config import Config
from tunelab.config.sections.optimisation import OptimisationSection
from tunelab.config.sections.run import RunSection
from tunelab.data.mixing import is_streamed
from tunelab.planning.schedules import FOLLOWING, Course, course_of

DEFAULT_SAVE_STEPS = 500
"""The interval of `save_strategy: steps` without save_steps (transformers' default)."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The steps of a run. Steps are counted from 1: step n is done when n optimizer updates have been made.

    `steps_per_epoch[e]`: updates in epoch e; the last one may be cut short by a fractional num_epochs or by max_steps.
    `epoch_ends[e]`: the step that ends epoch e. `save_steps`, `eval_steps`: after which steps. `keeps_best`: a checkpoint is also written after
    an evaluation with the lowest loss so far, and rotation leaves it; `loads_best`: its weights are the result. `patience`: evaluations
    without a lower loss after which the run ends. `logging_every`: steps per line of the terminal log.
    `accumulation`: micro batches per step, of all processes; the last step of an epoch may have fewer. `course`: the learning rate's schedule.
    """

    total: int
    steps_per_epoch: tuple[int, ...]
    epoch_ends: tuple[int, ...]
    accumulation: int
    warmup: int
    save_steps: tuple[int, ...]
    eval_steps: tuple[int, ...]
    keeps_best: bool
    loads_best: bool
    patience: int | None
    logging_every: int
    course: Course
    rows: int

    def multiplier_at(self, step: int) -> float:
        """The share of learning_rate that the (step + 1)-th update is made with: `step` updates are done before it (0 at first)."""
        return self.course.share(step)

    def lr_at(self, step: int) -> float:
        """The learning rate of the update that follows `step` done updates (transformers' LambdaLR counts the same way)."""
        return self.course.rate * self.course.share(step)

    def is_save(self, step: int) -> bool:
        """Whether a checkpoint is written after step `step` (from 1)."""
        return step in self.save_steps

    def is_eval(self, step: int) -> bool:
        """Whether the held-out rows are looked at after step `step` (from 1)."""
        return step in self.eval_steps

    def out_of_patience(self, evaluations: Mapping[int, float]) -> bool:
        """Whether the last `patience` evaluations (loss by step) all failed to be lower than the best one before them."""
        losses = [evaluations[step] for step in sorted(evaluations)]
        if self.patience is None or len(losses) <= self.patience:
            return False
        return min(losses[-self.patience :]) >= min(losses[: -self.patience])

    def is_logged(self, step: int) -> bool:
        """Whether the terminal log has a line for step `step` (from 1): the first, the last and every `logging_every`-th."""
        return is_logged(step, self.total, self.logging_every)


def plan_steps(config: Config, rows: int, batches_per_epoch: Sequence[int] | int, *, held_out: int | None = None, processes: int = 1) -> StepPlan:
    """The steps of a run over `rows` samples that make `batches_per_epoch` micro batches (one number, or one per epoch).

    An epoch beyond the given ones is like the last. `held_out` is the number of rows kept for evaluation (0: none is planned);
    None: as val_set_size says. Each of the `processes` takes gradient_accumulation_steps micro batches to a step. The last step is always
    evaluated and saved when steps are evaluated and saved at all.
    """
    settings, run = config.optimisation, config.run
    accumulation = settings.gradient_accumulation_steps * processes
    num_epochs = _times(batches_per_epoch, accumulation, settings.max_steps) if is_streamed(config.data) else settings.num_epochs
    per_epoch = _cut(_epochs(num_epochs, accumulation, batches_per_epoch), settings.max_steps)
    ends = tuple(accumulate(per_epoch))
    total = ends[-1] if ends else 0
    logging = run.logging_steps or default_logging(total)
    evaluates = held_out > 0 if held_out is not None else config.data.val_set_size > 0
    evals = _eval_steps(config, total, ends, logging) if evaluates else ()
    warmup = warmup_steps(settings, total)
    return StepPlan(total, per_epoch, ends, accumulation, warmup, _save_steps(config, total, ends), evals,
                    _keeps_best(run) or _loads_best(run), _loads_best(run), run.early_stopping_patience, logging,
                    course_of(settings, warmup, total), rows)


def _keeps_best(run: RunSection) -> bool:
    """Whether a checkpoint is kept for having the lowest loss: the only metric that is compared by."""
    return run.save_strategy == "best" and run.metric_for_best_model in (None, "eval_loss", "loss")


def _loads_best(run: RunSection) -> bool:
    """Whether the result has the weights of the best checkpoint. As in Axolotl, early stopping asks for it too."""
    return bool(run.load_best_model_at_end) or run.early_stopping_patience is not None


def warmup_steps(settings: OptimisationSection, total: int) -> int:
    """Steps of warm-up: as written, a share of `total` rounded down, or by default 3 % of it and 100 at most. None for constant and
    for the schedules that follow the evaluation loss."""
    if settings.lr_scheduler in ("constant", *FOLLOWING):
        return 0
    if settings.warmup_steps is not None:
        return settings.warmup_steps
    if settings.warmup_ratio is not None:
        return int(settings.warmup_ratio * total)
    return min(int(0.03 * total), 100)


def is_logged(step: int, total: int, every: int) -> bool:
    """Whether step `step` (from 1) of `total` is told: the first, the last and every `every`-th."""
    return step in (1, total) or step % every == 0


def default_logging(total: int) -> int:
    """Steps per line of the log when logging_steps is not written: half a percent of the run, 1 at least and 10 at most."""
    return max(1, min(int(0.005 * total), 10))


def _epochs(num_epochs: float, accumulation: int, batches: Sequence[int] | int) -> tuple[int, ...]:
    """Updates per epoch. The last group of an epoch may be smaller, so each is rounded up; so is the part of a fractional epoch."""
    known = [batches] if isinstance(batches, int) else list(batches)
    whole = int(num_epochs)
    part = num_epochs - whole
    counts = [known[min(epoch, len(known) - 1)] if known else 0 for epoch in range(whole + (part > 0))]
    steps = [math.ceil(count / accumulation) for count in counts]
    if part > 0:
        steps[-1] = math.ceil(round(part * steps[-1], 9))  # 0.1 * 30 is 3, not 3.0000000000000004 and then 4
    return tuple(steps)


def _times(batches: Sequence[int] | int, accumulation: int, max_steps: int | None) -> int:
    """How often a stream is read: as often as its steps take, whatever num_epochs says."""
    known = [batches] if isinstance(batches, int) else list(batches)
    return len(known) if not isinstance(batches, int) or not known[0] or not max_steps else math.ceil(max_steps / math.ceil(known[0] / accumulation))


def _cut(per_epoch: tuple[int, ...], max_steps: int | None) -> tuple[int, ...]:
    if max_steps is None:
        return per_epoch
    kept: list[int] = []
    for steps in per_epoch:
        left = max_steps - sum(kept)
        if left <= 0:
            break
        kept.append(min(steps, left))
    return tuple(kept)


def _save_steps(config: Config, total: int, ends: tuple[int, ...]) -> tuple[int, ...]:
    run = config.run
    if run.save_strategy in ("no", "best"):
        return ()
    if run.save_steps is not None:
        return _every(_interval(run.save_steps, total), total)
    if run.saves_per_epoch is not None:
        return _parts(run.saves_per_epoch, ends)
    return _every(DEFAULT_SAVE_STEPS, total) if run.save_strategy == "steps" else _distinct(ends)


def _eval_steps(config: Config, total: int, ends: tuple[int, ...], logging: int) -> tuple[int, ...]:
    run = config.run
    if run.eval_strategy == "no":
        return ()
    if run.eval_steps is not None:
        return _every(_interval(run.eval_steps, total), total)
    if run.evals_per_epoch is not None:
        return _parts(run.evals_per_epoch, ends)
    if run.eval_strategy == "epoch":
        return _distinct(ends)
    return _every(logging, total) if run.eval_strategy == "steps" else ()


def _interval(value: float, total: int) -> int:
    """An interval in steps; a value below 1 is a share of all steps, rounded up."""
    return max(1, math.ceil(round(value * total, 9)) if value < 1 else int(value))


def _every(interval: int, total: int) -> tuple[int, ...]:
    steps = list(range(interval, total + 1, interval))
    if total and (not steps or steps[-1] != total):
        steps.append(total)
    return tuple(steps)


def _distinct(ends: tuple[int, ...]) -> tuple[int, ...]:
    """The ends of epochs that have a step at all."""
    return tuple(end for end in dict.fromkeys(ends) if end)


def _parts(count: int, ends: tuple[int, ...]) -> tuple[int, ...]:
    """`count` steps in each epoch, evenly apart, the last at its end."""
    starts = (0, *ends[:-1])
    marks = (start + math.ceil(part * (end - start) / count)
             for start, end in zip(starts, ends, strict=True) for part in range(1, count + 1) if end > start)
    return tuple(dict.fromkeys(marks))
