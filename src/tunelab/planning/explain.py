"""`explain`: for each setting what it is, what it does in general, and what it does in this very run, in numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunelab.config.catalogue import FIRST, SECTIONS, Key, entry, key_names, section_of
from tunelab.config.config import Config
from tunelab.config.finding import KeyPath, dotted, general
from tunelab.config.setting import Section, Support
from tunelab.config.value_types import in_words
from tunelab.errors import UsageError
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import ModelShapes
from tunelab.planning.here import Facts, here
from tunelab.planning.steps import StepPlan


@dataclass(frozen=True, slots=True)
class Explanation:
    """One setting. `value` is plain data, `shown` its text; `line` is None when it is not written, and `value` is then the default.

    `here` is a sentence about this run, "" when there is nothing to add (or no config). `dialect` is what Axolotl takes; `status`,
    `replaced_by` and `plugin` as in the catalogue.
    """

    name: str
    section: str
    value: Any
    shown: str
    written: bool
    line: int | None
    takes: str
    default: str
    says: str
    effect: str
    typical: str
    interacts: tuple[str, ...]
    example: str
    support: str
    hardware: str
    here: str
    dialect: str = ""
    status: str = ""
    replaced_by: str = ""
    plugin: str = ""


def explain(config: Config, machine: Machine, shapes: ModelShapes | None, steps: StepPlan | None = None,
            keys: Sequence[str] = ()) -> tuple[Explanation, ...]:
    """The settings of a config: the fifteen that the course lab asks about first, then every other written one, by section or room.

    With `keys` those alone, in that order. Raises UsageError for a name that is no setting.
    """
    facts = Facts(config, machine, shapes, steps)
    paths = [path for key in keys for path in _asked(config, key)] if keys else list(_in_order(config))
    return tuple(_explain(facts, path) for path in paths)


def explain_key(name: str) -> Explanation:
    """A setting by its name, without a config. Raises UsageError with the closest name when there is none."""
    key = _key(name)
    return _explanation(key, key.name, key.default, written=False, line=None, about_run="")


def _in_order(config: Config) -> Iterator[KeyPath]:
    yield from ((key,) for key in FIRST)
    written = {path: entry(general(path)) for path in config.source.positions}
    order = [*SECTIONS, *sorted({key.section for key in written.values() if key is not None} - set(SECTIONS))]
    for section in order:
        yield from (path for path, key in written.items()
                    if key is not None and key.section == section and not (len(path) == 1 and path[0] in FIRST))


def _asked(config: Config, name: str) -> list[KeyPath]:
    """The places of a key that was asked for: each written one of a nested key, else the key itself."""
    key = _key(name)
    if "." not in key.name:
        return [(key.name,)]
    return [path for path in config.source.positions if general(path) == key.name] or [tuple(key.name.split("."))]


def _explain(facts: Facts, path: KeyPath) -> Explanation:
    config, key = facts.config, entry(general(path))
    assert key is not None, "only keys of the catalogue are explained"
    place = config.source.position(path) if config.source.is_written(*path) else None
    value = _plain(_value(config, path, key))
    about_run = here(facts, path, value)
    if key.setting.support is Support.UNDERSTOOD and place is not None:
        about_run = about_run or "Not acted on in this version."
    return _explanation(key, dotted(path), value, written=place is not None, line=place.line if place else None, about_run=about_run)


def _explanation(key: Key, name: str, value: Any, *, written: bool, line: int | None, about_run: str) -> Explanation:
    setting = key.setting
    default = "required" if key.required else shown(_plain(key.default))
    return Explanation(name, key.section, value, shown(value), written, line, key.takes, default, setting.says, setting.effect,
                       setting.typical, setting.interacts, setting.example, str(setting.support), setting.hardware, about_run,
                       in_words(key.dialect) if key.dialect else "", key.status, key.replaced_by, key.plugin)


def _key(name: str) -> Key:
    """A key by its dotted name, by the name of a place ("datasets[0].type"), or by its last part where one place is meant."""
    asked, known = re.sub(r"\[\d*\]", "[]", name), key_names()
    ends = [key for key in known if key.endswith(f".{name}")]
    dataset = [key for key in ends if key.startswith("datasets[].")]  # test_datasets and pretraining_dataset repeat them
    found = asked if asked in known else dataset[0] if dataset else ends[0] if len(ends) == 1 else None
    key = entry(found) if found is not None else None
    if key is not None:
        return key
    close = ends[:1] or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    raise UsageError(f"`{name}` is not a setting.", next_step=f"Did you mean: tunelab explain {close[0]}" if close else
                     "All settings are listed in docs/config.md.")


def _value(config: Config, path: KeyPath, key: Key) -> Any:
    """The value at a path, after defaults; the key's default where a nested one is not written."""
    if section_of(str(path[0])) is None:
        return _written(config, path, key)
    value: Any = config.value(str(path[0]))
    for part in path[1:]:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, Section) and part in type(value).model_fields:
            value = getattr(value, part)
        else:
            return _written(config, path, key)
    return value


def _written(config: Config, path: KeyPath, key: Key) -> Any:
    """The value as the file has it: for keys that no section types."""
    value: Any = config.raw.values
    for part in path:
        if isinstance(value, list):
            value = value[part] if isinstance(part, int) and part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return key.default if value is None else value


def _plain(value: Any) -> Any:
    """A section as a mapping of what it sets, so that values are JSON."""
    if isinstance(value, Section):
        return value.model_dump(exclude_none=True)
    return [_plain(one) for one in value] if isinstance(value, list) else value


def shown(value: Any) -> str:
    """A value as one would write it in YAML, on one line."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(shown(one) for one in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {shown(one)}" for name, one in value.items()) + "}"
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
