"""Which checkpoints are whole, and which are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunelab.runs.checkpoints import FORMAT, STATE, checksums, damage, newest_whole, rotate
from tunelab.runs.folder import RunFolder


def _checkpoint(run: Path, step: int, **state: object) -> Path:
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(bytes([step]) * 100)
    (folder / STATE).write_text(json.dumps({"format": FORMAT, "step": step, "sha256": checksums(folder), **state}))
    return folder


def test_damage_says_what_is_wrong(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path, 1)
    assert damage(folder) is None
    (folder / "weights").write_bytes(b"\x01" * 99 + b"\x03")
    assert "checksum differs" in str(damage(folder))
    (folder / "weights").unlink()
    assert "missing" in str(damage(folder))
    (folder / STATE).write_text('{"sha')
    assert damage(folder) == "state.json is damaged"
    assert "another version" in str(damage(_checkpoint(tmp_path, 2, format=1)))


def test_the_newest_whole_one_is_found_and_the_others_are_named(tmp_path: Path) -> None:
    for step in (3, 10, 20):
        _checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-20" / "weights").write_bytes(b"")
    (tmp_path / "checkpoint-10" / STATE).unlink()
    found, passed = newest_whole(RunFolder(tmp_path))
    assert found == (3, tmp_path / "checkpoint-3")
    assert [text.split(":")[0] for text in passed] == ["checkpoint-20", "checkpoint-10"]


@pytest.mark.parametrize(("keep", "best", "left"), [(None, None, [1, 2, 3, 4]), (2, None, [3, 4]), (2, 1, [1, 4]), (1, 1, [1, 4]), (1, 4, [4]),
                                                    (3, 4, [2, 3, 4]), (9, 1, [1, 2, 3, 4])])
def test_rotation_leaves_the_newest_and_the_best(tmp_path: Path, keep: int | None, best: int | None, left: list[int]) -> None:
    for step in (1, 2, 3, 4):
        _checkpoint(tmp_path, step)
    rotate(RunFolder(tmp_path), keep, best)
    assert [step for step, _ in RunFolder(tmp_path).checkpoints()] == sorted(left)
