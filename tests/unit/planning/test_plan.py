"""Memory and the whole plan: numbers that can be checked by hand or were measured."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.unit.planning.cases import A100, FAST_CPU, LAPTOP, T4, read, smol_shapes

from tunelab.facts.dataset import DataFacts
from tunelab.planning.memory import MemoryPlan, estimate_memory
from tunelab.planning.plan import make_plan
from tunelab.planning.precision import precision

LORA = "adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\n"
DATA = DataFacts(rows=100, held_out=5, lengths=(50,) * 100, supervised=(20,) * 100, packed_rows=10, positions=5000, batches_per_epoch=(10, 11),
                 max_positions=512, max_supervised=170)


def memory(folder: Path, text: str, tokens: int = 512, supervised: int = 170) -> MemoryPlan:
    return estimate_memory(read(folder, text), smol_shapes(folder), LAPTOP, tokens_per_batch=tokens, supervised_per_batch=supervised)


# Peak resident memory of real runs of SmolLM2-135M in 32 bits on a CPU, in GB, as their manifests hold it.
@pytest.mark.parametrize(("text", "tokens", "supervised", "measured"), [
    (LORA, 512, 217, 2.42), (LORA, 1024, 429, 3.60), (LORA, 256, 108, 1.75), (LORA, 480, 197, 2.18), ("", 512, 217, 3.52)])
def test_the_estimate_is_within_a_tenth_of_what_was_measured(text: str, tokens: int, supervised: int, measured: float, tmp_path: Path) -> None:
    assert memory(tmp_path, text, tokens, supervised).total / 1e9 == pytest.approx(measured, rel=0.1)


def test_the_parts_add_up_and_the_static_ones_are_exact(tmp_path: Path) -> None:
    parts = memory(tmp_path, LORA)
    assert parts.weights == 4 * 134_515_008 and parts.adapter == 4 * 4_884_480 and parts.optimizer == 8 * 4_884_480
    counted = {name: value for name, value in asdict(parts).items() if name not in {"total", "precision"}}
    assert sum(counted.values()) == parts.total


def test_what_saves_memory_saves_it(tmp_path: Path) -> None:
    full, lora = memory(tmp_path, ""), memory(tmp_path, LORA)
    assert lora.total < full.total and lora.optimizer * 20 < full.optimizer
    assert memory(tmp_path, LORA + "gradient_checkpointing: true").activations * 10 < lora.activations
    assert memory(tmp_path, LORA, tokens=256, supervised=170).activations * 2 == pytest.approx(lora.activations, rel=0.01)
    assert memory(tmp_path, "optimizer: sgd").optimizer == 0
    few_targets = memory(tmp_path, LORA.replace("lora_target_linear: true", "lora_target_modules: [q_proj, v_proj]"))
    assert few_targets.activations < lora.activations


def test_accumulated_gradients_stay_through_the_next_pass(tmp_path: Path) -> None:
    assert memory(tmp_path, "gradient_accumulation_steps: 2").gradients == 4 * 134_515_008
    assert memory(tmp_path, "").gradients == 0


def test_formats_follow_config_and_machine(tmp_path: Path) -> None:
    def chosen(text: str) -> list[str]:
        return [precision(read(tmp_path, text), machine) for machine in (LAPTOP, FAST_CPU, T4, A100)]

    assert chosen("") == ["fp32", "bf16", "fp16", "bf16"]
    assert chosen("bf16: false") == ["fp32"] * 4
    assert chosen("bf16: true") == ["bf16"] * 4
    assert chosen("fp16: true")[2:] == ["fp16", "fp16"] and chosen("fp16: true")[0] == "fp32"
    half = estimate_memory(read(tmp_path, LORA), smol_shapes(tmp_path), A100, tokens_per_batch=512, supervised_per_batch=170)
    assert half.weights == 2 * 134_515_008 and half.framework == 0


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
