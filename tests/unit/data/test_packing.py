"""Packing loses and doubles nothing, keeps the capacity, and says where each sample begins."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelab.data.packing import pack, plan_epoch
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
