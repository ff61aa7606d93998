"""A run's GGUF in Ollama: with the run's template, proven by the server's own words, or with the Modelfile where no server is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.finished import write_finished_run
from tests.helpers.ollama_served import serving
from tests.helpers.tiny import write_tokenizer

from tunelab.errors import RunError
from tunelab.runs.folder import RunFolder
from tunelab.workflow.export_ollama import to_ollama
from tunelab.workflow.sides import run_tokenizer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = write_finished_run(tmp_path)
    write_tokenizer(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 256}')
    folder = RunFolder(path)
    folder.update_manifest(**{**folder.manifest(), "base_model": {"name": "m", "folder": str(tmp_path / "model"), "origin": None}})
    (tmp_path / "model.gguf").write_bytes(b"GGUF and the rest")
    return path


def test_the_model_is_created_with_the_runs_template(run: Path) -> None:
    with serving("double") as one:
        found = to_ollama(run_tokenizer(run), run.parent / "model.gguf", "mine", host=one.server.address)
        assert found.created is not None
        assert found.created.name == "mine:latest"
        assert one.open("mine").facts()["stop"] == ["<|im_start|>", "<|im_end|>"]
    assert found.made.known == "chatml"
    assert found.path.read_text().startswith("FROM ./model.gguf\nTEMPLATE ")


def test_without_a_server_the_modelfile_says_what_to_do(run: Path) -> None:
    found = to_ollama(run_tokenizer(run), run.parent / "model.gguf", "mine", host="127.0.0.1:9")
    assert found.created is None
    assert f"ollama create mine -f {found.path}" in found.notes[-1]


def test_a_model_that_would_be_fed_other_text_is_removed_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("double") as one:
        assert one.double is not None
        monkeypatch.setattr("tests.helpers.ollama_server._chatml", lambda messages: "something else")
        with pytest.raises(RunError, match="other text than training"):
            to_ollama(run_tokenizer(run), run.parent / "model.gguf", "mine", host=one.server.address)
        assert "mine:latest" not in one.double.models


def test_a_server_that_does_not_tell_is_said(run: Path) -> None:
    with serving("double") as one:
        assert one.double is not None
        one.double.version = "0.5.0"
        found = to_ollama(run_tokenizer(run), run.parent / "model.gguf", "mine", host=one.server.address)
    assert "too old to tell" in found.notes[-1]
