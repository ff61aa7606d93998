"""`differences`: what two configs mean differently, after defaults, old spellings and the types of values.

Old spellings are undone by the same edits that `check --fix` makes, so there is one place that knows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tunelab.config import value_types
from tunelab.config.catalogue import FIRST, entry, typed_keys
from tunelab.config.config import Config, read_values
from tunelab.config.finding import KeyPath, dotted, general, parts
from tunelab.config.known import children
from tunelab.config.mend import mend
from tunelab.config.setting import Section
from tunelab.config.source import Source, parse_source
from tunelab.planning.explain import Explanation, shown


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting with two values. `first` and `second` are plain data and `shown_*` their text; `here_*` is what the value does in each
    run, "" when there is nothing to add; `effect` what the setting does in general."""

    name: str
    first: Any
    second: Any
    shown_first: str
    shown_second: str
    says: str
    effect: str
    here_first: str
    here_second: str


def modern(source: Source) -> Config:
    """A config with its old spellings undone (in memory)."""
    values = parse_source(source.path, source.text)[1]
    for _ in range(5):
        reading = read_values(source, values)
        mended = mend(source, [finding for finding in reading.findings if finding.code == "TL109"])
        if not mended.applied:
            break
        source, values = parse_source(source.path, mended.text)
    return read_values(source, values).config


def differences(first: Config, second: Config, explained: tuple[dict[str, Explanation], dict[str, Explanation]]) -> tuple[Difference, ...]:
    """Every setting whose meaning differs, the fifteen of the course lab first. `explained` holds what `explain` says of each config."""
    one, two = dict(_meaning(first)), dict(_meaning(second))
    names = sorted(set(one) | set(two), key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    return tuple(_difference(name, one, two, explained) for name in names if _value(name, one) != _value(name, two))


def _difference(name: str, one: dict[str, Any], two: dict[str, Any], explained: tuple[dict[str, Explanation], ...]) -> Difference:
    values = (_value(name, one), _value(name, two))
    here = tuple(found[name].here if name in found else "" for found in explained)
    key = entry(general(parts(name)))
    says, effect = (key.setting.says, key.setting.effect) if key is not None else ("Not a setting.", "")
    return Difference(name, *values, shown(values[0]), shown(values[1]), says, effect, *here)


def _value(name: str, meaning: dict[str, Any]) -> Any:
    if name in meaning:
        return meaning[name]
    key = entry(general(parts(name)))
    return None if key is None or isinstance(key.default, (dict, list)) else key.default


def _meaning(config: Config) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every written leaf, as tunelab or Axolotl understands it."""
    yield from _leaves(config, config.raw.values, ())


def _leaves(config: Config, value: Any, path: KeyPath) -> Iterator[tuple[str, Any]]:
    name = general(path)
    if isinstance(value, dict) and name in children():
        for key, inner in value.items():
            yield from _leaves(config, inner, (*path, key))
    elif isinstance(value, list) and f"{name}[]" in children():
        for index, inner in enumerate(value):
            yield from _leaves(config, inner, (*path, index))
    elif value is not None:
        yield dotted(path), _understood(config, path, value)


def _understood(config: Config, path: KeyPath, value: Any) -> Any:
    """A value as its type reads it: "2e-4" is 0.0002."""
    name = general(path)
    if name in typed_keys():
        found: Any = config.value(str(path[0])) if len(path) == 1 else _typed(config.value(str(path[0])), path[1:])
        if found is not None and not isinstance(found, Section):
            return found
    key = entry(name)
    kinds = value_types.union(key.dialect) if key is not None and key.dialect else ()
    if isinstance(value, str) and "str" not in kinds and ("float" in kinds or "int" in kinds) and value_types.accepts("float", value):
        return float(value)
    return value


def _typed(value: Any, path: KeyPath) -> Any:
    for part in path:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
        else:
            value = getattr(value, part, None)
    return value
