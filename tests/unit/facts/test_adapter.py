"""A saved adapter is read from its config and the header of its weights, and held against the model it is to go on."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from tests.unit.planning.cases import read_anything, smol_shapes

from tunelab.errors import ModelError
from tunelab.facts.adapter import read_adapter, same_base
from tunelab.planning.lora import target_layers, trainable_parameters

Q, V = "base_model.model.model.layers.0.self_attn.q_proj", "base_model.model.model.layers.0.self_attn.v_proj"
SHAPES = {f"{Q}.lora_A.weight": (4, 576), f"{Q}.lora_B.weight": (576, 4), f"{V}.lora_A.weight": (2, 576), f"{V}.lora_B.weight": (192, 2)}


def write_adapter(folder: Path, shapes: dict[str, tuple[int, ...]] | None = None, **settings: object) -> Path:
    """An adapter of zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    header, at = {}, 0
    for name, shape in (SHAPES if shapes is None else shapes).items():
        size = 4
        for one in shape:
            size *= one
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "org/model", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_what_is_in_an_adapter(tmp_path: Path) -> None:
    saved = read_adapter(write_adapter(tmp_path / "a"))
    assert (saved.base, saved.rank, saved.alpha, saved.changed_base) == ("org/model", 4, 8.0, "")
    assert saved.parameters == 2 * 4 * 576 + 2 * (576 + 192) and saved.misfits(smol_shapes(tmp_path)) == ()


def test_an_embedding_counts_only_when_it_is_trained(tmp_path: Path) -> None:
    brought = {**SHAPES, "base_model.model.model.embed_tokens.weight": (100, 576)}
    assert read_adapter(write_adapter(tmp_path / "a", brought)).parameters == read_adapter(write_adapter(tmp_path / "b")).parameters
    trained = read_adapter(write_adapter(tmp_path / "c", brought, modules_to_save=["embed_tokens"]))
    assert trained.parameters == read_adapter(tmp_path / "b").parameters + 100 * 576


def test_the_plan_counts_the_adapter_to_go_on_from(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    config = read_anything(tmp_path, f"adapter: lora\nlora_r: 64\nlora_model_dir: {tmp_path / 'a'}").config
    shapes = smol_shapes(tmp_path)
    assert [layer.name.rpartition(".")[2] for layer in target_layers(config, shapes)] == ["q_proj", "v_proj"]
    assert trainable_parameters(config, shapes) == read_adapter(tmp_path / "a").parameters


def test_an_adapter_for_another_model(tmp_path: Path) -> None:
    shapes = smol_shapes(tmp_path)
    wide = read_adapter(write_adapter(tmp_path / "a", {f"{Q}.lora_A.weight": (4, 48), f"{Q}.lora_B.weight": (48, 4)}))
    assert wide.misfits(shapes)[0] == "lora_A of model.layers.0.self_attn.q_proj is for 48 inputs, the layer has 576"
    other = read_adapter(write_adapter(tmp_path / "b", {"base_model.model.transformer.h.0.attn.c_attn.lora_A.weight": (4, 576)}))
    assert other.misfits(shapes) == ("the model has no layer transformer.h.0.attn.c_attn",)
    assert same_base("org/SmolLM2-135M", "./models/smollm2-135m/") and not same_base("org/SmolLM2-135M", "org/SmolLM2-360M") and same_base("", "org/x")


def test_what_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        read_adapter(tmp_path)
    write_adapter(tmp_path / "a", peft_type="IA3")
    with pytest.raises(ModelError, match="of the kind IA3"):
        read_adapter(tmp_path / "a")
    write_adapter(tmp_path / "b")
    (tmp_path / "b" / "adapter_config.json").write_text("[1]")
    with pytest.raises(ModelError, match="not a JSON mapping"):
        read_adapter(tmp_path / "b")
    write_adapter(tmp_path / "c")
    weights = tmp_path / "c" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ModelError, match="promises"):
        read_adapter(tmp_path / "c")


def test_a_start_that_changed_the_base_is_seen(tmp_path: Path) -> None:
    assert read_adapter(write_adapter(tmp_path / "a", init_lora_weights="pissa_niter_4")).changed_base == "pissa_niter_4"
    assert read_adapter(write_adapter(tmp_path / "b", init_lora_weights="gaussian")).changed_base == ""
