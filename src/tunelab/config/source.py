"""Reading the YAML text: plain values plus where each of them stands.

YAML is read as 1.1 by PyYAML, which is what Axolotl reads with (`yes`, `no`, `on`, `off` are booleans, `2e-4` is text). The parser's
events are walked by a loop of our own that keeps places and bounds: deep nesting and alias bombs end here, in a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelab.config.finding import KeyPath
from tunelab.errors import ConfigError

MAX_BYTES = 2_000_000
MAX_NODES = 200_000
MAX_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Position:
    """Where a key (or a list item) stands: 1-based line and column, and offsets into the text: of the key, of its value's first
    character and behind its last one."""

    line: int
    column: int
    start: int
    value_start: int
    value_end: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """A key that is written twice in one mapping: where it stands again, the line of the first, and whether their values differ."""

    path: KeyPath
    line: int
    column: int
    first_line: int
    differs: bool


@dataclass(frozen=True)
class Source:
    """A config file as text with positions; `path` is as the person wrote it."""

    path: Path
    text: str
    positions: Mapping[KeyPath, Position] = field(default_factory=dict)
    repeats: tuple[Repeat, ...] = ()

    def position(self, path: KeyPath) -> Position | None:
        """Where the key stands; its nearest written parent when it is not written itself."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.positions:
                return self.positions[path[:end]]
        return None

    def is_written(self, *path: str | int) -> bool:
        """Whether the file itself holds this key."""
        return path in self.positions


def read_source(path: Path) -> tuple[Source, dict[str, Any]]:
    """Read a YAML file into (source, root mapping). Raises ConfigError with line and column."""
    return parse_source(path, _read_text(path))


def parse_source(path: Path, text: str) -> tuple[Source, dict[str, Any]]:
    """The same for a text that is already read; `path` only names it."""
    from tunelab.config.yaml_events import parse

    root, positions, repeats = parse(str(path), text)
    where = str(path)
    if root is None:
        raise ConfigError("The file is empty; a config needs at least base_model, datasets and learning_rate.", where=where,
                          next_step="Start from a commented one: tunelab init")
    if not isinstance(root, dict):
        kind = "list" if isinstance(root, list) else type(root).__name__
        raise ConfigError(f"The top level is a YAML {kind}; expected key: value pairs such as `base_model: ...`.",
                          where=f"{where}:1", next_step="Remove the leading '- ' if the settings were pasted into a list.")
    return Source(path, text, positions, tuple(repeats)), root


def _read_text(path: Path) -> str:
    where = str(path)
    if path.is_dir():
        raise ConfigError("This is a folder; expected a YAML file.", where=where, next_step=_yaml_files_in(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
            size = len(raw) if len(raw) <= MAX_BYTES else max(len(raw), path.stat().st_size)
    except FileNotFoundError:
        raise ConfigError("No such file.", where=where, next_step=_yaml_files_in(path.parent)) from None
    except OSError as error:
        raise ConfigError(f"The file cannot be read: {error.strerror}.", where=where) from error
    if size > MAX_BYTES:
        raise ConfigError(f"The file has {size:,} bytes; a config of more than {MAX_BYTES:,} is not read.", where=where,
                          next_step="Is this a dataset? Name it under `datasets: - path:` instead.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"The file is not UTF-8 text (byte {error.start}).", where=f"{where}:{line}",
                          next_step="Save it as UTF-8.") from None
    control = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise ConfigError(f"The file holds a control character (U+{ord(control.group()):04X}), which YAML does not allow.",
                          where=f"{where}:{line}", next_step="Is this a text file? Delete the character.")
    return text


def _yaml_files_in(folder: Path) -> str:
    if not folder.is_dir():
        return f"The folder {folder} does not exist either."
    names = sorted(p.name for p in folder.iterdir() if p.suffix in {".yml", ".yaml"})[:5]
    return f"YAML files in {folder}: {', '.join(names)}." if names else f"There is no YAML file in {folder}."
