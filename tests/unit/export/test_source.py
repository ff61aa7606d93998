"""What can be exported and what cannot: each is a sentence with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunelab.errors import FolderError, ModelError, StorageError
from tunelab.export.source import find_source
from tunelab.export.stored import Entry, write_file
from tunelab.facts.model import weights_fingerprint
from tunelab.runs.checkpoints import FORMAT, STATE, checksums


def _model(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    write_file(folder / "model.safetensors", [Entry("w", "F32", (1,))], lambda entry: bytes(entry.size))
    return folder


def _adapter(folder: Path, base: Path | None, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base) if base else None, **settings}))
    write_file(folder / "adapter_model.safetensors", [Entry("base_model.model.q.lora_B.weight", "F32", (2, 2))], lambda entry: bytes(entry.size))
    return folder


def _run(folder: Path, base: Path, status: str = "finished", **sections: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"status": status, "base_model": {"name": "some/model", "folder": str(base)},
                                                      "config": {"sections": sections}}))
    return folder


def test_a_plain_adapter_and_its_base(tmp_path: Path) -> None:
    base = _model(tmp_path / "base")
    source = find_source(_adapter(tmp_path / "adapter", base))
    assert (source.weights, source.run, source.step, source.quantised) == (base, None, None, None)
    other = _model(tmp_path / "other")
    assert find_source(tmp_path / "adapter", base=str(other)).weights == other


def test_a_finished_run_and_what_it_was_trained_on(tmp_path: Path) -> None:
    base = _model(tmp_path / "base")
    run = _adapter(_run(tmp_path / "run", base, model={"load_in_4bit": True, "bnb_config_kwargs": {"bnb_4bit_quant_type": "fp4"}}), base)
    source = find_source(run)
    assert source.run is not None and source.quantised == "4-bit weights"
    assert source.packing == {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True}


def test_a_base_that_was_changed_since_the_run(tmp_path: Path) -> None:
    base = _model(tmp_path / "base")
    run = _adapter(_run(tmp_path / "run", base), base)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["base_model"]["fingerprint"] = weights_fingerprint(base)
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert find_source(run).weights == base
    write_file(base / "model.safetensors", [Entry("w", "F32", (1,))], lambda entry: b"\x01" * entry.size)
    with pytest.raises(ModelError, match="changed since"):
        find_source(run)
    assert find_source(run, base=str(base)).weights == base


@pytest.mark.parametrize(("sections", "words"), [
    ({"model": {"reinit_weights": True}}, "began with random weights"), ({"adapter": {"peft": {"loftq_config": {"loftq_bits": 4}}}}, "started by LoftQ")])
def test_runs_on_other_weights_than_the_bases(tmp_path: Path, sections: dict[str, Any], words: str) -> None:
    base = _model(tmp_path / "base")
    with pytest.raises(ModelError, match=words):
        find_source(_adapter(_run(tmp_path / "run", base, **sections), base))


def test_checkpoints(tmp_path: Path) -> None:
    base = _model(tmp_path / "base")
    run = _run(tmp_path / "run", base, status="interrupted")
    with pytest.raises(FolderError, match="interrupted, not finished") as caught:
        find_source(run)
    assert "--checkpoint" not in str(caught.value.next_step)
    saved = _adapter(run / "checkpoint-20", base)
    (saved / STATE).write_text(json.dumps({"format": FORMAT, "step": 20, "sha256": checksums(saved)}))
    with pytest.raises(FolderError) as caught:
        find_source(run)
    assert "--checkpoint 20" in str(caught.value.next_step) and "--resume" in str(caught.value.next_step)
    assert find_source(run, checkpoint=20).adapter == saved
    with pytest.raises(FolderError, match="no checkpoint of step 7"):
        find_source(run, checkpoint=7)
    (saved / "adapter_config.json").write_text("{}")
    with pytest.raises(StorageError, match=r"adapter_config\.json is not what was written"):
        find_source(run, checkpoint=20)


@pytest.mark.parametrize(("settings", "words"), [
    ({"peft_type": "PREFIX_TUNING"}, "PREFIX_TUNING"), ({"task_type": "SEQ_CLS"}, "SEQ_CLS"), ({"layer_replication": [[0, 2]]}, "repeats layers"),
    ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"), ({"base_model_name_or_path": ""}, "does not say which base")])
def test_adapters_that_cannot_be_merged(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        find_source(_adapter(tmp_path / "adapter", _model(tmp_path / "base"), **settings))
    assert caught.value.where


def test_damaged_and_missing_adapters(tmp_path: Path) -> None:
    base = _model(tmp_path / "base")
    adapter = _adapter(tmp_path / "adapter", base)
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(ModelError, match="its header promises"):
        find_source(adapter)
    weights.unlink()
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        find_source(adapter)
    run = _run(tmp_path / "run", base)
    with pytest.raises(FolderError, match="is gone"):
        find_source(run)


def test_whole_models_have_nothing_to_merge(tmp_path: Path) -> None:
    base = _model(tmp_path / "base")
    with pytest.raises(FolderError, match="trained all weights") as caught:
        find_source(_model(_run(tmp_path / "run", base)))
    assert "tunelab compare" in str(caught.value.next_step)
    with pytest.raises(FolderError, match="whole model and no adapter"):
        find_source(base)


def test_what_is_neither_and_a_base_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no such folder"):
        find_source(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match="neither a run"):
        find_source(tmp_path / "empty")
    with pytest.raises(FolderError, match="holds no run"):
        find_source(tmp_path / "empty", checkpoint=3)
    adapter = _adapter(tmp_path / "adapter", tmp_path / "gone")
    with pytest.raises(ModelError, match="not at hand") as caught:
        find_source(adapter)
    assert "--base" in str(caught.value.next_step)


def test_a_base_that_is_stored_quantised(tmp_path: Path) -> None:
    base = _model(tmp_path / "base", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ModelError, match="stored quantised") as caught:
        find_source(_adapter(tmp_path / "adapter", base))
    assert "original" in str(caught.value.next_step)
