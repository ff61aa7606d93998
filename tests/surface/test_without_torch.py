"""The light verbs work where torch is not installed: a subprocess in which importing it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.helpers.finished import write_finished_run
from tests.helpers.tiny import write_config, write_data, write_tokenizer

ROOT = Path(__file__).parent.parent.parent
BLOCKED = ("torch", "transformers", "peft", "accelerate", "datasets", "safetensors", "pandas", "pyarrow")
CODE = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
from tunelab.cli.main import main
main()
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, cwd=ROOT, check=False,
                          env={**os.environ, "HF_HUB_OFFLINE": "1"})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    write_tokenizer(model)
    (model / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 256, "tie_word_embeddings": True}))
    return write_config(tmp_path / "config.yml", model, write_data(tmp_path / "data.jsonl"), tmp_path / "run")


@pytest.mark.parametrize("verb", ["", "explain", "check", "plan", "preview", "train", "compare", "export", "report", "lab"])
def test_help(verb: str) -> None:
    done = _run(*([verb] if verb else []), "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert not verb or "xample" in done.stdout  # every verb's help shows an example


def test_explain_check_plan_preview(config: Path) -> None:
    for verb in ("explain", "check", "plan", "preview"):
        done = _run(verb, str(config), "--json")
        assert done.returncode == 0, f"{verb}: {done.stderr}"
        assert json.loads(done.stdout)


def test_check_of_the_handout() -> None:
    done = _run("check", "examples/handout.yml")
    assert done.returncode == 0
    assert "openhermes" in done.stdout


def test_report(tmp_path: Path) -> None:
    run = write_finished_run(tmp_path)
    done = _run("report", str(run), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "<html" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_compare_of_scripted_answers(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"id": "a", "prompt": "2+2?", "grader": {"kind": "exact", "expected": "4"}}\n')
    (tmp_path / "base.json").write_text('{"a": "five"}')
    (tmp_path / "tuned.json").write_text('{"a": "4"}')
    done = _run("compare", f"scripted:{tmp_path}/base.json", f"scripted:{tmp_path}/tuned.json", "--prompts", str(tmp_path / "prompts.jsonl"),
                "--general", "none", "--out", str(tmp_path / "comparison.jsonl"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdicts"]


def test_training_says_what_is_missing_and_how_to_install_it(config: Path) -> None:
    done = _run("train", str(config))
    assert done.returncode == 1
    assert "not installed" in done.stderr and "pip install" in done.stderr and "Traceback" not in done.stderr
