"""Packing loses and doubles nothing, keeps the capacity, and says where each sample begins."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelab.data.packing import PackingLimits, fewest_rows, pack, plan_epoch
from tunelab.data.sample import IGNORE, Origin, Sample

LENGTHS = st.lists(st.integers(1, 64), max_size=200)


def sample(*ids: int, trained: bool = True) -> Sample:
    return Sample(ids, ids if trained else (IGNORE,) * len(ids), Origin(0, "x", 1))


@given(LENGTHS, st.integers(64, 200), st.integers(0, 2**32 - 1), st.integers(0, 20))
def test_packing_is_a_partition_within_the_capacity(lengths: list[int], capacity: int, seed: int, epoch: int) -> None:
    rows = pack(lengths, capacity, seed, epoch)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(row and sum(lengths[index] for index in row) <= capacity for row in rows)
    # No two rows would fit into one, so at most one is half empty.
    assert len(rows) <= 2 * sum(lengths) / capacity + 1
    assert rows == pack(lengths, capacity, seed, epoch)


def test_a_full_row_is_found_when_there_is_one() -> None:
    rows = pack([7, 3, 6, 4, 5, 5], 10, seed=1, epoch=0)
    assert len(rows) == 3


def test_epochs_and_seeds_differ() -> None:
    lengths = [1 + index % 40 for index in range(200)]
    assert len({str(pack(lengths, 64, seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


SHAREGPT = (8, 129, 229, 305, 371, 443, 523, 608, 693, 777, 881, 994, 1112, 1239, 1366, 1500, 1631, 1766, 1894, 1985, 2048)
"""Twentieths of the lengths of real conversations (ShareGPT, with the tokenizer of SmolLM2) of at most 2048 tokens."""


@pytest.mark.parametrize("capacity", [2048, 3072, 4096, 8192, 16384])
def test_rows_are_full(capacity: int) -> None:
    places = np.random.default_rng(1).random(10_000) * (len(SHAREGPT) - 1)
    lengths = np.interp(places, range(len(SHAREGPT)), SHAREGPT).astype(int).tolist()
    rows = pack(lengths, capacity, 42, 0)
    assert -(-sum(lengths) // capacity) / len(rows) >= 0.995


@given(LENGTHS, st.integers(64, 100))
def test_no_packing_has_fewer_rows_than_the_bound(lengths: list[int], capacity: int) -> None:
    bound = fewest_rows(lengths, capacity)
    assert -(-sum(lengths) // capacity) <= bound <= len(pack(lengths, capacity, 0, 0)) <= 2 * bound


def test_the_bound_knows_rows_that_cannot_be_shared() -> None:
    assert fewest_rows([6] * 5, 10) == 5
    assert fewest_rows([6] * 5 + [4] * 5, 10) == 5
    assert fewest_rows([7, 7, 4], 10) == 3
    assert fewest_rows([], 10) == 0


@given(LENGTHS, st.integers(1, 6), st.integers(1, 50), st.booleans())
def test_limits_are_kept(lengths: list[int], most: int, group: int, in_order: bool) -> None:
    rows = pack(lengths, 64, 5, 2, PackingLimits(most, group, in_order))
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 64 for row in rows)
    drawn = np.random.default_rng([5, 2]).permutation(len(lengths)).tolist()
    assert all(len({drawn.index(index) // group for index in row}) == 1 for row in rows)
    if in_order:
        assert [index for row in rows for index in row] == drawn
    else:
        assert all(len(row) <= most for row in rows)


@pytest.mark.parametrize("length", [0, 11])
def test_a_length_that_cannot_be_packed_is_our_bug(length: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 10"):
        pack([5, length], 10, 0, 0)


def test_a_hundred_thousand_rows_take_seconds_at_most() -> None:
    lengths = np.random.default_rng(0).integers(1, 2048, 100_000).tolist()
    start = time.perf_counter()
    rows = pack(lengths, 8192, 1, 0)
    assert time.perf_counter() - start < 5  # measured 0.5 s; the bound is for busy machines
    assert len(rows) <= 1.01 * sum(lengths) / 8192


@given(LENGTHS, st.booleans(), st.integers(1, 5))
def test_an_epoch_holds_every_sample_once(lengths: list[int], packing: bool, micro: int) -> None:
    batches = plan_epoch(lengths, packing=packing, sequence_len=64, micro_batch_size=micro, seed=3, epoch=1)
    assert sorted(index for rows in batches for row in rows for index in row) == list(range(len(lengths)))
    assert all(len(rows) == micro for rows in batches[:-1])
    assert not batches or 1 <= len(batches[-1]) <= micro
    assert packing or all(len(row) == 1 for rows in batches for row in rows)
