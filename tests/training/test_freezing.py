"""unfrozen_parameters: what is named is trained, the rest is not touched by a bit, rows outside a range included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.helpers.tiny import write_config, write_data

from tunelab.facts.shapes import read_shapes
from tunelab.workflow.train import train

FULL: dict[str, object] = {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_dropout": None, "lora_target_linear": None,
                           "learning_rate": 0.01, "weight_decay": 0.5, "num_epochs": 1}
THAWED = ["model.embed_tokens.weight$[100:200]", "model.embed_tokens.weight[310:]", "model.layers.1.+q_proj"]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return found


@pytest.mark.parametrize("optimizer", ["adamw_torch", "muon", "sgd"])
def test_only_what_is_named_changes(tiny_model: Path, tmp_path: Path, optimizer: str) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, write_data(tmp_path / "data.jsonl"), tmp_path / "run", **FULL, optimizer=optimizer,
                          unfrozen_parameters=THAWED)
    result = train(str(config))
    shapes = read_shapes(tiny_model)
    whole = shapes.tensors["model.embed_tokens.weight"][0] * 48 + 48 * 48
    assert result.manifest["plan"]["trainable"] == result.manifest["measured"]["trainable_parameters"] == whole
    before, after = _weights(tiny_model), _weights(result.folder)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight"}
    rows = (before["model.embed_tokens.weight"] != after["model.embed_tokens.weight"]).any(dim=1)
    assert rows[100:200].all() and rows[310:].all()
    assert not rows[:100].any() and not rows[200:310].any(), "neither decay nor momentum touches the rows in between"


def test_a_run_with_frozen_rows_resumes_exactly(tiny_model: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.jsonl")
    changes = {**FULL, "unfrozen_parameters": THAWED}
    whole = train(str(write_config(tmp_path / "whole.yml", tiny_model, data, tmp_path / "whole", **changes)))
    train(str(write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", **changes)))
    named = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", **changes,
                         resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    resumed = train(str(named))
    assert (resumed.folder / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()
