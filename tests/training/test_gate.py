"""The gate stands before step 1: a run with spoilt data is not begun, and begins when its problem is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.helpers.tiny import write_config, write_data

from tunelab.data.gate import GateProblem
from tunelab.errors import DataError, UsageError
from tunelab.workflow.train import train


def test_a_problem_stops_the_run_unless_it_is_named(tiny_model: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.jsonl", rows=12)
    rows = data.read_text(encoding="utf-8").splitlines()
    data.write_text("\n".join([*rows, *rows[:6]]) + "\n", encoding="utf-8")
    config = str(write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "out", val_set_size=6, max_steps=1, eval_steps=None,
                              save_steps=None, shuffle_merged_datasets=False))
    with pytest.raises(DataError) as stopped:
        train(config)
    assert "[overlap] All 6 held-out rows are trained on too" in stopped.value.message and f"{data}:13" in stopped.value.message
    assert f"tunelab train {config} --allow overlap" in str(stopped.value.next_step)
    with pytest.raises(UsageError, match="no problem of the name ovrlap"):
        train(config, allow=["ovrlap"])
    said: list[GateProblem] = []
    done = train(config, allow=["overlap"], said=said.append)
    assert done.manifest["status"] == "finished" and [problem.code for problem in said] == ["overlap"]
    kept = json.loads((done.folder / "preview.json").read_text(encoding="utf-8"))["problems"]
    assert [(problem["code"], problem["rows"], problem["of"]) for problem in kept] == [("overlap", 6, 6)]
