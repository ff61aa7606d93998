"""Runs in a list and side by side, whatever state they are in; what runs say of themselves is text on the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tunelab.errors import FolderError, UsageError
from tunelab.runs.store import write_json
from tunelab.workflow.runs import compare_runs, list_runs, write_comparison


def _run(folder: Path, steps: int = 12, rate: str = "0.01", **manifest: Any) -> Path:
    sections = {"adapter": {"adapter": "lora"}, "preference": {"rl": "dpo"}}
    write_json(folder / "manifest.json", {
        "tunelab": "0", "status": "finished", "started": 1000.0 + steps, "base_model": {"name": "org/tiny"}, "plan": {"steps": 12, "trainable": 6144},
        "measured": {"tokens": 1200, "seconds": 6.0, "supervised": 600}, "config": {"sections": sections}, "data": {"fingerprint": "a"},
        "versions": {"torch": "2.13.0"}, **manifest})
    (folder / "config.yml").write_text(f"base_model: org/tiny\nlearning_rate: {rate}\noutput_dir: {folder}\n"
                                       "datasets: [{path: a.jsonl, type: alpaca}]\nadapter: lora\n", encoding="utf-8")
    events: list[dict[str, Any]] = [{"event": "step", "step": step, "loss": 3 / step, "lr": 0.01, "grad_norm": 0.5, "tokens": 100, "seconds": 0.5,
                                     "samples": list(range(200))} for step in range(1, steps + 1)]
    events.append({"event": "evaluation", "step": steps, "loss": 0.5})
    (folder / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in events), encoding="utf-8")
    return folder


def test_runs_of_all_kinds_are_listed_the_newest_last(tmp_path: Path) -> None:
    _run(tmp_path / "b" / "done")
    _run(tmp_path / "a", steps=5, status="running", measured=None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "events.jsonl").write_text("")
    (tmp_path / "broken" / "manifest.json").write_text("{")
    write_json(tmp_path / "website" / "manifest.json", {"name": "not a run"})
    found = list_runs(tmp_path)
    assert [(one.folder.name, one.status, one.step, one.total) for one in found] == [
        ("broken", "damaged", 0, 0), ("a", "killed", 5, 12), ("done", "finished", 12, 12)]
    done = found[2]
    assert (done.method, done.base_model, done.last_loss, done.eval_loss, done.tokens_per_second) == ("lora dpo", "org/tiny", 0.25, 0.5, 200.0)
    assert found[1].tokens_per_second == 200.0 and done.bytes > 1000


def test_runs_side_by_side(tmp_path: Path) -> None:
    first = _run(tmp_path / "first")
    second = _run(tmp_path / "second", 7, "1e-4", status="failed", versions={"torch": "2.14.0"}, data={"fingerprint": "b"})
    compared = compare_runs([first, second])
    assert [len(one.loss) for one in compared.curves] == [12, 7] and compared.curves[0].eval_loss == ((12, 0.5),)
    assert [(one.name, one.first, one.second) for one in compared.differences[0].differences] == [("learning_rate", 0.01, 0.0001)]
    facts = {one.name: one.values for one in compared.facts}
    assert facts["torch"] == ("2.13.0", "2.14.0") and facts["rows and labels"] == ("data A", "data B") and "base model" not in facts


def test_a_run_without_its_config_is_compared_as_far_as_that_goes(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "first"), _run(tmp_path / "second")
    (second / "config.yml").unlink()
    compared = compare_runs([first, second])
    assert compared.differences[0].unknown == f"{second / 'config.yml'} is missing"


def test_the_page_loads_nothing_and_shows_names_as_text(tmp_path: Path) -> None:
    first = _run(tmp_path / "<img src=x onerror=alert(1)>", base_model={"name": "</title><script>alert(2)</script>"})
    second = _run(tmp_path / "plain", status="\u202efailed")
    write_comparison(compare_runs([first, second, first]), tmp_path / "runs.html")
    page = (tmp_path / "runs.html").read_text(encoding="utf-8")
    assert "<img" not in page and "<script>alert" not in page and "\u202e" not in page and "http" not in page.replace("http-equiv", "")
    assert page.count('class="chart overlay"') == 8 and "default-src 'none'" in page


def test_one_run_and_no_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Two runs or more"):
        compare_runs([tmp_path])
    with pytest.raises(FolderError, match="no such folder"):
        list_runs(tmp_path / "nowhere")
    with pytest.raises(FolderError, match="holds no tunelab run"):
        compare_runs([tmp_path, tmp_path])


def test_a_folder_may_stand_where_the_command_does(tmp_path: Path) -> None:
    _run(tmp_path / "one")
    asked = [sys.executable, "-m", "tunelab.cli.main", "runs"]
    for arguments in ([str(tmp_path), "--json"], ["list", str(tmp_path), "--json"]):
        found = json.loads(subprocess.run([*asked, *arguments], capture_output=True, text=True, check=True).stdout)
        assert [one["status"] for one in found] == ["finished"]
