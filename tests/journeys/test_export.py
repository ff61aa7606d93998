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


@pytest.mark.parametrize(("arguments", "words"), [
    (("nowhere", "--to", "merged"), "There is no such folder"), (("{base}", "--to", "merged"), "whole model and no adapter"),
    (("{base}", "--to", "merged", "--out", "{base}"), "not empty"), (("{base}", "--to", "onnx"), "merged"),
    (("{base}", "--to", "merged", "--checkpoint", "3"), "holds no run")])
def test_wrong_inputs(tiny_model: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("export", *(one.replace("{base}", str(tiny_model)) for one in arguments))
    assert done.returncode == 2 and words in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr, done.stderr
