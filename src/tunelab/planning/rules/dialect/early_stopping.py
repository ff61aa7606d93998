"""Early stopping, and intervals that an epoch does not hold (TL760-763)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.planning.rules.registry import Context, listed, rule

_STOP = "early_stopping_patience: 3\nval_set_size: 0.05\n"


@rule("TL760", Severity.ERROR, title="Early stopping that never compares",
      why="Patience counts evaluations without a better loss, and the best weights are those of a checkpoint: both have to happen, and it has "
          "to be said when.",
      bad="early_stopping_patience: 3", good=_STOP + "save_steps: 100\neval_steps: 100")
def nothing_to_stop_by(context: Context) -> Iterator[Finding]:
    """early_stopping_patience, and nothing says when to save or to evaluate."""
    if not context.raw.number("early_stopping_patience"):
        return
    missing = [f"{what}_steps" for what in ("save", "eval") if not _when(context.raw, what)]
    if missing:
        yield context.finding(f"`early_stopping_patience` needs {listed(missing)}, which {'is' if len(missing) == 1 else 'are'} not written.",
                              "early_stopping_patience", expected="save_steps and eval_steps, the first a multiple of the second",
                              fix="\n".join(f"{key}: 100" for key in missing))


@rule("TL761", Severity.NOTE, title="Axolotl refuses this early stopping",
      why="Axolotl 0.21.0 wants save_steps and eval_steps in so many words, before it works out an interval per epoch, and divides fractions "
          "with their rounding error (0.3 by 0.1). tunelab takes all of these.",
      bad=(_STOP + "saves_per_epoch: 2\nevals_per_epoch: 2", _STOP + "save_steps: 0.3\neval_steps: 0.1"), good=_STOP + "save_steps: 100\neval_steps: 50")
def refused_without_reason(context: Context) -> Iterator[Finding]:
    """early_stopping_patience with intervals that are right and that Axolotl does not accept."""
    raw = context.raw
    if not raw.number("early_stopping_patience") or not (_when(raw, "save") and _when(raw, "eval")):
        return
    save, evaluate = _positive(raw, "save_steps"), _positive(raw, "eval_steps")
    if not save or not evaluate:
        key = _when(raw, "eval") if save else _when(raw, "save")
        yield context.finding(f"Axolotl 0.21.0 does not accept `{key}` for `early_stopping_patience`; it wants `save_steps` and `eval_steps`.",
                              "early_stopping_patience")
    elif save % evaluate and _whole(save / evaluate):
        yield context.finding(f"Axolotl 0.21.0 refuses `save_steps` {save:g} with `eval_steps` {evaluate:g}: dividing them leaves a rounding error.",
                              "early_stopping_patience")


@rule("TL762", Severity.ERROR, title="Checkpoints between two evaluations",
      why="The best checkpoint is found by the loss of its step; when a checkpoint falls between evaluations there is no such loss.",
      bad=_STOP + "save_steps: 100\neval_steps: 30", good=_STOP + "save_steps: 90\neval_steps: 30")
def out_of_step(context: Context) -> Iterator[Finding]:
    """early_stopping_patience and save_steps is no multiple of eval_steps."""
    raw = context.raw
    save, evaluate = _positive(raw, "save_steps"), _positive(raw, "eval_steps")
    if raw.number("early_stopping_patience") and save and evaluate and save % evaluate and not _whole(save / evaluate):
        best = max(1, round(save / evaluate)) * evaluate
        yield context.finding(f"`save_steps` {save:g} is not a multiple of `eval_steps` {evaluate:g}, which `early_stopping_patience` needs.",
                              "save_steps", expected=f"a multiple of {evaluate:g}", fix=f"save_steps: {best:g}")


@rule("TL763", Severity.WARNING, title="An interval longer than the run",
      why="Axolotl divides the whole run by these numbers; with less than one in the whole run, it saves at the end only and does not evaluate.",
      bad=("saves_per_epoch: 1\nnum_epochs: 0.5", "val_set_size: 0.05\nevals_per_epoch: 1\nnum_epochs: 0.5"), good="saves_per_epoch: 4\nnum_epochs: 0.5")
def longer_than_the_run(context: Context) -> Iterator[Finding]:
    """saves_per_epoch or evals_per_epoch times num_epochs is below 1."""
    raw = context.raw
    for key, what in (("saves_per_epoch", "the first checkpoint would be due"), ("evals_per_epoch", "the first evaluation would be due")):
        each, epochs = _positive(raw, key), _positive(raw, "num_epochs") if raw.written("num_epochs") else 1.0
        held_out = key == "saves_per_epoch" or raw.first("val_set_size", "test_datasets")
        if each and epochs and each * epochs < 1 and held_out:
            yield context.finding(f"`{key}` {each:g} with `num_epochs` {epochs:g}: {what} after the end of the run.", key,
                                  expected=f"at least {math.ceil(1 / epochs)}", fix=f"{key}: {math.ceil(1 / epochs)}")


def _when(raw: Raw, what: str) -> str:
    """The key that says when to save or to evaluate ("save", "eval"), "" when none does."""
    for key in (f"{what}_steps", f"{what}s_per_epoch"):
        if raw.number(key):
            return key
    strategies = ("eval_strategy", "evaluation_strategy") if what == "eval" else ("save_strategy",)
    return next((key for key in strategies if raw.get(key) in ("epoch", "best")), "")


def _positive(raw: Raw, key: str) -> float | None:
    """The value as a number above 0, None when it is none."""
    number = raw.number(key)
    return number if number is not None and 1e-9 < number < 1e9 else None


def _whole(ratio: float) -> bool:
    """Whether a ratio is a whole number but for a rounding error."""
    return ratio > 0.5 and abs(ratio - round(ratio)) < 1e-6
