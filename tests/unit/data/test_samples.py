"""Samples in arrays are the samples they were made of, whatever their labels, and cost little memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelab.data.sample import IGNORE, Origin, Sample
from tunelab.data.samples import encode, join


def sample(pairs: list[tuple[int, int]], row: int, file: str = "a") -> Sample:
    return Sample(tuple(token for token, _ in pairs), tuple(label for _, label in pairs), Origin(row % 3, file, row))


LABELS = st.one_of(st.just(IGNORE), st.just(-1), st.integers(0, 9))
ROWS = st.lists(st.lists(st.integers(0, 9).flatmap(lambda token: st.tuples(st.just(token), st.one_of(st.just(token), LABELS))), max_size=6), max_size=8)


@given(ROWS, st.integers(0, 8))
def test_there_and_back(rows: list[list[tuple[int, int]]], border: int) -> None:
    samples = [sample(pairs, number, f"file {number % 2}") for number, pairs in enumerate(rows)]
    for whole in (encode(samples), join([encode(samples[:border]), encode(samples[border:])])):
        assert list(whole) == samples == [whole[index] for index in range(len(samples))]
        assert whole == samples and len(whole) == len(samples)
        assert whole.lengths().tolist() == [len(one.input_ids) for one in samples]
        assert whole.supervised().tolist() == [one.supervised for one in samples]
        same = {(one.input_ids, one.labels): whole.raw(index) for index, one in enumerate(samples)}
        assert len(set(same.values())) == len(same)


def test_a_part_and_another_order() -> None:
    samples = [sample([(number, number)] * (number + 1), number) for number in range(6)]
    whole = encode(samples)
    assert list(whole[2:4]) == samples[2:4] and whole[-1] == samples[-1] and list(whole[::-1]) == samples[::-1]
    assert list(whole.select([4, 1])) == [samples[4], samples[1]] and list(whole.select([4, 1, 0])[1:]) == [samples[1], samples[0]]
    assert whole != samples[:-1] and whole != 7
    with pytest.raises(IndexError):
        whole[6]


def test_four_bytes_a_token() -> None:
    whole = encode([sample([(70_000, 70_000), (5, IGNORE)] * 500, 1)])
    assert whole.tokens.nbytes == 4000 and not len(whole.odd_at)


@given(ROWS, ROWS)
def test_the_digest_tells_ids_labels_and_order_and_nothing_else(rows: list[list[tuple[int, int]]], others: list[list[tuple[int, int]]]) -> None:
    one, other = ([sample(pairs, number) for number, pairs in enumerate(part)] for part in (rows, others))
    alone, behind = encode(one), join([encode(other), encode(one)])[len(other):]
    assert alone.digest() == behind.digest() == encode([sample(pairs, 7, "b") for pairs in rows]).digest()
    same = [(each.input_ids, each.labels) for each in one] == [(each.input_ids, each.labels) for each in other]
    assert (alone.digest() == encode(other).digest()) == same
    assert (alone[::-1].digest() == alone.digest()) == (rows == rows[::-1])


def test_the_digest_reads_many_tokens_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = encode([sample([(number, number)] * 700, number) for number in range(9)])
    monkeypatch.setattr("tunelab.data.samples._BLOCK", 1500)
    assert [list(block) for block in samples._blocks()] == [[0, 2], [2, 4], [4, 6], [6, 8], [8, 9]]
    assert samples.digest() != samples.select([0, 1, 2, 3, 4, 5, 6, 8, 7]).digest()
