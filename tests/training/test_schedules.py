"""Every schedule of transformers step by step, and the two that follow the evaluation loss, against the library's own."""

from __future__ import annotations

import json
import random
import warnings
from typing import Any

import pytest
import torch
from transformers.optimization import get_scheduler
from transformers.trainer_utils import SchedulerType

from tunelab.planning.rate import Rate
from tunelab.planning.schedules import FOLLOWING, Course

CASES: list[tuple[str, dict[str, Any]]] = [
    *((one.value, {}) for one in SchedulerType if one.value not in (*FOLLOWING, "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay")),
    ("cosine", {"num_cycles": 1.3}), ("cosine_with_restarts", {"num_cycles": 3}), ("polynomial", {"power": 2.0, "lr_end": 1e-5}),
    ("inverse_sqrt", {"timescale": 9}), ("cosine_with_min_lr", {"min_lr": 2e-4}), ("cosine_with_min_lr", {"min_lr_rate": 0.3, "num_cycles": 0.7}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1}), ("cosine_warmup_with_min_lr", {"min_lr": 1e-4, "warmup_lr_rate": 0.2}),
    ("warmup_stable_decay", {"num_decay_steps": 8}), ("warmup_stable_decay", {"num_decay_steps": 8, "num_stable_steps": 10, "min_lr_ratio": 0.1}),
    *(("warmup_stable_decay", {"num_decay_steps": 8, "warmup_type": kind, "decay_type": kind, "min_lr_ratio": 0.1})
      for kind in ("linear", "cosine", "1-sqrt"))]


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(("warmup", "total"), [(0, 30), (5, 30), (7, 31)])
def test_each_step_has_the_rate_of_transformers(name: str, options: dict[str, Any], warmup: int, total: int) -> None:
    course = Course(name, 0 if name == "constant" else warmup, total, 1e-3, options)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = get_scheduler(name, optimizer, warmup, total, options)
        for step in range(total + 2):
            assert 1e-3 * course.share(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12, abs=1e-15), step
            optimizer.step()
            theirs.step()


@pytest.mark.parametrize("options", [{}, {"anneal_strategy": "linear", "pct_start": 0.4}, {"three_phase": True, "pct_start": 0.3, "div_factor": 10.0}])
def test_one_cycle_is_torchs(options: dict[str, Any]) -> None:
    course = Course("one_cycle", 6, 30, 1e-3, options)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=30, **{"pct_start": 6 / 30, "anneal_strategy": "cos", **options})
    for step in range(30):
        group = optimizer.param_groups[0]
        assert (1e-3 * course.share(step), course.momentum(step)) == pytest.approx((group["lr"], group["betas"][0]), rel=1e-12)
        optimizer.step()
        if step < 29:
            theirs.step()


@pytest.mark.parametrize(("name", "options"), [
    ("reduce_lr_on_plateau", {}), ("reduce_lr_on_plateau", {"patience": 2, "cooldown": 3, "factor": 0.5, "threshold_mode": "abs", "threshold": 0.01}),
    ("reduce_lr_on_plateau", {"mode": "max", "patience": 1, "min_lr": 1e-4}), ("greedy", {}),
    ("greedy", {"patience": 1, "min_lr": 1e-4, "max_lr": 1e-2, "factor": 0.7, "cooldown": 1, "warmup": 2}),
    ("greedy", {"patience": 1, "min_lr": 5e-4, "smooth": True, "window_size": 4, "reset_start": 3, "mode": "max", "threshold_mode": "rel"})])
def test_what_follows_the_evaluation_loss_follows_it_as_the_library_does(name: str, options: dict[str, Any]) -> None:
    draw = random.Random(5)
    losses = [3.0 * 0.97**n + draw.uniform(-0.2, 0.2) for n in range(60)] + [1.0] * 40 + [1.0 - 0.01 * n for n in range(40)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs, rate = get_scheduler(name, optimizer, 0, 100, options), Rate(Course(name, 0, 100, 1e-3, options))
    for number, loss in enumerate(losses):
        theirs.step(loss)
        rate.observe(loss)
        assert rate.at(number) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), number
        again = Rate(Course(name, 0, 100, 1e-3, options))
        again.restore(json.loads(json.dumps(rate.state())))
        rate = again
