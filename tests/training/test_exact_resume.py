"""Killed at any moment, a run goes on to the very same losses, samples, evaluations and weights."""

from __future__ import annotations

import errno
import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.helpers.forked import MOMENTS, start_training
from tests.helpers.tiny import write_config, write_data

from tunelab.runs.events import evaluations, steps
from tunelab.runs.folder import RunFolder

RECIPE = {"num_epochs": 6, "save_steps": 4, "eval_steps": 3, "save_total_limit": 2, "load_best_model_at_end": True, "learning_rate": 0.03}
"""Dropout, packing, evaluations that fall between checkpoints, rotation, and the best weights as the result. 36 rows make 5 to 6 steps an epoch."""


@dataclass(frozen=True)
class Whole:
    """A run that nobody disturbed, and how long it took."""

    folder: Path
    seconds: float


def _result(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def _ledger(folder: Path) -> list[tuple[int, float, float, float, list[int]]]:
    return [(event["step"], event["loss"], event["lr"], event["grad_norm"], event["samples"]) for event in steps(folder / "events.jsonl")]


def _looked(folder: Path) -> list[tuple[int, float]]:
    return [(event["step"], event["loss"]) for event in evaluations(folder / "events.jsonl")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("rows") / "data.jsonl")


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, data: Path) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    start_training(write_config(folder / "warm.yml", tiny_model, data, folder / "warm", max_steps=1)).join()  # the server imports everything
    began = time.monotonic()
    process = start_training(write_config(folder / "whole.yml", tiny_model, data, folder / "run", **RECIPE))
    process.join()
    assert process.exitcode == 0, (folder / "whole.log").read_text()
    return Whole(folder / "run", time.monotonic() - began)


def _finished_like(whole: Whole, config: Path, folder: Path) -> None:
    process = start_training(config, resume=True)
    process.join()
    assert process.exitcode == 0, config.with_suffix(".log").read_text()
    assert RunFolder(folder).manifest()["status"] == "finished"
    assert _ledger(folder) == _ledger(whole.folder)
    assert _looked(folder) == _looked(whole.folder)
    assert _result(folder) == _result(whole.folder)
    assert [path.name for path in folder.iterdir() if path.is_dir()] and not [path.name for path in folder.glob(".[!l]*")]


TARGETED = [("packing", 3),
            ("writing the manifest", 1), ("writing the config", 1), ("in a forward pass", 1), ("in a forward pass", 4), ("after an update", 1),
            ("after an update", 6), ("writing an event", 9), ("evaluating", 2), ("saving", 2), ("saving", 7), ("renaming", 5), ("rotating", 1)]


@pytest.mark.parametrize(("moment", "time_of_coming"), TARGETED)
def test_killed_at_a_chosen_moment(tiny_model: Path, tmp_path: Path, data: Path, whole: Whole, moment: str, time_of_coming: int) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", **RECIPE)
    process = start_training(config, die=(moment, time_of_coming))
    process.join()
    assert process.exitcode == -9, config.with_suffix(".log").read_text()
    _finished_like(whole, config, tmp_path / "run")


def test_every_moment_is_tried() -> None:
    assert {moment for moment, _ in TARGETED} == set(MOMENTS)


@pytest.mark.parametrize("seed", range(7))
def test_killed_at_random_moments_again_and_again(tiny_model: Path, tmp_path: Path, data: Path, whole: Whole, seed: int) -> None:
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", **RECIPE)
    moments, kills = random.Random(seed), 0
    for sitting in range(1 + seed % 3):
        process = start_training(config, resume=(tmp_path / "run" / ".lock").exists())
        process.join(moments.uniform(0.05, 1.0) * whole.seconds / (1 + sitting))
        kills += process.is_alive()
        process.kill()
        process.join()
    assert kills or (tmp_path / "run" / "adapter_model.safetensors").exists()
    _finished_like(whole, config, tmp_path / "run")


FAULTS = [("an event", 1), ("an event", 12), ("a checkpoint", 1), ("a checkpoint", 5), ("the weights", 1), ("the weights", 3),
          ("a small file", 1), ("a small file", 3), ("a rename", 1), ("a rename", 6), ("prepared data", 1)]


@pytest.mark.parametrize(("write", "time_of_coming"), FAULTS)
def test_a_full_disk_at_any_write_is_a_sentence_and_loses_nothing(tiny_model: Path, tmp_path: Path, data: Path, whole: Whole, write: str,
                                                                  time_of_coming: int) -> None:
    number = errno.ENOSPC if time_of_coming < 4 else errno.EROFS  # made read-only while it ran
    config = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", dataset_prepared_path=str(tmp_path / "prepared"), **RECIPE)
    process = start_training(config, fault=(write, time_of_coming, number))
    process.join()
    said = config.with_suffix(".log").read_text()
    assert process.exitcode == 2, said
    assert "the disk is full" in said or "the file system is read-only" in said
    assert "None" not in said.splitlines()[-1].split(" | ")[2]  # what to do next
    assert not [path.name for path in (tmp_path / "run").glob("*.tmp")] and not list((tmp_path / "run").glob(".checkpoint*"))
    _finished_like(whole, config, tmp_path / "run")


def test_no_sample_is_skipped_or_seen_twice_in_an_epoch(whole: Whole) -> None:
    used = [sample for event in steps(whole.folder / "events.jsonl") for sample in event["samples"]]
    rows = len(set(used))
    assert rows == 36 and len(used) == 6 * rows
    assert all(sorted(used[start : start + rows]) == list(range(rows)) for start in range(0, len(used), rows))
