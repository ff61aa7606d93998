"""YAML events -> plain values with places. No recursion over the text, and every alias counts for what it unfolds to."""

from __future__ import annotations

from typing import Any

import yaml

from tunelab.config.finding import KeyPath
from tunelab.config.source import MAX_DEPTH, MAX_NODES, Position, Repeat
from tunelab.errors import ConfigError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where the wheel has it: ten times faster
_MERGE = "tag:yaml.org,2002:merge"


def parse(where: str, text: str) -> tuple[Any, dict[KeyPath, Position], list[Repeat]]:
    """(root value, places by key path, keys written twice). Raises ConfigError with line and column."""
    loader = _Loader(text)
    builder = _Builder(loader, where)
    try:
        while loader.check_event():
            builder.take(loader.get_event())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        said = (error.problem or error.context or "it cannot be parsed").strip()
        raise ConfigError(f"Not valid YAML: {said}.", where=place, next_step=_hint(text, mark.line if mark else 0)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        first = str(error).strip().splitlines() or ["it cannot be parsed"]
        raise ConfigError(f"Not valid YAML: {first[0]}.", where=where) from None
    finally:
        loader.dispose()
    return builder.root, builder.positions, builder.repeats


def _hint(text: str, line: int) -> str:
    near = text.splitlines()[max(0, line - 1) : line + 1]
    if any("\t" in one for one in near):
        return "Indent with spaces: YAML does not allow tabs."
    return "Check the colon, the quotes and the indentation on this line and the one above."


class _Frame:
    """A mapping or list that is being filled."""

    __slots__ = ("anchor", "end", "key", "key_mark", "merges", "path", "size", "value", "written")

    def __init__(self, value: Any, path: KeyPath, anchor: str | None) -> None:
        self.value, self.path, self.anchor = value, path, anchor
        self.key: Any = None
        self.key_mark: Any = None
        self.merges: list[Any] = []
        self.written: dict[str, int] = {}  # key -> line
        self.end = 0  # behind the last character of what it holds
        self.size = 1  # values in it, aliases unfolded


class _Builder:
    def __init__(self, loader: Any, where: str) -> None:
        self.root: Any = None
        self.positions: dict[KeyPath, Position] = {}
        self.repeats: list[Repeat] = []
        self._loader, self._where = loader, where
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        """The next event of the parser."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            value, size = self._anchors.get(event.anchor or "", (None, 0))
            if size == 0:
                raise ConfigError(f"`*{event.anchor}` names no anchor that stands above it.", where=self._place(event.start_mark),
                                  next_step=f"Write `&{event.anchor}` where it is meant to point.")
            self._add(value, event, size)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._open(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise ConfigError("The file holds more than one YAML document (`---`); a config is one.",
                                  where=self._place(event.start_mark), next_step="Keep one of them.")

    def _place(self, mark: Any) -> str:
        return f"{self._where}:{mark.line + 1}:{mark.column + 1}"

    def _scalar(self, event: Any) -> None:
        frame = self._stack[-1] if self._stack else None
        tag = event.tag if event.tag not in (None, "!") else self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            # Keys are names: `on:` and `123:` are taken as written.
            frame.key, frame.key_mark = (_MERGE if tag == _MERGE else event.value), event.start_mark
            return
        value = self._loader.construct_object(yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))
        self._add(value, event, 1)
        self._remember(event.anchor, value, 1)

    def _open(self, event: Any) -> None:
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            raise ConfigError("A key is a mapping or a list; expected a name.", where=self._place(event.start_mark),
                              next_step="Quote the text if it begins with { or [.")
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        if event.tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise ConfigError(f"The YAML tag {event.tag} is not read: a config holds plain values only.", where=self._place(event.start_mark),
                              next_step="Delete the tag.")
        path = self._child_path()
        if len(path) >= MAX_DEPTH:
            raise ConfigError(f"The file is nested more than {MAX_DEPTH} levels deep; this is not a config.",
                              where=self._place(event.start_mark))
        frame = _Frame(value, path, event.anchor)
        frame.end = event.end_mark.index
        self._note_place(path, event.start_mark, event.end_mark.index)
        self._stack.append(frame)

    def _close(self, event: Any) -> None:
        frame = self._stack.pop()
        if event.end_mark.index > event.start_mark.index:  # flow style: `]` or `}`
            frame.end = event.end_mark.index
        for source in frame.merges:
            for one in source if isinstance(source, list) else [source]:
                if isinstance(one, dict):
                    for key, value in one.items():
                        frame.value.setdefault(key, value)
        self._remember(frame.anchor, frame.value, frame.size)
        self._attach(frame.value, frame.end, frame.size)

    def _add(self, value: Any, event: Any, size: int) -> None:
        """A scalar or an alias: a value that is complete."""
        self._note_place(self._child_path(), event.start_mark, event.end_mark.index)
        self._attach(value, event.end_mark.index, size)

    def _child_path(self) -> KeyPath:
        if not self._stack:
            return ()
        frame = self._stack[-1]
        return (*frame.path, frame.key if isinstance(frame.value, dict) else len(frame.value))

    def _note_place(self, path: KeyPath, mark: Any, end: int) -> None:
        if path:
            at = self._stack[-1].key_mark if isinstance(self._stack[-1].value, dict) else mark
            if _MERGE not in path:
                self.positions[path] = Position(at.line + 1, at.column + 1, at.index, mark.index, end)

    def _attach(self, value: Any, end: int, size: int) -> None:
        """Put a complete value into its parent, and count."""
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise ConfigError(f"The file unfolds to more than {MAX_NODES:,} values; this is not a config.", where=self._where,
                              next_step="Look for aliases (`*name`) that repeat each other.")
        if not self._stack:
            self.root = value
            return
        frame = self._stack[-1]
        frame.size += size
        path = self._child_path()
        frame.end = end
        if path in self.positions and isinstance(value, (dict, list)):
            old = self.positions[path]
            self.positions[path] = Position(old.line, old.column, old.start, old.value_start, end)
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key == _MERGE:
            frame.merges.append(value)
        else:
            if frame.key in frame.written:
                mark = frame.key_mark
                self.repeats.append(Repeat(path, mark.line + 1, mark.column + 1, frame.written[frame.key],
                                           frame.value[frame.key] != value))
            frame.written[frame.key] = frame.key_mark.line + 1
            frame.value[frame.key] = value
        frame.key = None

    def _remember(self, anchor: str | None, value: Any, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)
