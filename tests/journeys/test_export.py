"""A run is trained, merged, and taken elsewhere; wrong inputs are a sentence each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.helpers.tiny import write_config, write_data
from tests.journeys.test_bad_input import run

from tunelab.workflow.train import train

pytestmark = pytest.mark.journey


def test_from_a_config_to_a_model_that_needs_no_adapter(tiny_model: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, write_data(tmp_path / "data.jsonl"), tmp_path / "run", num_epochs=1)
    train(str(config))
    done = run("export", str(tmp_path / "run"), "--to", "merged")
    assert done.returncode == 0, done.stderr
    assert "merged | base + adapter" in done.stdout and "rows that the run held out" in done.stdout and "greedy answers equal: 4 of 4" in done.stdout
    merged = tmp_path / "run" / "merged"
    assert {path.name for path in merged.iterdir()} == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                                        "tokenizer_config.json", "chat_template.jinja", "README.md", "origin.json",
                                                        "verification.json"}
    again = run("export", str(tmp_path / "run"), "--to", "merged")
    assert again.returncode == 2 and "not empty" in again.stderr and "--out" in again.stderr
    machine = run("export", str(tmp_path / "run"), "--to", "merged", "--out", str(tmp_path / "half"), "--dtype", "bf16", "--json")
    found = json.loads(machine.stdout)
    assert found["verification"]["dtype"] == "bf16" and 0 < found["verification"]["merged"]["kl"] < found["verification"]["effect"]["kl"]


def test_from_a_config_to_one_file_for_llama_cpp(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    config = write_config(tmp_path / "config.yml", tiny_model, write_data(tmp_path / "data.jsonl"), tmp_path / "run", num_epochs=1)
    train(str(config))
    done = run("export", str(tmp_path / "run"), "--to", "gguf")
    assert done.returncode == 0, done.stderr
    assert "divergence from the run" in done.stdout and "greedy answers: 4 of 4 equal" in done.stdout and "Written: " in done.stdout
    file = tmp_path / "run" / "model-f16.gguf"
    assert run("parity", str(tmp_path / "run"), f"gguf:{file}").returncode == 0
    again = run("export", str(tmp_path / "run"), "--to", "gguf")
    assert again.returncode == 2 and "already" in again.stderr
    machine = run("export", str(tmp_path / "run"), "--to", "adapter-gguf", "--base-gguf", str(file), "--json")
    assert machine.returncode == 1 and "Verification failed" in machine.stdout  # that is no base: it holds the adapter already
    machine = run("export", str(tmp_path / "run"), "--to", "adapter-gguf", "--json")
    found = json.loads(machine.stdout)
    assert found["verification"]["greedy_same"] == 4 and found["path"].endswith("adapter.gguf")


@pytest.mark.parametrize(("arguments", "words"), [
    (("nowhere", "--to", "merged"), "There is no such folder"), (("{base}", "--to", "merged"), "whole model and no adapter"),
    (("{base}", "--to", "merged", "--out", "{base}"), "not empty"), (("{base}", "--to", "onnx"), "merged"),
    (("{base}", "--to", "merged", "--checkpoint", "3"), "holds no run"), (("nowhere", "--to", "gguf"), "There is no such folder"),
    (("{base}", "--to", "gguf", "--out", "model.bin"), "has to end in .gguf"), (("{base}", "--to", "gguf", "--quantize", "q3_k"), "q4_k_m"),
    (("{base}", "--to", "gguf", "--dtype", "bf16"), "--dtype is for --to merged"), (("{base}", "--to", "adapter-gguf"), "whole model and no adapter"),
    (("{base}", "--to", "merged", "--quantize", "q8_0"), "--quantize is for --to gguf and ollama")])
def test_wrong_inputs(tiny_model: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("export", *(one.replace("{base}", str(tiny_model)) for one in arguments))
    assert done.returncode == 2 and words in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr, done.stderr
