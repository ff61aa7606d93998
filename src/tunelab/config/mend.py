"""`mend`: apply the edits of findings to the text of a config, touching nothing else: comments, order and quotes stay.

A fix is a text of lines. "delete `key`" and "rename `old` to `new`" name keys of the mapping that holds the finding's key; any other
line begins YAML that sets keys of that mapping: a key that is there gets the new value in its place, a new one is written before the
finding's key. A fix with a line of another kind ("Delete one of the two lines.") is advice and is never applied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from tunelab.config.finding import Finding, KeyPath, parts
from tunelab.config.source import Position, Source, parse_source
from tunelab.errors import ConfigError

_DELETE = re.compile(r"delete `([^`]+)`")
_RENAME = re.compile(r"rename `([^`]+)` to `([^`]+)`")


@dataclass(frozen=True, slots=True)
class Mended:
    """The new text, and the findings whose edits it holds, in the order of the file."""

    text: str
    applied: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


def mend(source: Source, findings: Iterable[Finding], *, unsafe: bool = False) -> Mended:
    """Apply every safe edit (with `unsafe` every edit) that can be applied. Edits that touch the same lines wait: call it again.

    The result parses; an edit that would break the file is left out.
    """
    chosen: list[tuple[Finding, list[_Edit]]] = []
    taken: list[_Edit] = []
    for finding in findings:
        if not finding.fix or not (finding.safe or unsafe):
            continue
        edits = _edits(source, finding)
        if edits and not any(_overlap(one, other) for one in edits for other in taken) and _parses(source, [*taken, *edits]):
            chosen.append((finding, edits))
            taken.extend(edits)
    return Mended(_apply(source.text, taken), tuple(finding for finding, _ in chosen))


def _edits(source: Source, finding: Finding) -> list[_Edit] | None:
    """The edits of one fix, or None when it is advice or its place cannot be edited (a key that came in through an alias)."""
    path = parts(finding.key)
    holder = path[:-1]
    edits: list[_Edit] = []
    sets: list[str] = []
    gone: set[str] = set()
    for line in finding.fix.splitlines():
        if match := _RENAME.fullmatch(line.strip()):
            place = source.positions.get((*holder, match[1]))
            if place is None:
                return None
            edits.append(_Edit(place.start, place.start + _key_length(source.text, place), match[2]))
        elif match := _DELETE.fullmatch(line.strip()):
            place = source.positions.get((*holder, match[1]))
            if place is None:
                return None
            gone.add(match[1])
        else:
            sets.append(line)
    if sets:
        added = _settings(source, path, "\n".join(sets), instead=path[-1] in gone)
        if added is None:
            return None
        edits.extend(added)
        gone.discard(str(path[-1]) if any(one.end > one.start == source.positions[path].start for one in added) else "")
    return [*edits, *(_removal(source.text, source.positions[(*holder, name)]) for name in gone)]


def _settings(source: Source, path: KeyPath, text: str, *, instead: bool) -> list[_Edit] | None:
    """Edits that set the keys of a piece of YAML in the mapping that holds `path`; with `instead` new ones take its place."""
    holder = path[:-1]
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values) or "..." in values.values():
        return None
    edits: list[_Edit] = []
    new: list[str] = []
    for key, value in values.items():
        place = source.positions.get((*holder, key))
        if place is None:
            new.append(f"{key}: {flow(value)}")
        else:
            edits.append(_replacement(source.text, place, flow(value)))
    if new:
        anchor = source.positions.get(path)
        if anchor is None:
            return None
        between = ", " if _in_flow(source.text, anchor) else "\n" + " " * (anchor.column - 1)
        if instead:
            edits.append(_Edit(anchor.start, _end(source.text, anchor), between.join(new)))
        else:
            edits.append(_Edit(anchor.start, anchor.start, "".join(f"{line}{between}" for line in new)))
    return edits


def flow(value: Any) -> str:
    """A value on one line, as YAML 1.1 reads it back."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _replacement(text: str, place: Position, value: str) -> _Edit:
    if place.value_start == place.value_end:  # a bare `key:`
        colon = text.index(":", place.start)
        return _Edit(colon + 1, colon + 1, f" {value}")
    if "\n" in text[place.start : place.value_start]:  # the value stands on lines of its own
        return _Edit(text.index(":", place.start) + 1, place.value_end, f" {value}")
    return _Edit(place.value_start, place.value_end, value)


def _end(text: str, place: Position) -> int:
    """Behind the value of a key; behind its colon when there is no value."""
    return place.value_end if place.value_end > place.value_start else text.index(":", place.start) + 1


def _removal(text: str, place: Position) -> _Edit:
    """Cut a key with its value: whole lines in block style, with its comma in flow style. The first key of a list item leaves the dash."""
    end = _end(text, place)
    if _in_flow(text, place):
        after = re.compile(r"\s*:?\s*,\s*").match(text, end)
        if after:
            return _Edit(place.start, after.end(), "")
        before = re.search(r",\s*$", text[: place.start])
        return _Edit(before.start() if before else place.start, end, "")
    line_start = text.rfind("\n", 0, place.start) + 1
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end + 1
    if text[line_start : place.start].strip():  # `- key: value`: the next key moves up behind the dash
        following = re.compile(r"[ ]*").match(text, line_end)
        return _Edit(place.start, following.end() if following else line_end, "")
    return _Edit(line_start, line_end, "")


def _key_length(text: str, place: Position) -> int:
    quoted = re.compile(r"'[^']*'|\"[^\"]*\"").match(text, place.start)
    plain = re.compile(r"[^:\s]+").match(text, place.start)
    found = quoted or plain
    return found.end() - place.start if found else 0


def _in_flow(text: str, place: Position) -> bool:
    """Whether a key stands inside { } on its line."""
    line = text[text.rfind("\n", 0, place.start) + 1 : place.start]
    return line.count("{") > line.count("}") or bool(re.search(r"[\[,]\s*$", line))


def _overlap(one: _Edit, other: _Edit) -> bool:
    return (one.start < other.end and other.start < one.end) or (one.start, one.end) == (other.start, other.end)


def _apply(text: str, edits: list[_Edit]) -> str:
    for edit in sorted(edits, key=lambda one: (one.start, one.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _parses(source: Source, edits: list[_Edit]) -> bool:
    try:
        parse_source(source.path, _apply(source.text, edits))
    except ConfigError:
        return False
    return True
