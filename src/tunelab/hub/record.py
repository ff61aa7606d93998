"""What there is to read about one model, wherever it came from: a Hub answer, a folder, a README alone, a row of a statistics dump."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelab.errors import ModelError, UsageError
from tunelab.hub.card import EMPTY, Card, read_card

CARD, CONFIG, ADAPTER = "README.md", "config.json", "adapter_config.json"
MAX_JSON = 4_000_000
"""Bytes of a JSON file that are read; larger ones are left out with a note."""


@dataclass(frozen=True)
class ModelRecord:
    """All that one model says of itself, unread.

    `name`: the Hub id, or a folder's or file's name when there is none (`is_hub_id` tells). `parents`: (relation, Hub id) as the Hub's own
    model tree has them (relation: finetune, adapter, merge, quantized; "" where the Hub does not say). `files`: name -> bytes (None: not
    known). `tensors`: dtype -> number of parameters, from the safetensors headers; `parameters`: their sum, or GGUF's. `missing`: what could
    not be read, in sentences. `children`: relation -> how many models on the Hub were made from this one.
    """

    name: str
    card: Card = EMPTY
    is_hub_id: bool = False
    tags: tuple[str, ...] = ()
    pipeline_tag: str = ""
    library: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    adapter: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[tuple[str, str], ...] = ()
    children: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, int | None] = field(default_factory=dict)
    tensors: Mapping[str, int] = field(default_factory=dict)
    parameters: int | None = None
    gguf: Mapping[str, Any] = field(default_factory=dict)
    downloads: int | None = None
    likes: int | None = None
    created: str = ""
    updated: str = ""
    gated: str = ""
    missing: tuple[str, ...] = ()

    @property
    def link(self) -> str:
        """Where a person reads about it: a web address for a Hub model, else "". """
        return f"https://huggingface.co/{self.name}" if self.is_hub_id else ""


def read_records(path: Path) -> list[ModelRecord]:
    """The models at a path: a README (any Markdown file), a folder with one, or a folder of such files and folders (one level down).

    Raises UsageError when there is nothing to read, ModelError when a file cannot be read.
    """
    if path.is_file():
        return [_from_file(path)]
    if not path.is_dir():
        raise UsageError("There is no such file or folder.", where=str(path),
                         next_step="Give a README.md, a model's folder, or a Hub id such as org/name.")
    if _is_model(path):
        return [_from_folder(path)]
    found = [_from_folder(one) if one.is_dir() else _from_file(one) for one in sorted(path.iterdir())
             if _is_model(one) or (one.is_file() and one.suffix.lower() in (".md", ".markdown"))]
    if not found:
        raise UsageError("The folder has no README.md, no config.json and no adapter_config.json, and neither have the folders in it.", where=str(path),
                         next_step="Give a model's folder, or one that holds cards (*.md) or models' folders.")
    return found


def _is_model(folder: Path) -> bool:
    return folder.is_dir() and any((folder / name).is_file() for name in (CARD, CONFIG, ADAPTER))


def _from_file(path: Path) -> ModelRecord:
    return ModelRecord(path.parent.resolve().name if path.name == CARD else path.stem, _card(path))


def _from_folder(folder: Path) -> ModelRecord:
    missing: list[str] = []
    card = _card(folder / CARD) if (folder / CARD).is_file() else EMPTY
    files: dict[str, int | None] = {one.relative_to(folder).as_posix(): one.stat().st_size for one in sorted(folder.rglob("*")) if one.is_file()}
    return ModelRecord(folder.resolve().name, card, config=_json(folder / CONFIG, missing), adapter=_json(folder / ADAPTER, missing), files=files,
                       missing=tuple(missing))


def _card(path: Path) -> Card:
    try:
        return read_card(path.read_bytes(), path.name)
    except OSError as error:
        raise ModelError(f"The card cannot be read: {error.strerror or error}.", where=str(path)) from None


def _json(path: Path, missing: list[str]) -> Mapping[str, Any]:
    """A JSON object, or an empty one with a sentence in `missing`."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MAX_JSON:
            missing.append(f"{path.name} is larger than {MAX_JSON:,} bytes and was not read.")
            return {}
        return parsed_json(path.read_bytes(), path.name, missing)
    except OSError as error:
        missing.append(f"{path.name} cannot be read: {error.strerror or error}.")
        return {}


def parsed_json(content: bytes, name: str, missing: list[str]) -> Mapping[str, Any]:
    """A JSON object from bytes; anything else is an empty one with a sentence in `missing`."""
    try:
        value = json.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        missing.append(f"{name} is not valid JSON.")
        return {}
    if not isinstance(value, dict):
        missing.append(f"{name} holds no JSON object.")
        return {}
    return value
