"""Files of a run are whole or absent, and a torn event line costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunelab.errors import FolderError, LockedError, StorageError, storage_errors
from tunelab.runs.events import EventLog, evaluations, read_events, steps
from tunelab.runs.folder import RunFolder, RunLock, open_for_training
from tunelab.runs.store import read_json, whole_folder, write_json, write_text


def test_writing_replaces_a_file_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "file.txt", "old")
    write_text(tmp_path / "a" / "file.txt", "new ü\n")
    assert (tmp_path / "a" / "file.txt").read_bytes() == "new ü\n".encode()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file.txt"]


def test_a_file_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_fails_on_the_way_leaves_the_old_folder(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "checkpoint-1", "Saving") as folder:
        (folder / "weights").write_text("old")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "checkpoint-1", "Saving") as folder:
        (folder / "weights").write_text("half")
        raise RuntimeError
    assert (tmp_path / "checkpoint-1" / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_full_device_is_a_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StorageError, match="the disk is full"), storage_errors(tmp_path, "Writing"):
        Path("/dev/full").write_text("x", encoding="utf-8")


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema": 1')
    with pytest.raises(StorageError, match="damaged") as caught:
        read_json(tmp_path / "manifest.json")
    assert "manifest.json:1" in str(caught.value)


def test_a_torn_last_event_is_left_out_and_cut_off_when_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append("step", step=1, loss=2.0)
    log.close()
    with path.open("a") as file:
        file.write('{"event": "step", "st')
    assert [event["step"] for event in read_events(path)] == [1]
    log = EventLog(path)
    log.append("step", step=2, loss=1.0)
    log.close()
    assert [event["step"] for event in read_events(path)] == [1, 2]


def test_a_step_that_was_done_again_counts_once_as_it_was_done_last(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for step, loss in ((1, 3.0), (2, 2.5), (3, 9.0), (3, 2.0)):
        log.append("step", step=step, loss=loss)
    log.append("evaluation", step=3, loss=1.0)
    log.close()
    assert [(event["step"], event["loss"]) for event in steps(log.path)] == [(1, 3.0), (2, 2.5), (3, 2.0)]
    assert len(evaluations(log.path)) == 1


def test_a_folder_is_held_by_one_writer(tmp_path: Path) -> None:
    folder, lock = open_for_training(tmp_path / "run", resume=False)
    with pytest.raises(LockedError, match="Another tunelab process"):
        RunLock(folder)
    lock.release()
    RunLock(folder).release()


def test_a_folder_with_a_run_needs_resume_and_resume_needs_a_run(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(FolderError, match="no run here"):
            open_for_training(tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()
    write_json(tmp_path / "run" / "manifest.json", {"status": "interrupted"})
    with pytest.raises(FolderError, match=r"already holds a run \(interrupted\)"):
        open_for_training(tmp_path / "run", resume=False)
    folder, lock = open_for_training(tmp_path / "run", resume=True)
    lock.release()
    assert folder.manifest()["status"] == "interrupted"


def test_a_start_that_was_killed_before_it_wrote_anything_can_be_resumed(tmp_path: Path) -> None:
    _, lock = open_for_training(tmp_path / "run", resume=False)
    lock.release()
    _, lock = open_for_training(tmp_path / "run", resume=True)
    lock.release()


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(FolderError, match="is a file"):
        open_for_training(tmp_path / "run", resume=False)


def test_checkpoints_are_listed_oldest_first(tmp_path: Path) -> None:
    for name in ("checkpoint-10", "checkpoint-9", "checkpoint-x", ".checkpoint-11.tmp"):
        (tmp_path / name).mkdir()
    assert [step for step, _ in RunFolder(tmp_path).checkpoints()] == [9, 10]
