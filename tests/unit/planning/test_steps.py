"""Steps, epochs, warm-up, schedules, and when a run saves, evaluates and logs."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from tests.unit.planning.cases import read

from tunelab.planning.steps import StepPlan, plan_steps


def planned(folder: Path, text: str, batches: list[int] | int = 30, rows: int = 100) -> StepPlan:
    return plan_steps(read(folder, text), rows, batches)


def test_the_last_group_of_an_epoch_may_be_smaller(tmp_path: Path) -> None:
    plan = planned(tmp_path, "gradient_accumulation_steps: 4\nnum_epochs: 2", 30)
    assert (plan.steps_per_epoch, plan.epoch_ends, plan.total) == ((8, 8), (8, 16), 16)


def test_epochs_may_differ_and_the_last_known_one_repeats(tmp_path: Path) -> None:
    plan = planned(tmp_path, "num_epochs: 4", [10, 11, 9])
    assert plan.steps_per_epoch == (10, 11, 9, 9)


@pytest.mark.parametrize(("epochs", "steps"), [("0.1", (3,)), ("0.5", (15,)), ("1.25", (30, 8)), ("0.001", (1,)), ("2", (30, 30))])
def test_a_fraction_of_an_epoch_is_rounded_up(epochs: str, steps: tuple[int, ...], tmp_path: Path) -> None:
    assert planned(tmp_path, f"num_epochs: {epochs}").steps_per_epoch == steps


def test_max_steps_cuts_and_never_lengthens(tmp_path: Path) -> None:
    assert planned(tmp_path, "num_epochs: 3\nmax_steps: 40").steps_per_epoch == (30, 10)
    assert planned(tmp_path, "num_epochs: 3\nmax_steps: 60").steps_per_epoch == (30, 30)
    assert planned(tmp_path, "num_epochs: 1\nmax_steps: 400").total == 30


def test_no_batches_make_no_steps(tmp_path: Path) -> None:
    plan = planned(tmp_path, "num_epochs: 2", 0)
    assert (plan.total, plan.save_steps, plan.warmup) == (0, (), 0)


@pytest.mark.parametrize(("text", "steps"), [
    ("", 6), ("warmup_steps: 0", 0), ("warmup_steps: 17", 17), ("warmup_ratio: 0.1", 20), ("warmup_ratio: 0.0", 0),
    ("lr_scheduler: constant\nwarmup_steps: 5", 0), ("lr_scheduler: constant_with_warmup", 6)])
def test_warm_up_as_written_or_three_percent(text: str, steps: int, tmp_path: Path) -> None:
    assert planned(tmp_path, text, 200).warmup == steps


def test_the_default_warm_up_ends_at_a_hundred_steps(tmp_path: Path) -> None:
    assert planned(tmp_path, "", 5000).warmup == 100


@pytest.mark.parametrize(("text", "steps"), [
    ("num_epochs: 3", (30, 60, 90)),
    ("save_strategy: epoch\nnum_epochs: 2", (30, 60)),
    ("save_strategy: 'no'", ()),
    ("save_steps: 12", (12, 24, 30)),
    ("save_steps: 0.25\nnum_epochs: 2", (15, 30, 45, 60)),
    ("save_steps: 500", (30,)),
    ("saves_per_epoch: 2\nnum_epochs: 2", (15, 30, 45, 60)),
    ("saves_per_epoch: 1", (30,)),
    ("saves_per_epoch: 4\nmax_steps: 10", (3, 5, 8, 10)),
    ("save_strategy: steps\nsave_steps: 20", (20, 30))])
def test_checkpoints(text: str, steps: tuple[int, ...], tmp_path: Path) -> None:
    plan = planned(tmp_path, text)
    assert plan.save_steps == steps
    assert all(plan.is_save(step) for step in steps) and not plan.is_save(1)


@pytest.mark.parametrize(("text", "steps"), [
    ("", ()), ("eval_strategy: 'no'", ()), ("eval_strategy: epoch\nnum_epochs: 2", (30, 60)), ("eval_steps: 20", (20, 30)),
    ("evals_per_epoch: 3", (10, 20, 30)), ("eval_strategy: steps\nlogging_steps: 14", (14, 28, 30)), ("eval_steps: 0.5", (15, 30))])
def test_evaluations(text: str, steps: tuple[int, ...], tmp_path: Path) -> None:
    assert planned(tmp_path, f"val_set_size: 0.1\n{text}").eval_steps == steps


def test_nothing_is_evaluated_without_held_out_rows(tmp_path: Path) -> None:
    assert planned(tmp_path, "eval_steps: 10").eval_steps == ()
    config = read(tmp_path, "val_set_size: 0.001\neval_steps: 10")
    assert plan_steps(config, 100, 30, held_out=0).eval_steps == ()
    assert plan_steps(config, 100, 30, held_out=1).eval_steps == (10, 20, 30)


def test_the_best_checkpoint_has_no_fixed_steps(tmp_path: Path) -> None:
    plan = planned(tmp_path, "save_strategy: best\nval_set_size: 0.1\neval_steps: 10")
    assert plan.keeps_best and not plan.loads_best and plan.save_steps == ()


def test_patience_counts_evaluations_without_a_lower_loss(tmp_path: Path) -> None:
    plan = planned(tmp_path, "early_stopping_patience: 2\nval_set_size: 0.1\neval_steps: 10\nsave_steps: 10")
    assert plan.loads_best and plan.keeps_best
    assert not plan.out_of_patience({})
    assert not plan.out_of_patience({10: 1.0, 20: 1.2})
    assert plan.out_of_patience({10: 1.0, 20: 1.2, 30: 1.0})  # as low is not lower
    assert not plan.out_of_patience({10: 1.0, 20: 1.2, 30: 0.9, 40: 1.3})
    assert plan.out_of_patience({30: 0.9, 50: 0.91, 40: 1.3, 10: 1.0, 20: 1.2})
    assert not planned(tmp_path, "early_stopping_patience: 0\nval_set_size: 0.1\neval_steps: 10\nsave_steps: 10").loads_best


@pytest.mark.parametrize(("batches", "every"), [(30, 1), (400, 2), (5000, 10)])
def test_the_log_has_at_most_a_line_per_half_percent(batches: int, every: int, tmp_path: Path) -> None:
    plan = planned(tmp_path, "", batches)
    assert plan.logging_every == every
    assert plan.is_logged(1) and plan.is_logged(batches)


@pytest.mark.parametrize("name", ["linear", "cosine", "cosine_with_min_lr", "constant", "constant_with_warmup", "polynomial"])
def test_every_schedule_starts_at_zero_warms_up_evenly_and_stays_within_its_peak(name: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, f"lr_scheduler: {name}\nwarmup_steps: 10\nlearning_rate: 0.001", 100)
    rates = [plan.lr_at(step) for step in range(plan.total + 1)]
    assert max(rates) == pytest.approx(0.001) and min(rates) >= 0
    if name != "constant":
        assert rates[:11] == pytest.approx([0.0001 * step for step in range(11)])
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))


def test_schedules_end_where_they_should(tmp_path: Path) -> None:
    def end(name: str) -> float:
        return planned(tmp_path, f"lr_scheduler: {name}\nlearning_rate: 0.001", 100).lr_at(100)

    assert end("linear") == 0 and end("cosine") == pytest.approx(0, abs=1e-12)
    assert end("cosine_with_min_lr") == pytest.approx(0.0001)
    assert end("polynomial") == pytest.approx(1e-7)
    assert end("constant") == end("constant_with_warmup") == 0.001


def test_the_middle_of_each_schedule(tmp_path: Path) -> None:
    def middle(name: str) -> float:
        return planned(tmp_path, f"lr_scheduler: {name}\nwarmup_steps: 20", 120).multiplier_at(45)

    assert middle("linear") == pytest.approx(0.75)
    assert middle("cosine") == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert middle("cosine_with_min_lr") == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert middle("polynomial") == pytest.approx(0.75, abs=1e-3)


def test_a_warm_up_longer_than_the_run_only_rises(tmp_path: Path) -> None:
    plan = planned(tmp_path, "warmup_steps: 50", 10)
    assert [plan.multiplier_at(step) for step in (0, 5, 9)] == pytest.approx([0, 0.1, 0.18])
