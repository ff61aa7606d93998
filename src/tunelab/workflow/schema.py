"""schema: the dialect for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunelab.config.schema import NAME, json_schema
from tunelab.runs.store import write_json


def schema() -> dict[str, Any]:
    """The JSON Schema of the dialect (draft-07)."""
    return json_schema()


def write_schema(path: Path) -> str:
    """Write it to a file (or as its usual name into a folder); gives the line that makes an editor use it."""
    target = path / NAME if path.is_dir() else path
    write_json(target, json_schema())
    return f"# yaml-language-server: $schema={target.resolve().as_uri()}"
