"""Reading the YAML text: plain values plus where each of them stands.

YAML is read as 1.1, which is what Axolotl's parser reads (`yes`, `no`, `on`, `off` are booleans).
"""

from __future__ import annotations

import re
import warnings
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
    """1-based line and column of a key (or of a list item)."""

    line: int
    column: int


@dataclass(frozen=True)
class Source:
    """A config file as text with positions; `path` is as the person wrote it."""

    path: Path
    text: str
    positions: Mapping[KeyPath, Position] = field(default_factory=dict)

    def position(self, path: KeyPath) -> Position | None:
        """Where the key stands; its nearest written parent when it is not written itself."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.positions:
                return self.positions[path[:end]]
        return None

    def line_text(self, line: int) -> str:
        """The text of a 1-based line, without its line end."""
        lines = self.text.splitlines()
        return lines[line - 1] if 0 < line <= len(lines) else ""

    def is_written(self, *path: str | int) -> bool:
        """Whether the file itself holds this key."""
        return path in self.positions


def read_source(path: Path) -> tuple[Source, dict[str, Any]]:
    """Read a YAML file into (source, root mapping). Raises ConfigError with line and column."""
    text = _read_text(path)
    root = _parse(path, text)
    where = str(path)
    if root is None:
        raise ConfigError("The file is empty; a config needs at least base_model, datasets and learning_rate.", where=where,
                          next_step="Start from examples/handout.yml.")
    if not hasattr(root, "items"):
        kind = "list" if isinstance(root, list) else type(root).__name__
        raise ConfigError(f"The top level is a YAML {kind}; expected key: value pairs such as `base_model: ...`.",
                          where=f"{where}:1", next_step="Remove the leading '- ' if the settings were pasted into a list.")
    positions: dict[KeyPath, Position] = {}
    values = _Plain(positions, where).convert(root, ())
    return Source(path, text, positions), values


def _read_text(path: Path) -> str:
    where = str(path)
    if path.is_dir():
        raise ConfigError("This is a folder; expected a YAML file.", where=where, next_step=_yaml_files_in(path))
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError("No such file.", where=where, next_step=_yaml_files_in(path.parent)) from None
    except OSError as error:
        raise ConfigError(f"The file cannot be read: {error.strerror}.", where=where) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"The file has {len(raw):,} bytes; a config of more than {MAX_BYTES:,} is not read.", where=where,
                          next_step="Is this a dataset? Name it under `datasets: - path:` instead.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"The file is not UTF-8 text (byte {error.start}).", where=f"{where}:{line}",
                          next_step="Save it as UTF-8.") from None


def _yaml_files_in(folder: Path) -> str:
    if not folder.is_dir():
        return f"The folder {folder} does not exist either."
    names = sorted(p.name for p in folder.iterdir() if p.suffix in {".yml", ".yaml"})[:5]
    return f"YAML files in {folder}: {', '.join(names)}." if names else f"There is no YAML file in {folder}."


def _parse(path: Path, text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = YAML(typ="rt", pure=True)
    reader.version = (1, 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `2e-4` is text in YAML 1.1, as the library says; the setting's type makes it a number
            return reader.load(text)
    except DuplicateKeyError as error:
        mark = error.problem_mark
        name = re.search(r'key "(.+?)" with', str(error.problem or ""))
        shown = f"`{name.group(1)}`" if name else "A key"
        raise ConfigError(f"{shown} is written twice; only one value can hold.", where=f"{path}:{mark.line + 1}:{mark.column + 1}",
                          next_step="Delete one of the two lines.") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        said = (error.problem or error.context or "it cannot be parsed").strip()
        raise ConfigError(f"Not valid YAML: {said}.", where=place, next_step=_yaml_hint(text, mark.line if mark else 0)) from None
    except (YAMLError, ValueError, RecursionError) as error:
        first = str(error).strip().splitlines() or ["it cannot be parsed"]
        raise ConfigError(f"Not valid YAML: {first[0]}.", where=str(path)) from None


def _yaml_hint(text: str, line: int) -> str:
    lines = text.splitlines()
    near = lines[max(0, line - 1) : line + 1]
    if any("\t" in one for one in near):
        return "Indent with spaces: YAML does not allow tabs."
    return "Check the colon, the quotes and the indentation on this line and the one above."


class _Plain:
    """Turns ruamel's round-trip nodes into plain values and notes each position; bounded, so alias bombs stop here."""

    def __init__(self, positions: dict[KeyPath, Position], where: str) -> None:
        self._positions = positions
        self._where = where
        self._nodes = 0

    def convert(self, node: Any, path: KeyPath) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise ConfigError(f"The file unfolds to more than {MAX_NODES:,} values or {MAX_DEPTH} levels; this is not a config.",
                              where=self._where, next_step="Look for aliases (`*name`) that repeat each other.")
        if hasattr(node, "items"):
            return {str(key): self._child(node, key, (*path, str(key)), node.lc.key) for key in node}
        if isinstance(node, list):
            return [self._child(node, index, (*path, index), node.lc.item) for index in range(len(node))]  # type: ignore[attr-defined]
        return _scalar(node)

    def _child(self, parent: Any, key: Any, path: KeyPath, locate: Any) -> Any:
        try:
            line, column = locate(key)
            self._positions[path] = Position(line + 1, column + 1)
        except (KeyError, AttributeError, TypeError):  # merged in by `<<:`; its parent's place will do
            pass
        return self.convert(parent[key], path)


def _scalar(value: Any) -> Any:
    """Strip ruamel's scalar subclasses: they carry formatting that nobody downstream needs."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if type(value).__name__ == "ScalarBoolean":
        return bool(value)
    return value
