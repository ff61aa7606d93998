"""What a verb says about the base model when it opens a config."""

from __future__ import annotations

from pathlib import Path

from tests.unit.planning.cases import BASE

from tunelab.config import Severity
from tunelab.workflow.opening import open_config


def about_the_model(folder: Path, base_model: str) -> list[tuple[str, Severity]]:
    (folder / "c.yml").write_text("\n".join([*(line for key, line in BASE.items() if key != "base_model"), f"base_model: {base_model}"]) + "\n")
    return [(one.code, one.severity) for one in open_config(str(folder / "c.yml")).findings if one.code in ("TL201", "TL202")]


def test_a_hub_model_that_is_not_here_is_a_note_and_a_missing_path_is_blocked(tmp_path: Path) -> None:
    assert about_the_model(tmp_path, "nobody/not-here") == [("TL201", Severity.NOTE)]
    assert about_the_model(tmp_path, f"{tmp_path}/none") == [("TL201", Severity.BLOCKED)]


def test_a_damaged_model_is_said(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{", encoding="utf-8")
    assert about_the_model(tmp_path, str(model)) == [("TL202", Severity.WARNING)]
