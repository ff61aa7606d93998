"""The doctor on real runs of a tiny model, healthy ones and such as were made sick on purpose: live in the log, and afterwards from the folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tiny import write_config, write_data

from tunelab.errors import RunError
from tunelab.runs.doctor import Examined, examine
from tunelab.runs.events import read_events
from tunelab.workflow.train import train

FULL: dict[str, Any] = {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_dropout": None, "lora_target_linear": None}
NO_EVALUATION: dict[str, Any] = {"val_set_size": 0, "eval_steps": None}
MACHINE = {"TD404"}  # how fast a machine was is not the run's doing


def _run(folder: Path, model: Path, rows: int = 40, **changes: Any) -> Examined:
    config = write_config(folder / "config.yml", model, write_data(folder / "data.jsonl", rows), folder / "run", **{"save_steps": 500, **changes})
    train(str(config))
    return examine(folder / "run")


def _codes(found: Examined) -> list[str]:
    return [one.code for one in found.findings if one.code not in MACHINE]


@pytest.fixture(scope="module")
def fitted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Examined:
    """A model that knows 14 rows by heart, trained without held-out rows."""
    return _run(tmp_path_factory.mktemp("fitted"), tiny_model, 14, num_epochs=60, learning_rate=0.01, **FULL, **NO_EVALUATION)


@pytest.mark.parametrize("changes", [
    {}, {**FULL, "learning_rate": 0.001}, {"num_epochs": 4, "lr_scheduler": "linear", "sample_packing": False, "gradient_accumulation_steps": 6}])
def test_healthy_runs_are_left_alone(tiny_model: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    found = _run(tmp_path, tiny_model, **changes)
    assert found.status == "finished" and _codes(found) == [] and found.next_step.startswith("tunelab report")
    assert not any(event["event"] == "finding" and event["code"] not in MACHINE for event in read_events(tmp_path / "run" / "events.jsonl"))


def test_a_rate_out_of_all_bounds_ends_with_the_explanation(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError) as failure:
        _run(tmp_path, tiny_model, learning_rate=100)
    assert "Edit: learning_rate: 0.0002. Then train again in a new output_dir" in (failure.value.next_step or "")
    found = examine(tmp_path / "run")
    assert found.status == "failed" and _codes(found) == ["TD102", "TD101"] and found.findings[0].step == 4
    assert [event["code"] for event in read_events(tmp_path / "run" / "events.jsonl") if event["event"] == "finding"] == ["TD102", "TD101"]
    assert found.next_step.startswith("Make the edit below")


def test_a_rate_of_next_to_nothing(tiny_model: Path, tmp_path: Path) -> None:
    found = _run(tmp_path, tiny_model, learning_rate=1e-12)
    assert _codes(found) == ["TD202"] and "1e-12 at most" in found.findings[0].seen and found.findings[0].edit == "learning_rate: 0.0002"


def test_a_rate_at_which_nothing_moves(tiny_model: Path, tmp_path: Path) -> None:
    found = _run(tmp_path, tiny_model, learning_rate=1e-7)
    assert _codes(found) == ["TD201"] and "held-out loss" in found.findings[0].seen and found.findings[0].edit == "learning_rate: 0.0002"


def test_an_adapter_without_effect(tiny_model: Path, tmp_path: Path) -> None:
    found = _run(tmp_path, tiny_model, lora_alpha=1e-20)
    assert _codes(found) == ["TD203"] and found.findings[0].edit == "lora_target_linear: true\nlora_alpha: 8"


def test_rows_known_by_heart_cannot_be_judged_without_others(fitted: Examined) -> None:
    assert _codes(fitted) == ["TD303"] and fitted.findings[0].edit == "val_set_size: 0.1\nevals_per_epoch: 2"


def test_a_model_that_knows_the_answers(fitted: Examined, tmp_path: Path) -> None:
    found = _run(tmp_path, fitted.folder, 14, num_epochs=4, learning_rate=0.0001, **FULL, **NO_EVALUATION)
    assert _codes(found) == ["TD304"]


def test_a_model_that_is_thrown_off(fitted: Examined, tmp_path: Path) -> None:
    found = _run(tmp_path, fitted.folder, 14, num_epochs=10, learning_rate=1.0, **FULL, **NO_EVALUATION)
    assert _codes(found)[0] == "TD103" and found.findings[0].edit.startswith("learning_rate: 2e-05")


def test_overfitting_names_the_turn_and_the_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    found = _run(tmp_path, tiny_model, 14, num_epochs=40, learning_rate=0.01, lr_scheduler="constant", val_set_size=0.3, eval_steps=10, save_steps=10,
                 **FULL)
    assert _codes(found) == ["TD301"]
    best = min(found.evaluations, key=lambda looked: looked[1])[0]
    assert found.findings[0].step == best and f"checkpoint-{best}." in found.findings[0].advice
    assert found.findings[0].edit == f"num_epochs: {best}"


def test_very_few_supervised_tokens(tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "short.jsonl"
    data.write_text("".join(json.dumps({"messages": [{"role": "user", "content": f"is {index} red"}, {"role": "assistant", "content": "no"}]}) + "\n"
                            for index in range(30)), encoding="utf-8")
    train(str(write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", sample_packing=False, gradient_accumulation_steps=1,
                           num_epochs=1)))
    found = examine(tmp_path / "run")
    assert _codes(found) == ["TD401"] and found.findings[0].edit == "gradient_accumulation_steps: 16"


def test_a_killed_run_is_explained_and_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, write_data(tmp_path / "data.jsonl"), tmp_path / "run", num_epochs=200, save_steps=4)
    process = subprocess.Popen([sys.executable, "-m", "tunelab.cli.main", "train", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "HF_HUB_OFFLINE": "1"})
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoint-4").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    assert examine(tmp_path / "run").status == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = examine(tmp_path / "run")
    assert found.status == "killed" and found.findings[0].code == "TD704"
    assert found.resumes_at is not None and found.resumes_at >= 4 and f"--resume (from step {found.resumes_at})" in found.next_step
