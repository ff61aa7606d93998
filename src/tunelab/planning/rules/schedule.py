"""Rules on learning-rate schedules and their options (TL512-TL518)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.planning.optimizers import optimizer_state
from tunelab.planning.rules.registry import Context, listed, rule
from tunelab.planning.schedules import FOLLOWING, OPTIONS, SWITCHES, WORDS

_FLOORS = {"reduce_lr_on_plateau": 0.0, "greedy": 1e-3}
_LEVEL = ("constant", "constant_with_warmup")


@rule("TL512", Severity.ERROR, title="An option that the schedule does not take",
      why="lr_scheduler_kwargs goes to the schedule as it is; transformers stops with a TypeError when the training begins.",
      bad=("lr_scheduler: cosine\nlr_scheduler_kwargs: {min_lr: 0.00001}", "lr_scheduler: polynomial\nlr_scheduler_kwargs: {power: high}",
           "lr_scheduler: warmup_stable_decay\nlr_scheduler_kwargs: {num_decay_steps: 10, decay_type: steep}", "lr_scheduler: warmup_stable_decay",
           "lr_scheduler: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 0.00001, min_lr_rate: 0.1}"),
      good="lr_scheduler: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 0.00001}")
def wrong_options(context: Context) -> Iterator[Finding]:
    """lr_scheduler_kwargs names something that the schedule does not have, holds a wrong value, or lacks what the schedule needs."""
    settings = context.config.optimisation
    name, options = settings.lr_scheduler, settings.lr_scheduler_kwargs or {}
    known = OPTIONS[name]
    for option, value in options.items():
        if option not in known:
            takes = f"it takes {listed(known)}" if known else "it takes none"
            yield context.finding(f"`lr_scheduler: {name}` has no option `{option}`: {takes}.", "lr_scheduler_kwargs", option,
                                  expected=", ".join(known) or "no lr_scheduler_kwargs", fix=f"delete `{option}`")
        elif expected := _wrong(option, value):
            yield context.finding(f"`{option}: {value}` is not what `lr_scheduler: {name}` takes.", "lr_scheduler_kwargs", option, expected=expected)
    if name == "warmup_stable_decay" and "num_decay_steps" not in options:
        yield context.finding("`lr_scheduler: warmup_stable_decay` needs `num_decay_steps`, the steps over which it falls at the end.", "lr_scheduler",
                              expected="lr_scheduler_kwargs: {num_decay_steps: 100}", fix="lr_scheduler_kwargs: {num_decay_steps: 100}")
    if "min_lr" in options and "min_lr_rate" in options:
        yield context.finding("`min_lr` and `min_lr_rate` say the same thing twice.", "lr_scheduler_kwargs", "min_lr_rate", expected="one of the two",
                              fix="delete `min_lr_rate`")


def _wrong(option: str, value: Any) -> str:
    """What an option takes when `value` is not that, else ""."""
    if option in WORDS:
        return "" if value in WORDS[option] else " or ".join(WORDS[option])
    if option in SWITCHES:
        return "" if isinstance(value, bool) else "true or false"
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0):
        return ""
    return "a number of at least 0"


@rule("TL513", Severity.ERROR, title="A schedule that waits for evaluations",
      why="reduce_lr_on_plateau and greedy change the rate when the evaluation loss says so. Without held-out rows that are looked at during the "
          "run, the rate stays where it is.",
      bad="lr_scheduler: reduce_lr_on_plateau", good="lr_scheduler: reduce_lr_on_plateau\nval_set_size: 0.05\nevals_per_epoch: 4")
def no_evaluations(context: Context) -> Iterator[Finding]:
    """A following schedule with nothing held out, or nothing looked at."""
    run, name = context.config.run, context.config.optimisation.lr_scheduler
    if name not in FOLLOWING:
        return
    looks = run.eval_strategy != "no" and (run.eval_steps is not None or run.evals_per_epoch is not None or run.eval_strategy is not None)
    held_out = context.config.data.val_set_size > 0 or context.raw.truthy("test_datasets")
    if not held_out or not looks:
        missing = "no rows are held out" if not held_out else "nothing says when to evaluate"
        yield context.finding(f"`lr_scheduler: {name}` follows the evaluation loss, and {missing}.", "lr_scheduler",
                              expected="val_set_size: 0.05 and evals_per_epoch: 4",
                              fix="evals_per_epoch: 4" if held_out else "val_set_size: 0.05\nevals_per_epoch: 4" if not looks else "val_set_size: 0.05")


@rule("TL514", Severity.WARNING, title="A floor above the learning rate",
      why="The schedule lowers the rate only while it is above min_lr; greedy's floor is 0.001 when none is written, which most rates never reach.",
      bad="lr_scheduler: greedy\nval_set_size: 0.1\nevals_per_epoch: 4",
      good="lr_scheduler: greedy\nval_set_size: 0.1\nevals_per_epoch: 4\nlr_scheduler_kwargs: {min_lr: 0.00001}")
def floor_above_rate(context: Context) -> Iterator[Finding]:
    """min_lr of a following schedule is not below learning_rate."""
    settings = context.config.optimisation
    name, options = settings.lr_scheduler, settings.lr_scheduler_kwargs or {}
    floor = options.get("min_lr", _FLOORS.get(name, 0.0))
    if name in FOLLOWING and isinstance(floor, (int, float)) and floor >= settings.learning_rate:
        yield context.finding(f"`lr_scheduler: {name}` never lowers the rate: its `min_lr` is {floor:g} and `learning_rate` {settings.learning_rate:g}.",
                              "lr_scheduler", expected=f"lr_scheduler_kwargs: {{min_lr: {settings.learning_rate / 20:g}}}")


@rule("TL515", Severity.WARNING, title="A falling schedule with a schedule-free optimizer",
      why="It averages its weights in place of a falling rate, and is made for a constant one (Defazio et al. 2024, arXiv:2405.15682); falling "
          "as well, it hardly moves at the end.",
      bad="optimizer: schedule_free_adamw\nlr_scheduler: cosine", good="optimizer: schedule_free_adamw\nlr_scheduler: constant")
def schedule_free(context: Context) -> Iterator[Finding]:
    """A schedule-free optimizer with a schedule that falls (cosine when none is written)."""
    settings = context.config.optimisation
    if optimizer_state(settings.optimizer).builder == "schedulefree" and settings.lr_scheduler not in (*_LEVEL, *FOLLOWING):
        yield context.finding(f"`optimizer: {settings.optimizer}` is made for a constant rate, and `lr_scheduler: {settings.lr_scheduler}` falls.",
                              "lr_scheduler" if context.written("lr_scheduler") else "optimizer", expected="lr_scheduler: constant",
                              fix="lr_scheduler: constant")


@rule("TL516", Severity.ERROR, title="Restarts of a schedule that follows evaluations",
      why="jagged_restart_steps lays a saw-tooth over a schedule that is known beforehand; Axolotl stops at the first step with one that is not.",
      bad="lr_scheduler: reduce_lr_on_plateau\nval_set_size: 0.1\nevals_per_epoch: 4\njagged_restart_steps: 100",
      good="lr_scheduler: cosine\njagged_restart_steps: 100")
def restarts_of_following(context: Context) -> Iterator[Finding]:
    """jagged_restart_steps with reduce_lr_on_plateau or greedy."""
    settings = context.config.optimisation
    if settings.jagged_restart_steps and settings.lr_scheduler in FOLLOWING:
        yield context.finding(f"`jagged_restart_steps` does not go with `lr_scheduler: {settings.lr_scheduler}`.", "jagged_restart_steps",
                              expected="lr_scheduler: cosine", fix="lr_scheduler: cosine")


@rule("TL517", Severity.WARNING, title="A setting of another schedule",
      why="cosine_min_lr_ratio and lr_quadratic_warmup shape the cosine (the first also rex and the floor of restarts); with other schedules they are "
          "read by nothing.",
      bad=("lr_scheduler: linear\ncosine_min_lr_ratio: 0.1", "cosine_constant_lr_ratio: 0.8", "lr_scheduler: linear\nlr_quadratic_warmup: true",
           "lr_quadratic_warmup: true\ncosine_min_lr_ratio: 0.1", "jagged_restart_warmup_steps: 10"),
      good="lr_scheduler: cosine\ncosine_min_lr_ratio: 0.1")
def of_another_schedule(context: Context) -> Iterator[Finding]:
    """A key that shapes a schedule other than the written one."""
    settings = context.config.optimisation
    name, quadratic = settings.lr_scheduler, bool(settings.lr_quadratic_warmup) and settings.lr_scheduler == "cosine"
    restarts = bool(settings.jagged_restart_steps)
    reasons = {
        "lr_quadratic_warmup": "" if name == "cosine" else f"with `lr_scheduler: {name}`",
        "cosine_min_lr_ratio": "beside `lr_quadratic_warmup`" if quadratic and not restarts else
                               "" if name in ("cosine", "rex") or restarts else f"with `lr_scheduler: {name}`",
        "cosine_constant_lr_ratio": "beside `lr_quadratic_warmup`" if quadratic else f"with `lr_scheduler: {name}`" if name != "cosine" else
                                    "" if settings.cosine_min_lr_ratio else "without `cosine_min_lr_ratio` above 0",
        "jagged_restart_warmup_steps": "" if restarts else "without `jagged_restart_steps`",
        "jagged_restart_anneal_steps": "" if restarts else "without `jagged_restart_steps`",
    }
    for key, reason in reasons.items():
        if reason and context.raw.truthy(key):
            yield context.finding(f"`{key}` has no effect {reason}.", key, fix=f"delete `{key}`")


@rule("TL518", Severity.NOTE, title="A floor that nobody wrote",
      why="transformers stops when these schedules are given neither min_lr nor min_lr_rate; tunelab takes a tenth of the learning rate.",
      bad="lr_scheduler: cosine_with_min_lr", good="lr_scheduler: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr_rate: 0.1}")
def no_floor(context: Context) -> Iterator[Finding]:
    """cosine_with_min_lr or cosine_warmup_with_min_lr without a floor."""
    settings = context.config.optimisation
    options = settings.lr_scheduler_kwargs or {}
    if settings.lr_scheduler in ("cosine_with_min_lr", "cosine_warmup_with_min_lr") and "min_lr" not in options and "min_lr_rate" not in options:
        yield context.finding(f"`lr_scheduler: {settings.lr_scheduler}` has no floor written; a tenth of `learning_rate` is taken.", "lr_scheduler",
                              fix="lr_scheduler_kwargs: {min_lr_rate: 0.1}")
