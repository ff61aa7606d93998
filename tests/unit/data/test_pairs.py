"""Rows of preference methods: tokens, what is left out or cut, the split, the cache, the gate, and what a preview says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.preferences import METHODS, pair_rows, rows_of

from tunelab.config import Config
from tunelab.data.formats.preference import LOADERS
from tunelab.data.gate import gate, pairs_found, stopping
from tunelab.data.pair_preview import pair_statistics
from tunelab.data.pairs import pairs
from tunelab.data.prepare import prepare
from tunelab.data.tokenizer import TextTokenizer
from tunelab.data.type_names import PREFERENCE_TYPES
from tunelab.errors import DataError

Prepare = Callable[..., Config]


@pytest.fixture
def config_of(make_config: Callable[..., Config], lines: Callable[[list[Any]], Path]) -> Prepare:
    def make(method: str, rows: list[Any] | None = None, **keys: Any) -> Config:
        settings = dict(METHODS[method])
        return make_config([{"path": str(lines(rows or rows_of(method))), "type": settings.pop("type")}],
                           **{"sequence_len": 96, "micro_batch_size": 2, **settings, **keys})

    return make


def test_the_names_of_types_are_those_that_are_read() -> None:
    for method, names in PREFERENCE_TYPES.items():
        if method != "reward":
            types = LOADERS[method if method in ("kto", "orpo") else "dpo"]
            assert set(names) == {*types, *(name.removesuffix(".default") for name in types)}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_row_is_two_samples_and_is_split_and_kept_as_one(method: str, config_of: Prepare, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    config = config_of(method, val_set_size=4, dataset_prepared_path=str(tmp_path / "cache"))
    first, again = prepare(config, tokenizer), prepare(config, tokenizer)
    assert (first.width, len(first.train), len(first.held_out), first.counts.held_out) == (2, 40, 8, 4)
    assert again.cached and again.fingerprint() == first.fingerprint()
    for pair in pairs(first.train):
        assert len(pair.sides) == (1 if method == "kto" else 2)
        assert all(side.supervised for side in pair.sides) and len({side.origin for side in pair.sides}) == 1
    if method == "dpo":
        better = next(pairs(first.train)).sides[0]
        learnt = tokenizer.decode([label for label in better.labels if label >= 0])
        assert learnt.endswith("<|im_end|>") and "say" not in learnt


def test_long_pairs_are_left_out_or_cut_and_equal_ones_told_once(config_of: Prepare, tokenizer: TextTokenizer) -> None:
    rows = pair_rows(6)
    rows[2]["rejected"]["content"] = "red " * 90
    assert prepare(config_of("dpo", rows), tokenizer).counts.too_long == 1
    cut = prepare(config_of("dpo", rows, excess_length_strategy="truncate"), tokenizer)
    assert (cut.counts.kept, cut.counts.truncated, max(map(len, (side.input_ids for pair in pairs(cut.train) for side in pair.sides)))) == (6, 1, 96)
    with pytest.raises(DataError, match="at most 96"):
        prepare(config_of("dpo", rows, excess_length_strategy="raise"), tokenizer)
    twice = prepare(config_of("dpo", [*pair_rows(4), *pair_rows(4)], dataset_exact_deduplication=True), tokenizer)
    assert (twice.counts.kept, twice.counts.duplicates) == (4, 4)


def _codes(config: Config, tokenizer: TextTokenizer) -> tuple[set[str], set[str]]:
    problems = gate(prepare(config, tokenizer), tokenizer, config)
    return {one.code for one in problems}, {one.code for one in stopping(problems)}


def test_the_gate_stops_what_teaches_nothing(config_of: Prepare, tokenizer: TextTokenizer) -> None:
    rows = pair_rows(8)
    assert _codes(config_of("dpo", rows), tokenizer)[1] == set()
    rows[3]["rejected"] = rows[3]["chosen"]
    rows[4]["chosen"] = {"role": "assistant", "content": ""}
    assert _codes(config_of("dpo", rows), tokenizer)[1] == {"same_answers", "empty_answer"}
    good = [{**row, "label": True} for row in rows_of("kto", 8)]
    assert _codes(config_of("kto", good), tokenizer)[1] == {"one_label"}
    assert "label_balance" in _codes(config_of("kto"), tokenizer)[0]
    doubled = [*pair_rows(4), *pair_rows(4)]
    assert "overlap" in _codes(config_of("dpo", doubled, val_set_size=4), tokenizer)[1]


def test_length_gives_the_better_answer_away(config_of: Prepare, tokenizer: TextTokenizer) -> None:
    rows = pair_rows(20)
    for row in rows:
        row["rejected"]["content"] += " and so on and on"
    config = config_of("dpo", rows)
    figures = pair_statistics(pairs_found(prepare(config, tokenizer), tokenizer, config))
    assert (figures.rows, figures.rejected_longer, figures.chosen_longer) == (20, 1.0, 0.0)
    assert figures.chosen_mean < figures.rejected_mean
    assert _codes(config, tokenizer)[0] == {"length_bias"}
