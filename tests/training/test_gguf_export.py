"""Taking a run to llama.cpp and Ollama: it says the same, or there is no file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.ollama_served import serving
from tests.helpers.tiny import write_config, write_data, write_tokenizer

from tunelab.errors import FolderError, LockedError, ModelError, RunError, StorageError, UsageError
from tunelab.workflow.export_gguf import to_adapter_gguf, to_gguf
from tunelab.workflow.export_ollama import export_ollama
from tunelab.workflow.parity import check_parity

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `tiny_model`, with sizes that llama.cpp's blocks divide."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny32"
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=write_tokenizer(folder), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                                 num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True, eos_token_id=2, bos_token_id=1,
                                 pad_token_id=0)).save_pretrained(folder)
    return folder


def _trained(folder: Path, base: Path, **changes: object) -> Path:
    from tunelab.workflow.train import train

    return train(str(write_config(folder / "config.yml", base, write_data(folder / "data.jsonl"), folder / "run", **{"num_epochs": 2, **changes}))).folder


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished LoRA run; read only."""
    return _trained(tmp_path_factory.mktemp("lora"), base)


@pytest.fixture(scope="module")
def full(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all weights, with checkpoints; read only."""
    return _trained(tmp_path_factory.mktemp("full"), base, adapter=None, learning_rate=0.001)


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """A random adapter in a PEFT folder."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 8, **settings}))
        model.peft_config["default"].base_model_name_or_path = str(base)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * 0.1
        model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("quantize", ["f32", "f16", "q8_0"])
def test_a_lora_run_as_one_file(run: Path, tmp_path: Path, quantize: str) -> None:
    out = tmp_path / "mine.gguf"
    result = to_gguf(run, out=out, quantize=quantize)
    found = result.verification
    assert _left(tmp_path) == ["mine.gguf", "mine.gguf.json"]
    assert result.path == out and result.bytes == out.stat().st_size
    assert found.prompts_from == "rows that the run held out" and found.positions > 10 and found.texts_equal == found.texts
    assert found.effect is not None and found.kl < found.effect / 20 and found.renders_alike is True
    assert found.greedy_same == found.greedy == 4 or quantize == "q8_0"
    told = json.loads((tmp_path / "mine.gguf.json").read_text())
    assert told["verification"]["kl"] == found.kl and told["sha256"] == result.origin["sha256"] and told["run"] == str(run)
    assert check_parity(run, f"gguf:{out}").same


def test_a_full_run_and_its_checkpoint(full: Path, tmp_path: Path) -> None:
    found = to_gguf(full, out=tmp_path / "whole.gguf").verification
    assert found.effect is not None and found.kl < 1e-4 < found.effect and found.greedy_same == 4
    step = min(int(path.name.removeprefix("checkpoint-")) for path in full.glob("checkpoint-*"))
    result = to_gguf(full, out=tmp_path / "early.gguf", checkpoint=step)
    assert result.origin["step"] == step and result.verification.effect != found.effect
    with pytest.raises(FolderError, match="no checkpoint of step 999"):
        to_gguf(full, out=tmp_path / "none.gguf", checkpoint=999)
    weights = full / f"checkpoint-{step}" / "model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(StorageError, match="checksum differs"):
        to_gguf(full, out=tmp_path / "damaged.gguf", checkpoint=step)
    weights.write_bytes(before)


def test_a_plain_model_folder(base: Path, tmp_path: Path) -> None:
    found = to_gguf(base, out=tmp_path / "base.gguf").verification
    assert found.effect is None and found.prompts_from == "the prompts that tunelab ships" and found.kl < 1e-4


def test_the_adapter_alone(run: Path, base: Path, tmp_path: Path) -> None:
    found = to_adapter_gguf(run, out=tmp_path / "adapter.gguf").verification
    assert _left(tmp_path) == ["adapter.gguf", "adapter.gguf.json"]
    assert found.effect is not None and found.kl < found.effect / 100 and found.greedy_same == 4
    to_gguf(base, out=tmp_path / "base.gguf", quantize="f32")
    given = to_adapter_gguf(run, out=tmp_path / "again.gguf", base_gguf=tmp_path / "base.gguf")
    assert given.verification.kind == "f32" and given.verification.kl < 1e-6
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "adapter.gguf").read_bytes()


@pytest.mark.parametrize("settings", [{"use_rslora": True, "target_modules": "all-linear"}, {"target_modules": ["k_proj"], "r": 2, "lora_alpha": 7}],
                         ids=["rslora", "keys only"])
def test_kinds_of_adapter(base: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    found = to_adapter_gguf(_adapter(base, tmp_path / "peft", **settings)).verification
    assert found.effect is not None and found.kl < found.effect / 100


@pytest.mark.parametrize(("settings", "words"), [
    ({"use_dora": True, "target_modules": ["q_proj"]}, "DoRA"), ({"target_modules": ["q_proj"], "modules_to_save": ["norm"]}, "modules_to_save"),
    ({"target_modules": ["q_proj"], "rank_pattern": {"layers.0.self_attn.q_proj": 2}}, "ranks"),
    ({"target_modules": ["lm_head"]}, "lm_head"), ({"target_modules": ["embed_tokens"]}, "embed_tokens")])
def test_adapters_that_llama_cpp_cannot_take_are_refused(base: Path, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    adapter = _adapter(base, tmp_path / "peft", **settings)
    with pytest.raises(ModelError, match=words) as caught:
        to_adapter_gguf(adapter, out=tmp_path / "adapter.gguf")
    assert "--to gguf" in str(caught.value.next_step) and _left(tmp_path) == ["peft"]
    assert to_gguf(adapter, out=tmp_path / "merged.gguf").verification.kl < 1e-4


def test_an_adapter_needs_an_adapter(full: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whole model"):
        to_adapter_gguf(full, out=tmp_path / "a.gguf")
    with pytest.raises(ModelError, match="no such GGUF"):
        to_adapter_gguf(run, out=tmp_path / "a.gguf", base_gguf=tmp_path / "none.gguf")
    (tmp_path / "b.gguf").write_bytes(b"no GGUF")
    with pytest.raises(ModelError):
        to_adapter_gguf(run, out=tmp_path / "a.gguf", base_gguf=tmp_path / "b.gguf")
    assert _left(tmp_path) == ["b.gguf"]


def test_what_is_there_is_not_written_over(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_text("mine")
    with pytest.raises(FolderError, match="already"):
        to_gguf(run, out=tmp_path / "mine.gguf")
    with pytest.raises(UsageError, match=r"\.gguf"):
        to_gguf(run, out=tmp_path / "mine.bin")
    assert (tmp_path / "mine.gguf").read_text() == "mine"


def test_a_file_that_does_not_say_the_same_is_removed(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunelab.export.gguf_layout import Layout

    monkeypatch.setattr(Layout, "value", lambda self, tensor, value: value * 1.5)
    with pytest.raises(RunError, match="does not say the same as the run"):
        to_gguf(run, out=tmp_path / "mine.gguf")
    with pytest.raises(RunError, match="does not say the same as the run"):
        to_adapter_gguf(run, out=tmp_path / "mine.gguf")
    assert _left(tmp_path) == []


def test_a_faint_adapter_that_a_format_drowns_is_refused(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = _adapter(base, tmp_path / "peft", target_modules=["q_proj"])
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({name: value * 0.05 for name, value in tensors.items()}, adapter / "adapter_model.safetensors")
    with pytest.raises(RunError, match="the whole effect of training") as caught:
        to_gguf(adapter, out=tmp_path / "mine.gguf", quantize="q4_0")
    assert "--quantize q8_0" in str(caught.value.next_step) and _left(tmp_path) == ["peft"]


@pytest.mark.skipif(sys.platform == "win32", reason="file sizes cannot be limited here")
@pytest.mark.parametrize("limit", [5_000, 150_000])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(full: Path, tmp_path: Path, limit: int) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(StorageError, match="Writing the file failed"):
            to_gguf(full, out=tmp_path / "mine.gguf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert _left(tmp_path) == []


def test_too_little_room_is_seen_before_anything_is_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match=r"GGUF file needs .* and the disk has"):
        to_gguf(run, out=tmp_path / "mine.gguf")
    assert _left(tmp_path) == []


def test_killed_in_the_middle_it_leaves_no_file_and_the_next_try_cleans_up(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.gguf"
    code = ("import time, tunelab.export.gguf_write as m\nreal = m._value\n"
            "def slow(one, layout):\n    time.sleep(0.3)\n    return real(one, layout)\n"
            "m._value = slow\nfrom tunelab.cli.main import main; main()")
    process = subprocess.Popen([sys.executable, "-c", code, "export", str(run), "--to", "gguf", "--out", str(out)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".mine.gguf.*/mine.gguf")) and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(LockedError):
        to_gguf(run, out=out)
    process.kill()
    process.wait()
    assert not out.exists() and list(tmp_path.glob(".mine.gguf.*/"))
    to_gguf(run, out=out)
    assert _left(tmp_path) == ["mine.gguf", "mine.gguf.json"]


# Ollama


def test_a_run_in_ollama(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("double") as one:
        monkeypatch.setenv("OLLAMA_HOST", one.server.address)
        result = export_ollama(run, "mine", out=tmp_path / "served", quantize="q8_0")
        assert result.ollama.created is not None and result.ollama.created.name == "mine:latest"
        assert one.open("mine").facts()["stop"] == ["<|im_start|>", "<|im_end|>"]
    assert _left(tmp_path / "served") == ["Modelfile", "model-q8_0.gguf", "model-q8_0.gguf.json"]
    assert (tmp_path / "served" / "Modelfile").read_text().startswith("FROM ./model-q8_0.gguf\nTEMPLATE ")
    assert _left(tmp_path) == ["served"]


def test_without_ollama_the_files_are_written_and_the_next_step_is_said(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    result = export_ollama(run, out=tmp_path / "served")
    assert result.ollama.created is None and "ollama create" in result.ollama.notes[-1]
    assert "Modelfile" in _left(tmp_path / "served")
    with pytest.raises(FolderError, match="not empty"):
        export_ollama(run, out=tmp_path / "served")
