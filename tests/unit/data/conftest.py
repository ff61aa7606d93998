"""A small ChatML tokenizer, and configs written as a person would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tiny import write_tokenizer

from tunelab.config import Config, read_config
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> TextTokenizer:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture
def changed_folder(tokenizer_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the tokenizer's folder with another tokenizer_config.json (`None` removes a key)."""

    def change(**changes: Any) -> Path:
        folder = tmp_path / "changed"
        folder.mkdir()
        (folder / "tokenizer.json").write_bytes((tokenizer_folder / "tokenizer.json").read_bytes())
        settings = json.loads((tokenizer_folder / "tokenizer_config.json").read_text(encoding="utf-8")) | changes
        kept = {key: value for key, value in settings.items() if value is not None}
        (folder / "tokenizer_config.json").write_text(json.dumps(kept), encoding="utf-8")
        return folder

    return change


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., Config]:
    """A config with these datasets and top-level keys."""

    def make(datasets: list[dict[str, Any]], **keys: Any) -> Config:
        settings = {"base_model": "tiny", "learning_rate": 0.001, "micro_batch_size": 1, "datasets": datasets, **keys}
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
        return read_config(path).config_or_raise()

    return make


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[list[Any]], Path]:
    """Rows as a JSONL file."""
    return lambda rows: write_lines(tmp_path / "rows.jsonl", rows)
