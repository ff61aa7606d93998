"""What trackers are told is what their own readers find: each logged step once, over all sittings of a run; and none of them can stop one."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tiny import write_config, write_data

from tunelab.config import read_config
from tunelab.runs.events import EventLog, StepRecord
from tunelab.runs.folder import RunFolder
from tunelab.training.run import Watch
from tunelab.training.trackers import TRACKERS, Beginning, tracked
from tunelab.workflow.train import train

os.environ["TRACKIO_DIR"] = tempfile.mkdtemp()  # read when trackio is imported


class Notes(Watch):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Dies(Notes):
    """A display that fails at a step, as a crash of the run would."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def step(self, record: StepRecord, total: int) -> None:
        if record.step == self._at:
            raise RuntimeError("a crash")


def _tell(tmp_path: Path, watch: Watch, upto: int = 3, kinds: Mapping[str, Any] = TRACKERS, **keys: object) -> RunFolder:
    """Tell made-up steps to the trackers of a config, as a run does: an event first, then the watch. Goes on where the events end."""
    path = write_config(tmp_path / "config.yml", Path("no-model"), Path("no-data"), tmp_path / "run", logging_steps=1, **keys)
    folder = RunFolder(tmp_path / "run")
    events = EventLog(folder.events_path)
    with tracked(read_config(path).config, folder, events, watch, kinds) as told:
        for step in range(1, upto + 1):
            events.append("step", step=step, loss=5.0 / step)
            told.step(StepRecord(step, step / 10, 5.0 / step, 0.001, 0.5, 100, 50, 0.1, {"rewards/accuracies": 0.5}), 10)
        events.append("evaluation", step=upto, loss=1.25)
        told.evaluation(upto, 1.25, {})
    events.close()
    return folder


def _tensorboard(folder: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return [(event.step, round(event.value, 4)) for event in reader.Scalars(name)]


def test_nothing_is_begun_that_is_not_asked_for(tmp_path: Path) -> None:
    watch = Notes()
    folder = _tell(tmp_path, watch, use_wandb=False, wandb_project="mine")
    assert {item.name for item in folder.path.iterdir()} == {"events.jsonl"} and watch.notes == []


def test_tensorboard_of_a_crashed_and_resumed_run_has_each_step_once(tiny_model: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.jsonl")
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", use_tensorboard=True, logging_steps=1)
    with pytest.raises(RuntimeError, match="a crash"):
        train(str(config), watch=Dies(8))
    train(str(config), resume=True)
    told = _tensorboard(tmp_path / "run" / "runs", "train/loss")
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "step"] == [*range(1, 9), *range(7, 13)]
    losses = {event["step"]: round(event["loss"], 4) for event in events if event["event"] == "step"}
    assert [step for step, _ in told] == [step for step in range(1, 13) if step != 8]  # the crash was between the event and the tracker
    assert all(value == losses[step] for step, value in told)
    assert [step for step, _ in _tensorboard(tmp_path / "run" / "runs", "eval/loss")] == [5, 10, 12]


def test_mlflow_keeps_one_run_over_two_sittings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    keys = {"mlflow_experiment_name": "words", "comet_api_key": "abcdef0123456789"}
    _tell(tmp_path, Notes(), 3, **keys)
    folder = _tell(tmp_path, Notes(), 5, **keys)
    from mlflow import MlflowClient

    ids = json.loads((folder.path / "trackers.json").read_text())["mlflow"]
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("words")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.run_id for run in runs] == [ids["run"]] and runs[0].info.status == "FINISHED" and runs[0].info.run_name == "run"
    assert [(one.step, one.value) for one in client.get_metric_history(ids["run"], "train/loss")] == [(step, 5.0 / step) for step in range(1, 6)]
    assert [one.step for one in client.get_metric_history(ids["run"], "eval/loss")] == [3, 5]
    assert runs[0].data.params["learning_rate"] == "0.01" and "comet_api_key" not in runs[0].data.params


def test_trackio_keeps_one_run_over_two_sittings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _tell(tmp_path, Notes(), 3, trackio_project_name="words")
    folder = _tell(tmp_path, Notes(), 5, trackio_project_name="words")
    assert capsys.readouterr().out == ""  # standard output may be JSON lines
    from trackio.sqlite_storage import SQLiteStorage

    name = json.loads((folder.path / "trackers.json").read_text())["trackio"]["name"]
    assert [one for one in SQLiteStorage.get_runs("words") if one == name] == [name]
    logs = SQLiteStorage.get_logs("words", name)
    assert [(one["step"], one["train/loss"]) for one in logs if "train/loss" in one] == [(step, 5.0 / step) for step in range(1, 6)]
    assert all(one["train/rewards/accuracies"] == 0.5 for one in logs if "train/loss" in one)


def test_wandb_without_a_login_is_kept_offline_under_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    watch = Notes()
    _tell(tmp_path, watch, 3, use_wandb=True)
    time.sleep(1.1)  # wandb names an offline folder by the second; between two sittings of a real run a model is loaded
    folder = _tell(tmp_path, watch, 5, use_wandb=True)
    assert len(watch.notes) == 2 and all("kept offline: nobody is logged in" in note for note in watch.notes)
    files = sorted(folder.path.glob("wandb/offline-run-*/*.wandb"))
    run_id = json.loads((folder.path / "trackers.json").read_text())["wandb"]["id"]
    assert {file.name for file in files} == {f"run-{run_id}.wandb"}
    told = [row for file in files for row in _wandb(file)]
    assert [(row["_step"], row["train/loss"]) for row in told] == [(step, 5.0 / step) for step in range(1, 6)]
    assert [row["eval/loss"] for row in told if "eval/loss" in row] == [1.25, 1.25]


def _wandb(file: Path) -> list[dict[str, Any]]:
    """The history of an offline file, its records read by wandb's own protocol."""
    from wandb.proto import wandb_internal_pb2

    data, rows, whole = file.read_bytes(), [], b""
    at = 7  # after ":W&B" and a version: LevelDB's log format, records of (checksum, length, kind) that do not cross blocks of 32 KiB
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record.FromString(whole)
            whole = b""
            if record.WhichOneof("record_type") == "history":
                rows.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item})
    return rows


class Broken:
    """A tracker that cannot be reached any more."""

    def __init__(self, beginning: Beginning) -> None:
        self.told = 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        raise ConnectionError("no route to host\nand a long tail")

    def finish(self, succeeded: bool) -> None:
        raise AssertionError("a tracker that failed is not asked again")


def _refuses(beginning: Beginning) -> Broken:
    raise ValueError("no such server.")


@pytest.mark.parametrize(("kind", "said"), [
    (("Broken", "json", Broken), "Broken failed and is told no more: no route to host. The run goes on."),
    (("Refusing", "json", _refuses), "Refusing is left out: no such server."),
    (("Absent", "no_such_package", Broken), "Absent is left out: the package 'no_such_package' is not installed (pip install 'tunelab[track]').")])
def test_a_tracker_that_fails_is_one_sentence_and_the_run_goes_on(tmp_path: Path, kind: tuple[Any, ...], said: str) -> None:
    watch = Notes()
    _tell(tmp_path, watch, kinds={"mlflow": kind}, use_mlflow=True)
    assert watch.notes == [said]


def test_an_mlflow_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    watch = Notes()
    _tell(tmp_path, watch, use_mlflow=True, mlflow_tracking_uri="http://127.0.0.1:9")
    assert len(watch.notes) == 1 and watch.notes[0].startswith("MLflow is left out: API request to http://127.0.0.1:9")
