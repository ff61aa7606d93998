"""Parts of a report from a run's folder, whole, stopped early or bare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunelab.config.finding import Finding, Severity
from tunelab.errors import FolderError
from tunelab.planning.explain import explain_key
from tunelab.report import build
from tunelab.report.content import as_json
from tunelab.runs.events import EventLog
from tunelab.runs.folder import RunFolder

_PLAN = {"steps": 2, "tokens_total": 200, "supervised_total": 80, "trainable": 10, "seconds": None, "disk_bytes": 500,
         "memory": {"framework": 0, "weights": 300, "adapter": 5, "total": 305, "precision": "fp32"}, "assumptions": ["It is a Llama."]}
_MEASURED = {"steps": 2, "tokens": 200, "supervised": 80, "seconds": 4.0, "peak_memory_bytes": 330, "trainable_parameters": 10, "disk_bytes": 600}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    log = EventLog(folder.events_path)
    for step, loss in ((1, 2.5), (2, 9.0), (2, 1.5)):  # step 2 was taken again after a resume
        log.append("step", step=step, epoch=step / 2, loss=loss, lr=1e-3, grad_norm=1.0, tokens=100, supervised=40, seconds=2.0)
    log.append("evaluation", step=2, loss=1.7, rows=3)
    log.close()
    folder.update_manifest(status="finished", base_model={"name": "org/base", "origin": {"license": "Apache-2.0"}}, precision="fp32",
                           plan=_PLAN, measured=_MEASURED, versions={"torch": "2.13.0"},
                           machine={"system": "Linux", "cores": 2, "memory_bytes": 8e9, "gpus": [{"name": "T4", "memory_bytes": 16e9}]})
    return folder


def test_the_training_part_has_each_step_once(run: RunFolder) -> None:
    part = build.training_part(run)
    assert [(point.step, point.loss) for point in part.steps] == [(1, 2.5), (2, 1.5)]
    assert [(point.step, point.loss) for point in part.evaluations] == [(2, 1.7)]
    assert (part.status, part.tokens, part.tokens_per_second) == ("finished", 200, 50.0)
    assert ("GPU", "T4 (16 GB)") in part.machine and part.versions == (("torch", "2.13.0"),)


def test_a_stopped_run_is_counted_from_its_events(run: RunFolder) -> None:
    run.update_manifest(status="interrupted", reason="Stopped after step 2.", measured=None)
    part = build.training_part(run)
    assert (part.reason, part.tokens, part.supervised, part.seconds) == ("Stopped after step 2.", 200, 80, 4.0)
    plan = build.plan_part(run.manifest())
    assert plan is not None and all(row.measured is None and row.ratio is None for row in plan.rows)


def test_losses_that_json_cannot_hold_survive(run: RunFolder) -> None:
    log = EventLog(run.events_path)
    log.append("step", step=3, epoch=1.5, loss=float("nan"), lr=1e-3, grad_norm=float("inf"), tokens=1, supervised=1, seconds=1.0)
    log.close()
    part = build.training_part(run)
    assert json.loads(json.dumps(as_json(part.steps), allow_nan=False))[2]["loss"] == "nan"


def test_the_plan_stands_beside_the_measurement(run: RunFolder) -> None:
    part = build.plan_part(run.manifest())
    assert part is not None
    rows = {row.what: (row.predicted, row.measured) for row in part.rows}
    assert rows["Optimizer steps"] == (2, 2) and rows["Peak memory"] == (305, 330) and rows["Time in steps"] == (None, 4.0)
    assert [(one.name, one.bytes) for one in part.memory] == [("Base weights", 300), ("Adapter", 5)]
    assert part.measured_peak == 330 and part.assumptions == ("It is a Llama.",)
    assert build.plan_part({}) is None


def test_rows_are_read_as_the_run_kept_them(run: RunFolder) -> None:
    assert build.preview_part(run) == ()
    tokens = [{"text": "Hi", "id": 1, "state": "context"}, {"text": "", "id": 2, "state": "trained"}, {"text": "é", "id": 3, "state": "trained"},
              {"text": "<end>", "id": 4, "state": "end_of_turn_trained"}]
    run.preview_path.write_text(json.dumps({"rows": [{"index": 0, "origin": {"dataset": 0, "file": "a.jsonl", "row": 3}, "tokens": tokens}]}))
    (row,) = build.preview_part(run)
    assert (row.origin, row.tokens, row.trained) == ("a.jsonl:3", 4, 3)
    assert [(piece.text, piece.ids) for piece in row.pieces] == [("Hi", (1,)), ("é", (2, 3)), ("<end>", (4,))]


def test_padding_is_one_piece_and_a_border_names_the_row_that_begins() -> None:
    states = ("trained", "pack_border", "context", "padding", "padding", "padding")
    tokens = [{"text": f"t{number}", "id": number, "state": state, "joined": False} for number, state in enumerate(states)]
    (row,) = build.token_rows([{"index": 2, "origin": {"file": "a", "row": 1}, "others": [{"file": "b", "row": 9}], "tokens": tokens}])
    assert [(piece.text, piece.state, piece.origin, len(piece.ids)) for piece in row.pieces] == [
        ("t0", "trained", "", 1), ("t1", "pack_border", "b:9", 1), ("t2", "context", "", 1), ("t3", "padding", "", 3)]
    assert (row.number, row.tokens, row.trained) == (2, 6, 1)


def test_the_config_part_takes_explanations_and_findings_in_both_forms() -> None:
    finding = Finding("TL001", Severity.WARNING, "Odd.", line=3, fix="x: 1")
    kept = {"code": "TL002", "severity": "error", "message": "Wrong.", "line": None, "fix": ""}
    part = build.config_part("a.yml", "x: 2\n", [explain_key("lora_r")], [finding, kept])
    assert [(one.severity, one.code, one.line) for one in part.findings] == [("warning", "TL001", 3), ("error", "TL002", None)]
    assert part.settings[0].name == "lora_r" and part.settings[0].says and not part.settings[0].written


def test_sources_are_those_that_exist_seen_from_the_report(run: RunFolder, tmp_path: Path) -> None:
    comparison = tmp_path / "comparison.jsonl"
    comparison.write_text("")
    found = {source.key: source.path for source in build.source_parts(run, tmp_path, comparison)}
    assert found == {"manifest": "run/manifest.json", "events": "run/events.jsonl", "comparison": "comparison.jsonl"}


def test_origin_prompt_and_missing_run(tmp_path: Path) -> None:
    assert build.origin_part({"base_model": {"name": "org/base", "origin": None}}) == {"model": "org/base"}
    assert build.origin_part({}) is None
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert build.split_prompt(turns) == ("system: Be brief.", "Hi")
    assert build.split_prompt([]) == ("", "")
    with pytest.raises(FolderError):
        build.training_part(RunFolder(tmp_path))
