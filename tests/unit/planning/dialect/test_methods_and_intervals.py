"""Rules on preference methods, rewards, optimizers and early stopping: the cases that one example cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.planning.cases import LAPTOP, read, read_anything
from tests.unit.planning.dialect.test_parallel_and_memory import TWO_GPUS, found

from tunelab.config.finding import Severity
from tunelab.planning.rules import check

GRPO = "rl: grpo\nmicro_batch_size: 2\ngradient_accumulation_steps: 2\n"
STOP = "early_stopping_patience: 3\nval_set_size: 0.05\n"


def test_whether_groups_fit_depends_on_the_gpus(tmp_path: Path) -> None:
    fits = f"{GRPO}trl: {{num_generations: 4}}"
    assert "TL968" not in found(tmp_path, fits) and "TL968" not in found(tmp_path, fits, TWO_GPUS)
    eight = f"{GRPO}trl: {{num_generations: 8}}"
    assert found(tmp_path, eight)["TL968"].fix == "gradient_accumulation_steps: 4"
    two = found(tmp_path, eight, TWO_GPUS)["TL968"]
    assert two.message.startswith("8 answers at a time on 2 GPUs") and two.fix == "gradient_accumulation_steps: 4", "a group for each GPU"
    assert found(tmp_path, f"{GRPO}trl: {{num_generations: 4, generation_batch_size: 4}}", TWO_GPUS)["TL968"].fix == "generation_batch_size: 8"
    assert "TL968" not in found(tmp_path, f"{GRPO}trl: {{num_generations: 4, generation_batch_size: 6}}"), "TL967 says it"


def test_datasets_keep_the_keys_of_their_method(tmp_path: Path) -> None:
    dropped = "datasets: [{path: a.jsonl, type: chat_template, roles: {user: [human]}, field_chosen: best}]"
    assert found(tmp_path, f"rl: dpo\n{dropped}")["TL370"].key == "datasets[0].roles"
    assert found(tmp_path, f"rl: orpo\n{dropped}")["TL370"].key == "datasets[0].field_chosen"
    assert "TL370" not in found(tmp_path, "rl: grpo\ndatasets: [{path: a.jsonl, type: mine.transform, roles: {user: [human]}}]")


def test_kto_is_mended_safely_only_when_nobody_said_otherwise(tmp_path: Path) -> None:
    assert found(tmp_path, "rl: kto")["TL961"].safe
    assert not found(tmp_path, "rl: kto\nremove_unused_columns: true")["TL961"].safe


@pytest.mark.parametrize("when", ["saves_per_epoch: 2\nevals_per_epoch: 2", "save_strategy: epoch\neval_strategy: epoch",
                                  "save_steps: 100\nevals_per_epoch: 2", "save_steps: 0.3\neval_steps: 0.1"])
def test_early_stopping_that_axolotl_refuses_without_reason_is_noted(when: str, tmp_path: Path) -> None:
    findings = found(tmp_path, STOP + when)
    assert findings["TL761"].severity is Severity.NOTE and not {"TL760", "TL762"} & set(findings)


def test_early_stopping_needs_both_intervals(tmp_path: Path) -> None:
    assert found(tmp_path, f"{STOP}saves_per_epoch: 2")["TL760"].fix == "eval_steps: 100"
    assert found(tmp_path, f"{STOP}save_steps: 100\neval_steps: 30")["TL762"].fix == "save_steps: 90"
    assert "TL762" not in found(tmp_path, f"{STOP}save_steps: 0.2\neval_steps: 0.1")


def test_an_interval_that_the_run_holds_once_is_no_finding(tmp_path: Path) -> None:
    assert "TL763" not in found(tmp_path, "saves_per_epoch: 1\nnum_epochs: 1")
    assert "TL763" not in found(tmp_path, "evals_per_epoch: 1\nnum_epochs: 0.5"), "nothing is held out"


def test_optimizers_that_read_adams_numbers_under_another_name(tmp_path: Path) -> None:
    assert found(tmp_path, "optimizer: lion_8bit\nadam_beta1: 0.95")["TL560"].severity is Severity.NOTE
    assert found(tmp_path, "optimizer: adagrad\nadam_beta1: 0.9\nadam_epsilon: 1.0e-8")["TL560"].severity is Severity.WARNING
    sgd = found(tmp_path, "optimizer: sgd\nadam_beta1: 0.9")
    assert "TL505" in sgd and "TL560" not in sgd


def test_qgalore_without_bf16_written_is_a_note(tmp_path: Path) -> None:
    assert found(tmp_path, "optimizer: q_galore_adamw8bit")["TL567"].severity is Severity.NOTE
    assert found(tmp_path, "optimizer: q_galore_adamw8bit\nbf16: false")["TL567"].severity is Severity.WARNING


def test_better_transformer_is_an_error_only_when_mixed_precision_is_asked_for(tmp_path: Path) -> None:
    finding = [one for one in check(read(tmp_path, "flash_optimum: true\nbfloat16: true"), LAPTOP, None) if one.code == "TL682"]
    assert [one.severity for one in finding] == [Severity.NOTE]
    assert found(tmp_path, "flash_optimum: true\nbf16: auto")["TL682"].severity is Severity.ERROR


@pytest.mark.parametrize("text", [
    "rl: [grpo]\ntrl: 3\nebft: x\nvllm: []", "rl: grpo\ntrl: {num_generations: many, generation_batch_size: .inf}",
    "fsdp_config: true\ndeepspeed: 1\ncontext_parallel: x\ntensor_parallel_size: [2]", "selective_checkpointing: {save: 3, save_modules: x}",
    "datasets: [3, {path: 1, type: {a: 1}, weight: x}]\nstreaming: 1\nrl: {a: 1}", "early_stopping_patience: x\nsave_steps: .nan\neval_steps: 0",
    "dpo_loss_type: x\ndpo_loss_weights: 3\nrl: dpo", "base_model: 3\noptimizer: [a]\nattn_implementation: {a: 1}\nbnb_config_kwargs: 1"])
def test_values_of_any_type_are_looked_at(text: str, tmp_path: Path) -> None:
    check(read_anything(tmp_path, text).config, LAPTOP, None)
