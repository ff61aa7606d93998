"""From files to the order of the samples: equal to Axolotl 0.21 with the same seed, for every reference result that is about rows.

The references about bins and padded batches are not here: rows are packed another way (fuller, and nothing is left out), and a micro-batch
is laid end to end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tunelab.config import Config
from tunelab.data.packing import PackingLimits, pack
from tunelab.data.prepare import Prepared, prepare
from tunelab.data.sample import IGNORE
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import DataError

FIRST, SECOND = list(range(20)), list(range(100, 105))
SEEDS = pytest.mark.parametrize("seed", [42, 7])


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    path = Path(__file__).parents[4] / "shared" / "axolotl" / "golden.json"
    if not path.is_file():
        pytest.skip("the reference facts (../shared/axolotl) are not here")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["pipeline"]
    return found


@pytest.fixture
def run(make_config: Callable[..., Config], tokenizer: TextTokenizer, tmp_path: Path) -> Callable[..., Prepared]:
    """Prepare rows of token ids, given per dataset; a row is (ids, how many of them carry no loss)."""

    def run(*datasets: Sequence[tuple[list[int], int]], each: dict[str, Any] | None = None, **keys: Any) -> Prepared:
        entries = []
        for number, rows in enumerate(datasets):
            path = tmp_path / f"{number}.jsonl"
            path.write_text("".join(json.dumps({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [IGNORE] * masked + ids[masked:]})
                                    + "\n" for ids, masked in rows), encoding="utf-8")
            entries.append({"path": str(path), **(each or {})})
        return prepare(make_config(entries, **keys), tokenizer)

    return run


def numbered(numbers: Sequence[int]) -> list[tuple[list[int], int]]:
    return [([1, number + 3], 1) for number in numbers]


def order(samples: Sequence[Any]) -> list[int]:
    return [sample.input_ids[1] - 3 for sample in samples]


@SEEDS
def test_order(run: Callable[..., Prepared], golden: dict[str, Any], seed: int) -> None:
    one, two = numbered(FIRST), numbered(SECOND)
    assert order(run(one, seed=seed).train) == golden[f"shuffle_one_seed{seed}"]
    assert order(run(one, two, seed=seed).train) == golden[f"shuffle_two_seed{seed}"]
    assert order(run(one, two, seed=seed, shuffle_before_merging_datasets=True).train) == golden[f"shuffle_before_two_seed{seed}"]
    assert order(run(one, two, seed=seed, shuffle_merged_datasets=False).train) == golden["no_shuffle"]


@SEEDS
def test_choice(run: Callable[..., Prepared], golden: dict[str, Any], seed: int) -> None:
    def chosen(**options: Any) -> list[int]:
        return order(run(numbered(FIRST), each=options, seed=seed, shuffle_merged_datasets=False).train)

    assert chosen(shards=4) == chosen(shards=4, shards_idx=0) == golden[f"shards4_idx0_seed{seed}"]
    assert chosen(weight=0.25) == golden[f"weight0.25_seed{seed}"]
    assert chosen(preprocess_shards=3) == golden[f"shuffle_one_seed{seed}"]
    assert sorted(row for index in range(3) for row in chosen(shards=3, shards_idx=index)) == FIRST
    assert len(chosen(weight=0.001)) == 1 and chosen(weight=1.0) == FIRST


@SEEDS
def test_split(run: Callable[..., Prepared], golden: dict[str, Any], seed: int) -> None:
    prepared = run(numbered(FIRST), seed=seed, val_set_size=0.1)
    assert {"train": order(prepared.train), "eval": order(prepared.held_out)} == golden[f"split_0.1_seed{seed}"]


LENGTHS = [5, 17, 3, 9, 1, 16, 2, 12, 4, 4, 7, 20]


def lengthy() -> list[tuple[list[int], int]]:
    """The rows of the references: number 3 has no label."""
    return [([100 + number] * length, length if number == 3 else 1) for number, length in enumerate(LENGTHS)]


def test_length(run: Callable[..., Prepared], golden: dict[str, Any]) -> None:
    def lengths(strategy: str) -> tuple[list[int], Prepared]:
        prepared = run(lengthy(), sequence_len=16, excess_length_strategy=strategy, shuffle_merged_datasets=False)
        return prepared.train.lengths().tolist(), prepared  # type: ignore[attr-defined]

    # A row without a label has no place in the loss; it is left out here without packing too.
    kept, prepared = lengths("drop")
    assert kept == [length for place, length in enumerate(golden["long_drop_16"]) if place != 2]
    assert (prepared.counts.too_long, prepared.counts.too_short, prepared.counts.without_label) == (2, 1, 1)
    rows = golden["packing_rows_after_filters"]
    assert [(list(one.input_ids), list(one.labels)) for one in prepared.train] == [(row["input_ids"], row["labels"]) for row in rows]
    kept, prepared = lengths("truncate")
    assert kept == [length for place, length in enumerate(golden["long_truncate_16"]) if place != 3]
    assert [origin.row for origin in prepared.counts.examples_truncated] == [2, 12] and prepared.counts.truncated == 2
    assert "17 tokens" in golden["long_raise_16"]
    with pytest.raises(DataError, match="17 tokens") as error:
        lengths("raise")
    assert str(error.value.where).endswith("0.jsonl:2") and "sequence_len to 17" in str(error.value.next_step)


def test_rows_in_order(golden: dict[str, Any]) -> None:
    """Next fit is the same function of an order that is drawn another way, so the reference's order is undone."""
    reference = golden["bins_mb1_sequential"]
    drawn = [row[0] for row in pack([1] * len(reference["lengths"]), 1, 0, 0, PackingLimits(in_order=True))]
    lengths = [0] * len(drawn)
    for place, index in enumerate(drawn):
        lengths[index] = reference["lengths"][place]
    rows = pack(lengths, 16, 0, 0, PackingLimits(in_order=True))
    assert [[[drawn.index(index) for index in row]] for row in rows] == reference["batches"]
