"""plan for what is not all at hand: a model from the table, data without a tokenizer, a config that only cannot run here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.helpers.tiny import write_data, write_tokenizer

from tunelab.errors import ConfigError
from tunelab.workflow.plan import plan


def write(folder: Path, **changes: object) -> str:
    settings = {"base_model": "Qwen/Qwen2.5-0.5B", "datasets": [{"path": str(write_data(folder / "data.jsonl", 60)), "type": "chat_template"}],
                "learning_rate": 1e-4, "sequence_len": 512, "output_dir": str(folder / "out"), **changes}
    path = folder / "config.yml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return str(path)


def test_a_model_of_the_table_and_rows_by_their_characters(tmp_path: Path) -> None:
    planned = plan(write(tmp_path, adapter="lora", lora_r=8, lora_alpha=16, sample_packing=True, val_set_size=0.1, evals_per_epoch=1))
    made = planned.plan
    assert made.parameters == 494_032_768 and made.trainable == 540_672, "q_proj and v_proj, as PEFT has it"
    assert (made.rows, made.held_out, made.data_source) == (54, 6, "row statistics") and made.steps and made.memory and made.evaluation
    assert any("tokenizer" in sentence for sentence in planned.missing) and len(made.fits_on) > 15


def test_rows_by_their_characters_of_test_datasets_are_those_held_out(tmp_path: Path) -> None:
    held_out = {"path": str(write_data(tmp_path / "held_out.jsonl", 11)), "type": "chat_template", "split": "train"}
    made = plan(write(tmp_path, test_datasets=[held_out], eval_steps=5)).plan
    assert (made.rows, made.held_out, made.data_source) == (60, 11, "row statistics")


def test_row_statistics_are_near_the_tokenizer(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_tokenizer(model)
    (model / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 400, "max_position_embeddings": 512}), encoding="utf-8")
    exact = plan(write(tmp_path, base_model=str(model)))
    (model / "tokenizer.json").rename(model / "gone.json")
    rough = plan(write(tmp_path, base_model=str(model)))
    assert (exact.plan.data_source, rough.plan.data_source) == ("tokenised data", "row statistics")
    assert exact.plan.tokens_per_epoch and rough.plan.tokens_per_epoch
    assert 0.4 < rough.plan.tokens_per_epoch / exact.plan.tokens_per_epoch < 1.5, "a vocabulary of 400 has short tokens"
    assert exact.plan.rows == rough.plan.rows and not exact.missing and rough.missing


def test_what_only_cannot_run_here_is_planned(tmp_path: Path) -> None:
    planned = plan(write(tmp_path, adapter="qlora", load_in_4bit=True, lora_r=8, lora_alpha=16, lora_target_linear=True, optimizer="paged_adamw_8bit"))
    assert any(str(finding.severity) == "blocked" for finding in planned.findings)
    assert planned.plan.memory is not None and planned.plan.memory.weights < 2 * 494_032_768, "four bits, and the embedding whole"


def test_what_is_wrong_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        plan(write(tmp_path, micro_batch_size=0))


def test_data_that_is_not_here_leaves_the_memory(tmp_path: Path) -> None:
    planned = plan(write(tmp_path, datasets=[{"path": "org/data", "type": "alpaca"}]))
    assert planned.plan.memory is not None and planned.plan.steps is None
    assert any("org/data" in sentence for sentence in planned.missing)


def test_a_model_that_nothing_knows(tmp_path: Path) -> None:
    planned = plan(write(tmp_path, base_model="org/Unheard-of-3B"))
    assert planned.plan.parameters == 3_000_000_000 and planned.plan.memory is None and planned.plan.steps
    assert any("table of well known models" in sentence for sentence in planned.missing)


def test_long_texts_are_cut_and_long_answers_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": "word " * 2000}) + "\n", encoding="utf-8")
    cut = plan(write(tmp_path, datasets=[{"path": str(tmp_path / "text.jsonl"), "type": "completion"}]))
    assert cut.plan.rows == 5 and cut.plan.tokens_per_epoch == 2500
    rows = [{"instruction": "x", "output": "y " * count} for count in (10, 4000)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    kept = plan(write(tmp_path, datasets=[{"path": str(tmp_path / "rows.jsonl"), "type": "alpaca"}]))
    assert kept.plan.rows == 1
