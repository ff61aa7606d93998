"""Shapes from wherever they can be had, and the source said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.facts.test_gguf import write as write_gguf
from tests.unit.planning.cases import SMOL

from tunelab.facts.known_models import bare_name, known_model, known_models
from tunelab.facts.lookup import find_shapes
from tunelab.facts.shapes import shapes_from_config


def test_every_line_of_the_table_has_its_published_parameters() -> None:
    models = known_models()
    assert len(models) >= 60
    for model in models.values():
        assert shapes_from_config(model.config, model.name).parameters == model.parameters, model.name


@pytest.mark.parametrize(("name", "found"), [
    ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"), ("META-LLAMA/llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
    ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "meta-llama/Llama-3.1-8B"), ("NousResearch/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-v0.3"), ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B"),
    ("google/gemma-2-9b-it", "google/gemma-2-9b"), ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M"),
    ("/some/where/Qwen3-8B/", "Qwen/Qwen3-8B"), ("gpt2", "openai-community/gpt2")])
def test_a_name_is_found_through_its_copies(name: str, found: str) -> None:
    known = known_model(name)
    assert known is not None and known.name == found


@pytest.mark.parametrize("name", ["org/Some-7B", "org/llama-3.1-8b-mine", "llama", "", "org/Llama-3.1-9B", "org/Qwen3-8B-Coder"])
def test_a_name_that_only_resembles_one_is_not_found(name: str) -> None:
    assert known_model(name) is None


def test_what_is_dropped_from_a_name() -> None:
    assert bare_name("a/Meta-Llama-3-8B-Instruct") == "llama-3-8b"


def test_the_source_is_said(tmp_path: Path) -> None:
    table = find_shapes("NousResearch/Meta-Llama-3-8B")
    assert table is not None and table.source == "the table of well known models, as meta-llama/Meta-Llama-3-8B"
    assert find_shapes("org/never-seen") is None
    (tmp_path / "config.json").write_text(json.dumps(SMOL), encoding="utf-8")
    folder = find_shapes(str(tmp_path))
    assert folder is not None and folder.source == "config.json"


def test_a_gguf_file_or_a_folder_with_one(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    for name in (path, tmp_path):
        shapes = find_shapes(str(name))
        assert shapes is not None and shapes.source == "the GGUF file's header"
    write_gguf(tmp_path / "n.gguf")
    assert find_shapes(str(tmp_path)) is None, "which of the two?"


def test_the_hub_out_of_reach_leaves_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shapes = find_shapes("Qwen/Qwen3-4B", network=True)
    assert shapes is not None and shapes.parameters == 4_022_468_096


def test_of_a_mixture_a_token_passes_a_part() -> None:
    shapes = find_shapes("Qwen/Qwen3-30B-A3B")
    assert shapes is not None and shapes.parameters == 30_532_122_624
    assert shapes.active_parameters == pytest.approx(3.35e9, rel=0.01), "as its name says, A3B"


def test_stored_4_bit_weights_are_counted_as_what_they_stand_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SMOL, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}),
                                          encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"never read")
    shapes = find_shapes(str(tmp_path))
    assert shapes is not None and (shapes.parameters, shapes.quantised, shapes.source) == (134_515_008, "bitsandbytes", "config.json")
