"""How sure one can be of a difference between two models that answered the same prompts. Pure functions, plain Python.

All rates and scores are shares between 0 and 1, all differences are tuned minus base.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist, fmean

Interval = tuple[float, float]


def mcnemar_exact(only_base: int, only_tuned: int) -> float:
    """Two-sided p of McNemar's exact test: could the prompts on which the sides differ have fallen as they did by a fair coin?

    `only_base` prompts were passed by the base model alone, `only_tuned` by the tuned model alone; prompts on which both agree say
    nothing about a difference. 1.0 when there are none. (McNemar 1947; the exact binomial form.)
    """
    differing = only_base + only_tuned
    tail = sum(math.comb(differing, count) for count in range(min(only_base, only_tuned) + 1))
    return min(1.0, 2 * tail / (1 << differing))


def wilson_interval(passed: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a pass rate (Wilson 1927): honest at 0 of n and n of n. (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate = passed / n
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if passed == 0 else max(0.0, middle - half)
    high = 1.0 if passed == n else min(1.0, middle + half)
    return low, high


def pass_rate_difference_interval(both: int, only_base: int, only_tuned: int, neither: int, level: float = 0.95) -> Interval:
    """Interval of the difference of two paired pass rates: method 10 of Newcombe (1998), Statistics in Medicine 17:2635-2650.

    It joins the Wilson intervals of the two rates with a corrected correlation; unlike a bootstrap it does not collapse to a point
    when every prompt falls the same way. (-1, 1) when there is no prompt.
    """
    n = both + only_base + only_tuned + neither
    if n == 0:
        return -1.0, 1.0
    tuned, base = (both + only_tuned) / n, (both + only_base) / n
    tuned_low, tuned_high = wilson_interval(both + only_tuned, n, level)
    base_low, base_high = wilson_interval(both + only_base, n, level)
    phi = _corrected_phi(both, only_base, only_tuned, neither)
    down = _joined(tuned - tuned_low, base_high - base, phi)
    up = _joined(tuned_high - tuned, base - base_low, phi)
    return max(-1.0, tuned - base - down), min(1.0, tuned - base + up)


def paired_difference_interval(pairs: Sequence[tuple[float, float]], seed: int = 42, resamples: int = 10_000,
                               level: float = 0.95) -> Interval:
    """Interval of the mean of (tuned - base) over pairs (base, tuned) of values between 0 and 1.

    Pairs of only 0 and 1 are pass or fail and get `pass_rate_difference_interval`. Other scores: percentile bootstrap over prompts
    (Efron 1979), deterministic for a seed. When all differences are equal, resampling would claim certainty; then up to a share q of
    prompts could differ and have stayed unseen, q being Clopper and Pearson's bound for 0 of n, and the interval allows for them.
    """
    if not pairs:
        return -1.0, 1.0
    if all(value in (0, 1) for pair in pairs for value in pair):
        both, only_base, only_tuned, neither = (sum(pair == kind for pair in pairs) for kind in ((1, 1), (1, 0), (0, 1), (0, 0)))
        return pass_rate_difference_interval(both, only_base, only_tuned, neither, level)
    differences = [tuned - base for base, tuned in pairs]
    n = len(differences)
    if max(differences) - min(differences) < 1e-12:
        unseen = 1 - ((1 - level) / 2) ** (1 / n)
        return differences[0] - unseen * (1 + differences[0]), differences[0] + unseen * (1 - differences[0])
    draw = random.Random(seed)
    means = sorted(fmean(draw.choices(differences, k=n)) for _ in range(resamples))
    cut = (1 - level) / 2 * (resamples - 1)
    return means[round(cut)], means[round(resamples - 1 - cut)]


def prompts_needed(disagreement: float, difference: float, margin: float, level: float = 0.95) -> int:
    """About how many prompts narrow the interval of a difference to +/- `margin`, at this share of prompts on which the sides differ.

    From the variance of a paired difference, (disagreement - difference^2) / n; never fewer than it takes when all prompts agree,
    where Wilson's interval of n of n has the width z^2 / (n + z^2).
    """
    z_squared = NormalDist().inv_cdf((1 + level) / 2) ** 2
    all_agree = z_squared * (1 - margin) / margin
    spread = z_squared * max(0.0, disagreement - difference * difference) / (margin * margin)
    return math.ceil(max(all_agree, spread))


def sign_flip_p(differences: Sequence[float], seed: int = 42, draws: int = 20_000) -> float:
    """Two-sided p of the paired permutation test (Fisher 1935): were the sides the same, each difference could as well have the other sign.

    All sign patterns are counted up to 14 differences that are not 0; beyond, `draws` of them, deterministic for a seed.
    """
    moved = [one for one in differences if abs(one) > 1e-12]
    if not moved:
        return 1.0
    seen = abs(sum(moved)) - 1e-9
    if len(moved) <= 14:
        extreme = sum(abs(sum(one if mask >> index & 1 else -one for index, one in enumerate(moved))) >= seen for mask in range(1 << len(moved)))
        return extreme / (1 << len(moved))
    draw = random.Random(seed)
    extreme = sum(abs(sum(one if draw.random() < 0.5 else -one for one in moved)) >= seen for _ in range(draws))
    return (extreme + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for being several (Holm 1979): step down, never smaller than one before. Same order as given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted


def prompts_for_effect(effect: float, disagreement: float, level: float = 0.95, power: float = 0.8) -> int:
    """About how many prompts McNemar's test needs to see a difference of pass rates of `effect` with this power, when the sides differ on a
    share `disagreement` of the prompts (Connor 1987, Biometrics 43:207-211). The effect cannot be larger than the disagreement.

    Raises ValueError for an effect of 0.
    """
    if effect == 0:
        raise ValueError("no number of prompts shows a difference of 0")
    share, size = max(disagreement, abs(effect)), abs(effect)
    z_level, z_power = NormalDist().inv_cdf((1 + level) / 2), NormalDist().inv_cdf(power)
    return math.ceil((z_level * math.sqrt(share) + z_power * math.sqrt(max(0.0, share - size * size))) ** 2 / (size * size))


def _corrected_phi(both: int, only_base: int, only_tuned: int, neither: int) -> float:
    """Newcombe's phi: the correlation of the two outcomes, pulled towards 0 by half a prompt where it is positive."""
    margins = (both + only_base) * (only_tuned + neither) * (both + only_tuned) * (only_base + neither)
    if margins == 0:
        return 0.0
    product = both * neither - only_base * only_tuned
    half = (both + only_base + only_tuned + neither) / 2
    corrected = max(0.0, product - half) if product > 0 else product
    return corrected / math.sqrt(margins)


def _joined(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))
