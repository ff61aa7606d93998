"""Which samples each step uses: curriculum, long packed rows, streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunelab.config import Config, read_config
from tunelab.planning.batches import data_facts
from tunelab.planning.schedule import Schedule, make_schedule

LENGTHS = [5 + (index * 13) % 40 for index in range(300)]


def config_of(tmp_path: Path, **keys: Any) -> Config:
    settings = {"base_model": "tiny", "learning_rate": 0.001, "datasets": [{"path": "a.jsonl", "type": "alpaca"}], "sequence_len": 64,
                "micro_batch_size": 2, "num_epochs": 2, **keys}
    path = tmp_path / "config.yml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return read_config(path).config


def used(schedule: Schedule, epoch: int = 0) -> list[int]:
    return [index for rows in schedule.epochs[epoch] for row in rows for index in row]


def test_a_curriculum_keeps_the_order_of_the_rows_in_every_epoch(tmp_path: Path) -> None:
    plain = make_schedule(config_of(tmp_path, curriculum_sampling=True), LENGTHS, [])
    assert used(plain) == used(plain, 1) == list(range(300))
    exact = make_schedule(config_of(tmp_path, curriculum_sampling=True, sample_packing=True, sample_packing_sequentially=True), LENGTHS, [])
    assert used(exact) == used(exact, 1) == list(range(300))
    packed = make_schedule(config_of(tmp_path, curriculum_sampling=True, sample_packing=True, sample_packing_group_size=50), LENGTHS, [])
    assert sorted(used(packed)) == list(range(300)) and used(packed) != list(range(300))
    means = [sum(row) / len(row) for rows in packed.epochs[0] for row in rows]
    assert [number // 50 for number in used(packed)] == [number // 50 for number in range(300)]
    assert all(means[start:start + 5] == sorted(means[start:start + 5]) for start in range(5))


def test_one_long_row_instead_of_several(tmp_path: Path) -> None:
    config = config_of(tmp_path, sample_packing=True, multipack_real_batches=False, micro_batch_size=4, pad_to_sequence_len=True)
    schedule = make_schedule(config, LENGTHS, LENGTHS[:20])
    assert all(len(rows) == 1 for rows in (*schedule.epochs[0], *schedule.evaluation))
    tokens = [sum(LENGTHS[index] for row in rows for index in row) for rows in schedule.epochs[0]]
    assert 192 < max(tokens) <= 256 and sorted(used(schedule)) == list(range(300))
    facts = data_facts(config, LENGTHS, LENGTHS, 20, schedule)
    assert facts.max_positions == 256 and facts.positions == sum(-(-one // 64) * 64 for one in tokens)


@pytest.mark.parametrize("packing", [True, False])
def test_a_stream_is_taken_in_order_and_again_until_there_are_steps_enough(tmp_path: Path, packing: bool) -> None:
    config = config_of(tmp_path, streaming=True, max_steps=200, sample_packing=packing, streaming_multipack_buffer_size=50, num_epochs=1)
    schedule = make_schedule(config, LENGTHS, [])
    assert schedule.steps.total == 200
    assert [number // 50 for number in used(schedule)] == [number // 50 for number in range(300)]
    assert sorted(used(schedule, 1)) == list(range(300)) and used(schedule, 1) != used(schedule)
    assert sum(len(epoch) for epoch in schedule.epochs) >= 200 > sum(len(epoch) for epoch in schedule.epochs[:-1])
    unshuffled = config_of(tmp_path, streaming=True, max_steps=100, sample_packing=False, shuffle_merged_datasets=False)
    assert used(make_schedule(unshuffled, LENGTHS, []), 0) == list(range(300))
