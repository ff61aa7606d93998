"""The statistics against scipy and against known values."""

from __future__ import annotations

import random
import time

import pytest

from tunelab.comparison.statistics import (
    holm,
    mcnemar_exact,
    paired_difference_interval,
    pass_rate_difference_interval,
    prompts_for_effect,
    prompts_needed,
    sign_flip_p,
    wilson_interval,
)

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("only_base", "only_tuned"), [(0, 0), (0, 1), (0, 5), (0, 6), (3, 9), (10, 10), (40, 12), (700, 800)])
def test_mcnemar_is_the_exact_binomial_test(only_base: int, only_tuned: int) -> None:
    p = mcnemar_exact(only_base, only_tuned)
    expected = stats.binomtest(only_base, only_base + only_tuned, 0.5).pvalue if only_base + only_tuned else 1.0
    assert p == pytest.approx(expected, rel=1e-9)
    assert p == mcnemar_exact(only_tuned, only_base)


@pytest.mark.parametrize(("passed", "n"), [(0, 1), (0, 8), (8, 8), (5, 10), (37, 40), (999, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson(passed: int, n: int, level: float) -> None:
    expected = stats.binomtest(passed, n).proportion_ci(level, method="wilson")
    assert wilson_interval(passed, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("cells", "low", "high"), [
    # Method 10 of Newcombe (1998) to four places; cells are both, only first, only second, neither; the difference is first - second.
    ((36, 12, 2, 0), 0.0569, 0.3404), ((20, 12, 2, 16), 0.0562, 0.3292),
])
def test_newcombe_known_values(cells: tuple[int, int, int, int], low: float, high: float) -> None:
    both, first, second, neither = cells
    found = pass_rate_difference_interval(both, second, first, neither)
    assert found == pytest.approx((low, high), abs=5e-5)


def test_newcombe_turned_round_and_at_its_edges() -> None:
    low, high = pass_rate_difference_interval(10, 7, 3, 5)
    assert pass_rate_difference_interval(10, 3, 7, 5) == pytest.approx((-high, -low))
    assert pass_rate_difference_interval(0, 0, 0, 0) == (-1.0, 1.0)
    low, high = pass_rate_difference_interval(0, 0, 20, 0)
    assert 0.7 < low < 0.9 and high == 1.0
    low, high = pass_rate_difference_interval(8, 0, 0, 0)
    assert low < -0.3 and high > 0.3


def test_newcombe_covers_the_true_difference() -> None:
    draw = random.Random(1)
    weights, truth, n = (0.4, 0.1, 0.25, 0.25), 0.15, 40
    hits = 0
    for _ in range(1000):
        cells = draw.choices(range(4), weights, k=n)
        low, high = pass_rate_difference_interval(*(cells.count(kind) for kind in range(4)))
        hits += low <= truth <= high
    assert 0.93 <= hits / 1000 <= 0.98


def test_pass_or_fail_pairs_get_newcombes_interval() -> None:
    pairs = [(1.0, 1.0)] * 4 + [(1.0, 0.0)] * 2 + [(0.0, 1.0)] * 5 + [(0.0, 0.0)] * 3
    assert paired_difference_interval(pairs) == pass_rate_difference_interval(4, 2, 5, 3)


def test_the_bootstrap_of_scores_agrees_with_scipys() -> None:
    draw = random.Random(3)
    pairs = [(base := draw.random() * 0.6, base + draw.random() * 0.4) for _ in range(60)]
    differences = [tuned - base for base, tuned in pairs]
    expected = stats.bootstrap((differences,), lambda x, axis: x.mean(axis=axis), method="percentile", n_resamples=10_000,
                               rng=7).confidence_interval
    assert paired_difference_interval(pairs) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_the_bootstrap_is_deterministic_and_quick() -> None:
    pairs = [(index % 7 / 7, index % 5 / 5) for index in range(100)]
    started = time.perf_counter()
    first = paired_difference_interval(pairs)
    assert time.perf_counter() - started < 2  # well under a second on an idle machine
    assert first == paired_difference_interval(pairs) != paired_difference_interval(pairs, seed=1)


def test_equal_differences_do_not_collapse_to_certainty() -> None:
    low, high = paired_difference_interval([(0.25, 0.5)] * 10)
    assert low < 0.0 < 0.25 < high <= 1.0
    wide = high - low
    low, high = paired_difference_interval([(0.25, 0.5)] * 1000)
    assert 0.2 < low < 0.25 < high < 0.3 and high - low < wide
    assert paired_difference_interval([]) == (-1.0, 1.0)


def test_prompts_needed() -> None:
    assert prompts_needed(0.0, 0.0, 0.1) == 35
    assert prompts_needed(0.5, 0.0, 0.1) == 193
    low, high = wilson_interval(35, 35)
    assert high - low <= 0.1 < 1 - wilson_interval(34, 34)[0]


def test_permutation_test_counts_every_sign() -> None:
    assert sign_flip_p([0.5, 0.5, 0.5]) == 2 / 8
    assert sign_flip_p([0.5, -0.5]) == 1.0 == sign_flip_p([]) == sign_flip_p([0.0])
    many = [0.3] * 12 + [-0.2] * 10
    theirs = stats.permutation_test((many,), lambda one: sum(one), permutation_type="samples", vectorized=False, rng=1).pvalue
    assert sign_flip_p(many) == sign_flip_p(many) and abs(sign_flip_p(many) - theirs) < 0.03


def test_holm_adjusts_for_several_tasks() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def test_how_many_prompts_an_effect_needs_is_what_mcnemars_test_needs() -> None:
    """By simulation: that many prompts find the effect in about 80 of 100 comparisons."""
    n, draw = prompts_for_effect(0.2, 0.3), random.Random(1)
    found = 0
    for _ in range(400):
        wins = losses = 0
        for _ in range(n):
            roll = draw.random()
            wins += roll < 0.25
            losses += 0.25 <= roll < 0.3
        found += mcnemar_exact(losses, wins) < 0.05
    assert 0.7 < found / 400 < 0.9
    with pytest.raises(ValueError, match="0"):
        prompts_for_effect(0.0, 0.2)
