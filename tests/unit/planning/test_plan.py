"""The whole plan: numbers that can be checked by hand or were measured."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.unit.planning.cases import A100, FAST_CPU, LAPTOP, T4, read, smol_shapes

from tunelab.facts.dataset import DataFacts
from tunelab.facts.lookup import table_shapes
from tunelab.facts.machine import Gpu
from tunelab.planning.plan import make_plan
from tunelab.planning.precision import precision

LORA = "adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\n"
DATA = DataFacts(rows=100, held_out=5, lengths=(50,) * 100, supervised=(20,) * 100, packed_rows=10, positions=5000, batches_per_epoch=(10, 11),
                 max_positions=512, max_supervised=170)


def test_formats_follow_config_and_machine(tmp_path: Path) -> None:
    def chosen(text: str) -> list[str]:
        return [precision(read(tmp_path, text), machine) for machine in (LAPTOP, FAST_CPU, T4, A100)]

    assert chosen("") == ["fp32", "bf16", "fp16", "bf16"]
    assert chosen("bf16: false") == ["fp32"] * 4
    assert chosen("bf16: true") == ["bf16"] * 4
    assert chosen("fp16: true")[2:] == ["fp16", "fp16"] and chosen("fp16: true")[0] == "fp32"


def test_a_plan_with_everything_known(tmp_path: Path) -> None:
    config = read(tmp_path, f"{LORA}num_epochs: 2\nsample_packing: true\nsequence_len: 512\nval_set_size: 0.05\nevals_per_epoch: 2\nsave_steps: 5\n"
                            f"save_total_limit: 2\ngradient_accumulation_steps: 2\noutput_dir: {tmp_path / 'out'}")
    plan = make_plan(config, smol_shapes(tmp_path), LAPTOP, DATA, 100.0)
    assert (plan.parameters, plan.trainable, plan.adapted_layers) == (134_515_008, 4_884_480, 210)
    assert plan.share == pytest.approx(0.0363, abs=1e-4)
    assert (plan.steps, plan.steps_per_epoch, plan.rows_per_step) == (11, (5, 6), 20)
    assert (plan.tokens_per_epoch, plan.supervised_per_epoch) == (5000, 2000)
    assert plan.fill == pytest.approx(5000 / 5120)
    assert (plan.tokens_total, plan.supervised_total, plan.seconds) == (10_000, 4_000, 100.0)
    assert (plan.evaluations, plan.checkpoints) == (4, 3)
    assert plan.disk_bytes == pytest.approx(140_740_000, rel=0.01), "as measured for such a run"
    assert plan.fits is True and plan.needs == "8 GB" and plan.disk_free > 0
    assert any("100 tokens per second" in sentence for sentence in plan.assumptions)


def test_a_plan_is_json(tmp_path: Path) -> None:
    plan = make_plan(read(tmp_path, LORA), smol_shapes(tmp_path), LAPTOP, DATA, None)
    assert json.loads(json.dumps(asdict(plan)))["memory"]["total"] == plan.memory.total  # type: ignore[union-attr]


def test_totals_of_the_schedule_win_over_scaling(tmp_path: Path) -> None:
    exact = replace(DATA, total_positions=4321, total_supervised=1234)
    plan = make_plan(read(tmp_path, LORA), None, LAPTOP, exact, None)
    assert (plan.tokens_total, plan.supervised_total) == (4321, 1234)


def test_a_run_cut_short_counts_the_share_that_is_run(tmp_path: Path) -> None:
    plan = make_plan(read(tmp_path, "num_epochs: 2\nmax_steps: 5"), None, LAPTOP, DATA, None)
    assert (plan.steps, plan.tokens_total) == (5, 2500)


def test_what_is_not_known_is_none_and_said(tmp_path: Path) -> None:
    plan = make_plan(read(tmp_path, f"base_model: org/Model-7B\n{LORA}"), None, LAPTOP, None, 100.0)
    assert plan.parameters == 7_000_000_000
    assert (plan.trainable, plan.memory, plan.fits, plan.steps, plan.seconds, plan.disk_bytes) == (None,) * 6
    assert "read off its name" in plan.assumptions[0] and "data is not at hand" in plan.assumptions[1]


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    small = replace(LAPTOP, memory_free_bytes=1_000_000_000)
    assert make_plan(read(tmp_path, LORA), smol_shapes(tmp_path), small, DATA, None).fits is False
    unknown = replace(LAPTOP, memory_free_bytes=0)
    assert make_plan(read(tmp_path, LORA), smol_shapes(tmp_path), unknown, DATA, None).fits is None


def test_where_the_numbers_come_from_is_said(tmp_path: Path) -> None:
    shapes = table_shapes("Qwen/Qwen3-0.6B")
    plan = make_plan(read(tmp_path, LORA + "optimizer: sgd"), shapes, A100, replace(DATA, source="row statistics"), None, table=True)
    assert plan.shapes_source is not None and "table of well known models" in plan.shapes_source and plan.data_source == "row statistics"
    text = " ".join(plan.assumptions)
    assert "UNVALIDATED" in text and "row statistics" in text and "not from the model's own" in text
    assert plan.memory is not None and not plan.memory.validated


def test_time_on_a_gpu_of_the_table_is_a_range(tmp_path: Path) -> None:
    known = replace(A100, gpus=(Gpu("NVIDIA A100-SXM4-40GB", 40960 * 2**20, 8.0),))
    plan = make_plan(read(tmp_path, LORA), smol_shapes(tmp_path), known, DATA, None)
    assert plan.seconds is None and plan.seconds_range is not None and plan.seconds_range.low < plan.seconds_range.high
    measured = make_plan(read(tmp_path, LORA), smol_shapes(tmp_path), known, DATA, 100.0)
    assert measured.seconds_range is None and measured.seconds


def test_evaluation_and_merge_are_planned_where_there_are_any(tmp_path: Path) -> None:
    plan = make_plan(read(tmp_path, LORA + "val_set_size: 0.05\nevals_per_epoch: 1"), smol_shapes(tmp_path), LAPTOP, DATA, None)
    assert plan.evaluation is not None and plan.memory is not None and plan.evaluation.total < plan.memory.total
    assert plan.merge is not None and plan.merge_disk_bytes == 2 * 134_515_008
    full = make_plan(read(tmp_path, ""), smol_shapes(tmp_path), LAPTOP, DATA, None)
    assert full.evaluation is full.merge is full.merge_disk_bytes is None


def test_the_disk_holds_what_the_optimizer_keeps(tmp_path: Path) -> None:
    def disk(text: str) -> int:
        return make_plan(read(tmp_path, text), smol_shapes(tmp_path), LAPTOP, DATA, None).disk_bytes or 0

    assert disk("") - disk("optimizer: sgd") == 8 * 134_515_008, "one checkpoint with two averages"
