"""The run itself: where it is kept, what is saved, looked at and logged, and how it repeats."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunelab.config.setting import Section, Setting, Support

Strategy = Literal["no", "epoch", "steps", "best"]
EveryNth = Annotated[float | None, Field(gt=0)]


class RunSection(Section):
    """Folder, checkpoints, evaluation, logging, seed."""

    output_dir: Annotated[str, Field(min_length=1), Setting(
        "The folder that the run writes: adapter or model, checkpoints, events, manifest.",
        "None on the result. One folder holds one run.", "./outputs/NAME", ("resume_from_checkpoint",), "output_dir: ./outputs/my-run")] = "./model-out"
    seed: Annotated[int | None, Field(ge=0, lt=2**32), Setting(
        "The number that all randomness starts from: shuffling, dropout, new weights.",
        "The same seed, config, data and machine give the same run, bit for bit.", "42", ("datasets",), "seed: 42")] = None
    save_steps: Annotated[float | None, Field(gt=0), Setting(
        "A checkpoint every this many steps; below 1, a share of all steps.", "Disk and a pause per checkpoint; less is lost when it is stopped.",
        "50-500", ("save_strategy", "save_total_limit"), "save_steps: 200")] = None
    saves_per_epoch: Annotated[int | None, Field(gt=0), Setting(
        "Checkpoints per epoch.", "As save_steps.", "1-4", ("save_steps",))] = None
    save_strategy: Annotated[Strategy | None, Setting(
        "When checkpoints are written: no, epoch or steps.", "As save_steps.", "epoch", ("save_steps",), "save_strategy: steps")] = None
    metric_for_best_model: Annotated[Literal["eval_loss", "loss"] | None, Setting(
        "What makes one checkpoint better than another when save_strategy is best.",
        "Quality: the checkpoint with the lowest loss on the held-out rows is kept. tunelab compares by that loss only.",
        "eval_loss", ("save_strategy", "val_set_size"), "metric_for_best_model: eval_loss")] = None
    load_best_model_at_end: Annotated[bool | None, Setting(
        "Take the weights of the checkpoint with the lowest evaluation loss as the result, instead of the last ones.",
        "Quality: guards against overfitting. A checkpoint is then also written whenever the evaluation loss is the lowest so far, and is kept.",
        "true with early_stopping_patience", ("early_stopping_patience", "eval_steps", "save_total_limit"), "load_best_model_at_end: true")] = False
    early_stopping_patience: Annotated[int | None, Field(gt=0), Setting(
        "End the run when so many evaluations in a row were not lower than the best before them.",
        "Time, and a guard against overfitting; the result has the weights of the best checkpoint.",
        "3", ("eval_steps", "save_steps", "load_best_model_at_end", "val_set_size"), "early_stopping_patience: 3")] = None
    save_total_limit: Annotated[int | None, Field(gt=0), Setting(
        "How many checkpoints to keep; the oldest go first.", "Disk only.", "2-4", ("save_steps",))] = None
    eval_steps: Annotated[float | None, Field(gt=0), Setting(
        "Evaluate on the held-out rows every this many steps; below 1, a share of all steps.", "Time; tells overfitting from learning.",
        "every 5-10 % of the run", ("val_set_size", "eval_strategy"), "eval_steps: 50")] = None
    evals_per_epoch: Annotated[int | None, Field(gt=0), Setting(
        "Evaluations per epoch.", "As eval_steps.", "1-4", ("val_set_size", "eval_steps"), "evals_per_epoch: 2")] = None
    eval_strategy: Annotated[Strategy | None, Setting(
        "When to evaluate: no, epoch or steps.", "As eval_steps.", "epoch", ("val_set_size", "eval_steps"))] = None
    logging_steps: Annotated[int | None, Field(gt=0), Setting(
        "A line in the terminal log every this many steps; the event file always holds every step.", "None on the result.",
        "1-10", example="logging_steps: 10")] = None
    resume_from_checkpoint: Annotated[str | bool | None, Setting(
        "Go on from this checkpoint folder (true: the newest) instead of from step 0.",
        "The resumed run has the same losses as one that was never stopped.", "unset; or train --resume", ("output_dir",))] = None
    strict: Annotated[bool | None, Setting(
        "Axolotl: refuse unknown keys.", "tunelab always does.", support=Support.UNDERSTOOD)] = None
