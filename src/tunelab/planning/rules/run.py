"""Rules on checkpoints and evaluation: when they happen, and settings that contradict each other (TL7xx)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.registry import Context, listed, rule
from tunelab.planning.steps import DEFAULT_SAVE_STEPS


@rule("TL701", Severity.ERROR, title="save_steps and saves_per_epoch",
      why="They say when to save twice, and differently.", bad="save_steps: 50\nsaves_per_epoch: 2", good="saves_per_epoch: 2")
def two_save_intervals(context: Context) -> Iterator[Finding]:
    """Both are written."""
    run = context.config.run
    if run.save_steps is not None and run.saves_per_epoch is not None:
        yield context.finding("`save_steps` and `saves_per_epoch` are both written; only one can hold.", "saves_per_epoch",
                              expected="one of the two", fix="delete `saves_per_epoch`")


@rule("TL702", Severity.ERROR, title="eval_steps and evals_per_epoch",
      why="They say when to evaluate twice, and differently.",
      bad="val_set_size: 0.05\neval_steps: 50\nevals_per_epoch: 2", good="val_set_size: 0.05\nevals_per_epoch: 2")
def two_eval_intervals(context: Context) -> Iterator[Finding]:
    """Both are written."""
    run = context.config.run
    if run.eval_steps is not None and run.evals_per_epoch is not None:
        yield context.finding("`eval_steps` and `evals_per_epoch` are both written; only one can hold.", "evals_per_epoch",
                              expected="one of the two", fix="delete `evals_per_epoch`")


@rule("TL703", Severity.ERROR, title="save_strategy contradicts the interval",
      why="An interval in steps only holds with save_strategy: steps (or none, which then means steps).",
      bad="save_strategy: epoch\nsave_steps: 50", good="save_strategy: steps\nsave_steps: 50")
def save_contradiction(context: Context) -> Iterator[Finding]:
    """A save strategy other than steps beside an interval."""
    run = context.config.run
    yield from _contradiction(context, "save_strategy", run.save_strategy, ("save_steps", "saves_per_epoch"))


@rule("TL704", Severity.ERROR, title="eval_strategy contradicts the interval",
      why="An interval in steps only holds with eval_strategy: steps (or none, which then means steps).",
      bad="val_set_size: 0.05\neval_strategy: epoch\neval_steps: 50", good="val_set_size: 0.05\neval_strategy: steps\neval_steps: 50")
def eval_contradiction(context: Context) -> Iterator[Finding]:
    """An evaluation strategy other than steps beside an interval."""
    run = context.config.run
    yield from _contradiction(context, "eval_strategy", run.eval_strategy, ("eval_steps", "evals_per_epoch"))


@rule("TL705", Severity.WARNING, title="A strategy of steps without a number",
      why="A default decides how often: for checkpoints one that a short run never reaches before its end, for evaluation one "
          "that may be far too often.",
      bad="save_strategy: steps", good="save_strategy: steps\nsave_steps: 100")
def no_interval(context: Context) -> Iterator[Finding]:
    """strategy: steps and no interval."""
    run = context.config.run
    if run.save_strategy == "steps" and run.save_steps is None and run.saves_per_epoch is None:
        yield context.finding(f"`save_strategy: steps` without `save_steps`: {DEFAULT_SAVE_STEPS} is used.", "save_strategy",
                              expected="save_steps",
                              fix=f"save_steps: {DEFAULT_SAVE_STEPS}")
    if run.eval_strategy == "steps" and run.eval_steps is None and run.evals_per_epoch is None:
        used = f"logging_steps ({run.logging_steps})" if run.logging_steps else "the logging interval (1 to 10 steps)"
        yield context.finding(f"`eval_strategy: steps` without `eval_steps`: {used} is used.", "eval_strategy", expected="eval_steps",
                              fix="evals_per_epoch: 2")


@rule("TL706", Severity.WARNING, title="save_strategy: best without evaluation",
      why="The best checkpoint is the one with the lowest loss on held-out rows; without evaluation there is no such loss.",
      bad="save_strategy: best", good="save_strategy: best\nval_set_size: 0.05\nevals_per_epoch: 2")
def best_of_nothing(context: Context) -> Iterator[Finding]:
    """save_strategy: best, and nothing is ever evaluated."""
    run = context.config.run
    evaluates = run.eval_strategy != "no" and any((run.eval_steps, run.evals_per_epoch, run.eval_strategy))
    if run.save_strategy == "best" and not (evaluates and context.config.data.val_set_size > 0):
        yield context.finding("`save_strategy: best` needs evaluation to tell which is best, and there is none.", "save_strategy",
                              expected="val_set_size above 0 and an eval_* setting", fix="evals_per_epoch: 2"
                              if context.config.data.val_set_size > 0 else "val_set_size: 0.05\nevals_per_epoch: 2")


@rule("TL707", Severity.ERROR, title="eval_strategy: best",
      why="best is a way to choose checkpoints, not a time to evaluate.",
      bad="val_set_size: 0.05\neval_strategy: best", good="val_set_size: 0.05\neval_strategy: epoch")
def evaluate_best(context: Context) -> Iterator[Finding]:
    """eval_strategy is best."""
    if context.config.run.eval_strategy == "best":
        yield context.finding("`eval_strategy: best` says not when to evaluate; best is for `save_strategy`.", "eval_strategy",
                              expected="no, epoch or steps", fix="eval_strategy: epoch")


def _contradiction(context: Context, key: str, strategy: str | None, intervals: tuple[str, str]) -> Iterator[Finding]:
    written = [name for name in intervals if context.config.value(name) is not None]
    if strategy is None or strategy == "steps" or (key == "eval_strategy" and strategy == "best") or not written:
        return
    fix = "\n".join(f"delete `{name}`" for name in written) if strategy == "best" else f"{key}: steps"
    milder = Severity.WARNING if written == ["saves_per_epoch"] else None  # which Axolotl lets pass: the strategy holds
    yield context.finding(f"`{key}: {strategy}` and {listed(written)} contradict each other.", key, severity=milder,
                          expected=f"{key}: steps, or no {listed(written, 'or')}", fix=fix)


@rule("TL720", Severity.WARNING, title="An interval longer than the run",
      why="The run is over before the first one is due: nothing is evaluated, or no checkpoint is kept on the way.",
      bad=("max_steps: 50\nsave_steps: 100", "max_steps: 50\nval_set_size: 0.05\neval_steps: 51"), good="max_steps: 50\nsave_steps: 25")
def never_due(context: Context) -> Iterator[Finding]:
    """save_steps or eval_steps above max_steps."""
    last = context.config.optimisation.max_steps
    for key in ("save_steps", "eval_steps"):
        every = context.raw.number(key)
        if last and every is not None and every > last:
            yield context.finding(f"`{key}` is {every:g} and `max_steps` {last}: it never comes to that.", key, expected=f"at most {last}",
                                  fix=f"{key}: {max(1, last // 2)}")
