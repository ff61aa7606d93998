"""The schedules: those of Axolotl against numbers that its own classes gave, and what a following rate does with evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.planning.cases import read

from tunelab.planning.rate import Rate
from tunelab.planning.schedules import OPTIONS, SCHEDULES, Course, course_of

# 20 steps, 4 of warm-up, rate 0.001: the share of the rate before each step, from Axolotl 0.21.0's schedulers and torch's OneCycleLR.
AXOLOTL = {
    "lr_scheduler: rex": [0.25, 0.5, 0.75, 1.0, 0.9933774834, 0.985915493, 0.977443609, 0.9677419355, 0.9565217391, 0.9433962264, 0.9278350515,
                          0.9090909091, 0.8860759494, 0.8571428571, 0.8196721311, 0.7692307692, 0.6976744186, 0.5882352941, 0.4, 0.0],
    "lr_scheduler: rex\ncosine_min_lr_ratio: 0.1": [
        0.25, 0.5, 0.75, 1.0, 0.9940397351, 0.9873239437, 0.9796992481, 0.9709677419, 0.9608695652, 0.9490566038, 0.9350515464, 0.9181818182,
        0.8974683544, 0.8714285714, 0.837704918, 0.7923076923, 0.7279069767, 0.6294117647, 0.46, 0.1],
    "lr_quadratic_warmup: true": [
        0.0, 0.0625, 0.25, 0.5625, 1.0, 0.9903926402, 0.9619397663, 0.9157348062, 0.8535533906, 0.7777851165, 0.6913417162, 0.597545161, 0.5,
        0.402454839, 0.3086582838, 0.2222148835, 0.1464466094, 0.0842651938, 0.0380602337, 0.0096073598],
    "cosine_min_lr_ratio: 0.1": [
        0.0, 0.25, 0.5, 0.75, 1.0, 0.9913533762, 0.9657457896, 0.9241613255, 0.8681980515, 0.8000066049, 0.7222075446, 0.6377906449, 0.55,
        0.4622093551, 0.3777924554, 0.2999933951, 0.2318019485, 0.1758386745, 0.1342542104, 0.1086466238],
    "cosine_min_lr_ratio: 0.1\ncosine_constant_lr_ratio: 0.8": [
        0.0, 0.25, 0.5, 0.75, 1.0, 0.9846666218, 0.9397114317, 0.8681980515, 0.775, 0.6664685703, 0.55, 0.4335314297, 0.325, 0.2318019485,
        0.1602885683, 0.1153333782, 0.1, 0.1, 0.1, 0.1],
    "cosine_min_lr_ratio: 0.1\njagged_restart_steps: 6\njagged_restart_warmup_steps: 2\njagged_restart_anneal_steps: 2": [
        0.25, 0.5, 0.75, 1.0, 0.5452443569, 0.096574579, 0.508288729, 0.8681980515, 0.8000066049, 0.7222075446, 0.3507848547, 0.055, 0.2542151453,
        0.3777924554, 0.2999933951, 0.2318019485, 0.096711271, 0.013425421, 0.0597556431, 0.1],
    "jagged_restart_steps: 12": [
        0.25, 0.5, 0.75, 1.0, 0.9903926402, 0.9619397663, 0.9157348062, 0.8535533906, 0.7777851165, 0.6913417162, 0.597545161, 0.0005, 0.0406076933,
        0.0619785834, 0.0668200155, 0.0586665117, 0.0421747295, 0.0228513643, 0.0067280341, 0.0],
    "lr_scheduler: rex\njagged_restart_steps: 6\njagged_restart_warmup_steps: 2\njagged_restart_anneal_steps: 2": [
        0.5, 0.75, 1.0, 0.4971854305, 0.0009859155, 0.4892105263, 0.9677419355, 0.9565217391, 0.9433962264, 0.4643814433, 0.0009090909, 0.4434810127,
        0.8571428571, 0.8196721311, 0.7692307692, 0.3491860465, 0.0005882353, 0.2002, 0.0, 0.0],
}
ONE_CYCLE = [0.04, 0.28, 0.76, 1.0, 0.9914865839, 0.9662362498, 0.9251088674, 0.8695049806, 0.8013181129, 0.7228702864, 0.6368329477, 0.5461359952,
             0.4538680048, 0.3631710523, 0.2771337136, 0.1986858871, 0.1304990194, 0.0748951326, 0.0337677502, 0.0085174161]


@pytest.mark.parametrize("text", AXOLOTL)
def test_axolotls_own_schedules_step_by_step(text: str, tmp_path: Path) -> None:
    course = course_of(read(tmp_path, text + "\nlearning_rate: 0.001").optimisation, 4, 20)
    assert [course.share(step) for step in range(20)] == pytest.approx(AXOLOTL[text], abs=1e-9)


def test_one_cycle_moves_rate_and_momentum_against_each_other() -> None:
    course = Course("one_cycle", 4, 21, 1e-3)
    assert [course.share(step) for step in range(20)] == pytest.approx(ONE_CYCLE, abs=1e-9)
    momenta = [course.momentum(step) for step in range(20)]
    assert momenta[:5] == pytest.approx([0.95, 0.925, 0.875, 0.85, 0.850851345])
    assert Course("one_cycle", 4, 21, 1e-3, {"cycle_momentum": False}).momentum(3) is None and Course("cosine", 4, 21, 1e-3).momentum(3) is None


def test_every_schedule_of_the_dialect_has_a_formula_and_a_list_of_options() -> None:
    from tunelab.config.known import names
    from tunelab.config.sections.optimisation import Scheduler

    assert set(names("lr_scheduler")) == set(Scheduler.__args__) == set(OPTIONS) == set(SCHEDULES) - {  # type: ignore[attr-defined]
        "cosine_with_floor", "cosine_with_quadratic_warmup"}


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(("warmup", "total"), [(0, 0), (0, 1), (1, 1), (5, 3), (10, 10)])
def test_odd_lengths_give_rates_all_the_same(name: str, warmup: int, total: int) -> None:
    course = Course(name, warmup, total, 1e-3, {"floor": 0.1, "until": 0.5})
    assert all(0 <= course.share(step) <= 1 for step in range(total + 1))


def test_a_plateau_lowers_the_rate_and_the_memory_of_it_is_json() -> None:
    course = Course("reduce_lr_on_plateau", 0, 100, 1e-3, {"patience": 1, "factor": 0.5, "cooldown": 1, "min_lr": 1e-4})
    rate, told = Rate(course), []
    for loss in (2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.5, 1.5, 1.5, 1.5):
        rate.observe(loss)
        told.append(rate.at(5))
    assert told == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 2.5e-4, 1.25e-4, 1.25e-4, 1.25e-4])
    again = Rate(course)
    again.restore(json.loads(json.dumps(rate.state())))
    for loss in (1.5, 1.5, 1.5):
        rate.observe(loss)
        again.observe(loss)
        assert again.at(7) == rate.at(7)
    assert rate.at(7) == pytest.approx(1e-4) and Rate(Course("cosine", 0, 10, 1.0)).state() == {}
