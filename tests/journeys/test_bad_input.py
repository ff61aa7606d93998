"""Wrong input, as a person types it: one clear sentence and a next step, the right exit code, no traceback, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.helpers.tiny import write_config, write_data


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, on a wide terminal so that sentences stay on one line."""
    return subprocess.run([sys.executable, "-m", "tunelab.cli.main", *arguments], capture_output=True, text=True, check=False, cwd=cwd,
                          env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "400"})


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It failed with this code, said these words, and kept its traceback to itself."""
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    for word in words:
        assert word in said, f"{word!r} is not in: {said}"


@pytest.fixture
def setting(tiny_model: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """(model, data, output) of a config that would run."""
    return tiny_model, write_data(tmp_path / "data.jsonl"), tmp_path / "run"


def test_no_file(tmp_path: Path) -> None:
    refused(run("check", str(tmp_path / "nothing.yml")), 2, "No such file", "nothing.yml")


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "lab.yml").write_text("base_model: x\n")
    refused(run("train", str(tmp_path)), 2, "This is a folder", "lab.yml")


@pytest.mark.parametrize(("text", "place", "words"), [
    ("base_model: [a\nlearning_rate: 1\n", ":2:", "Not valid YAML"),
    ("base_model: x\n\tlearning_rate: 1\n", ":2:", "tabs"),
    ("- base_model: x\n", ":1", "list"),
    ("base_model: x\nbase_model: y\n", ":2:1", "written twice"),
    ("", "", "empty"),
    ("just words\n", ":1", "expected key: value pairs"),
])
def test_text_that_is_no_config(tmp_path: Path, text: str, place: str, words: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    refused(run("check", str(path)), 2, f"{path}{place}", words)


def test_unknown_key_wrong_type_and_both_precisions_are_all_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("base_model: some/model\nlearning_rate: 0.001\nmicro_batch_sise: 2\nlora_r: many\nfp16: true\nbf16: true\n"
                    "datasets: [{path: x.jsonl, type: alpaca}]\n")
    done = run("check", str(path))
    refused(done, 2, f"{path}:3:1", "Did you mean `micro_batch_size`?", f"{path}:4:1", "expected a whole number above 0", "fp16", "bf16")
    findings = json.loads(run("check", str(path), "--json").stdout)["findings"]
    assert {(one["line"], one["severity"]) for one in findings} >= {(3, "error"), (4, "error")}
    assert any(one["line"] in (5, 6) and one["severity"] == "warning" for one in findings)


def test_a_dataset_that_is_missing(setting: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, _, output = setting
    config = write_config(tmp_path / "c.yml", model, tmp_path / "missing.jsonl", output)
    refused(run("train", str(config)), 2, "missing.jsonl")
    assert not output.exists() or not any(item for item in output.iterdir() if item.name != ".lock")


def test_a_dataset_that_is_empty(setting: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, output = setting
    data.write_text("")
    refused(run("train", str(write_config(tmp_path / "c.yml", model, data, output))), 2, "data.jsonl", "empty")


def test_a_dataset_of_the_wrong_shape_names_the_row_and_its_columns(setting: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, output = setting
    lines = data.read_text().splitlines()
    lines[6] = '{"instruction": "a", "output": "b"}'
    data.write_text("\n".join(lines) + "\n")
    refused(run("train", str(write_config(tmp_path / "c.yml", model, data, output))), 2, "data.jsonl:7", "instruction", "output")


def test_a_broken_line_is_named(setting: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, output = setting
    data.write_text(data.read_text() + '{"messages": [}\n')
    refused(run("train", str(write_config(tmp_path / "c.yml", model, data, output))), 2, "data.jsonl:41")


def test_prompts_that_fill_sequence_len(setting: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, output = setting
    rows = [{"messages": [{"role": "user", "content": "word " * 60}, {"role": "assistant", "content": "yes"}]}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused(run("train", str(write_config(tmp_path / "c.yml", model, data, output, sequence_len=32))), 2, "data.jsonl:1", "sequence_len")


def test_a_base_model_that_does_not_exist_without_network(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.jsonl")
    config = write_config(tmp_path / "c.yml", Path("nobody/no-such-model"), data, tmp_path / "run")
    begin = time.monotonic()
    refused(run("train", str(config)), 2, "nobody/no-such-model", "HF_HUB_OFFLINE")
    assert time.monotonic() - begin < 30
    config = write_config(tmp_path / "c.yml", tmp_path / "no-folder", data, tmp_path / "run")
    refused(run("train", str(config)), 2, "no-folder", "base_model")


def test_an_output_folder_that_holds_another_run(setting: tuple[Path, Path, Path], tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yml", *setting, max_steps=1, save_steps=None, eval_steps=None, val_set_size=None)
    assert run("train", str(config)).returncode == 0
    before = {file.name: file.read_bytes() for file in setting[2].iterdir() if file.is_file()}
    refused(run("train", str(config)), 2, "already holds a run", "--resume")
    assert {file.name: file.read_bytes() for file in setting[2].iterdir() if file.is_file()} == before


def test_errors_are_json_for_machines(tmp_path: Path) -> None:
    done = run("plan", str(tmp_path / "nothing.yml"), "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["message"] == "No such file."


def test_reporting_on_a_folder_without_a_run(tmp_path: Path) -> None:
    refused(run("report", str(tmp_path)), 2, "no tunelab run")


def test_comparing_with_servers_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.txt").write_text("hello\n")
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    refused(run("compare", "ollama:phi3", "ollama:phi3", "--prompts", str(tmp_path / "p.txt"), "--out", str(tmp_path / "c.jsonl")), 1, "ollama serve")
    refused(run("compare", "gguf:no.gguf", "gguf:no.gguf", "--prompts", str(tmp_path / "p.txt"), "--out", str(tmp_path / "c.jsonl")), 2, "no such")
    assert not (tmp_path / "c.jsonl").exists()


def test_explaining_a_key_that_does_not_exist() -> None:
    refused(run("explain", "lora_rr"), 2, "lora_r")
