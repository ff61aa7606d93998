"""The catalogue of keys: what every setting is called, takes, defaults to and means.

A key that tunelab reads has its home in a section class; every other key of the dialect has it in the key table (`known`). A key is
honoured exactly when a section holds it and says so.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tunelab.config import value_types
from tunelab.config.known import KnownKey, known_keys, words
from tunelab.config.sections.adapter import AdapterSection
from tunelab.config.sections.data import DataSection
from tunelab.config.sections.distributed import DistributedSection
from tunelab.config.sections.hardware import HardwareSection
from tunelab.config.sections.loss import LossSection
from tunelab.config.sections.model import ModelSection
from tunelab.config.sections.optimisation import OptimisationSection
from tunelab.config.sections.preference import PreferenceSection
from tunelab.config.sections.run import RunSection
from tunelab.config.sections.tracking import TrackingSection
from tunelab.config.setting import Section, Setting

SECTIONS: Mapping[str, type[Section]] = types.MappingProxyType({
    "model": ModelSection,
    "data": DataSection,
    "adapter": AdapterSection,
    "optimisation": OptimisationSection,
    "loss": LossSection,
    "preference": PreferenceSection,
    "hardware": HardwareSection,
    "distributed": DistributedSection,
    "run": RunSection,
    "tracking": TrackingSection,
})

# The fifteen settings that the course lab asks about, in its order.
FIRST = ("base_model", "datasets", "tokenizer_type", "sequence_len", "sample_packing", "lora_r", "lora_alpha", "lora_dropout",
         "lora_target_modules", "gradient_accumulation_steps", "micro_batch_size", "num_epochs", "optimizer", "learning_rate",
         "output_dir")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the dialect: `name` is dotted, with [] for list items ("datasets[].type").

    `section` is the section class that holds its value, or the room of the key table when none does. `takes` is what tunelab takes in
    words, `dialect` what Axolotl takes; `status`, `replaced_by` and `plugin` as in `known.KnownKey`.
    """

    name: str
    section: str
    takes: str
    default: Any
    required: bool
    setting: Setting
    dialect: str = ""
    status: str = ""
    replaced_by: str = ""
    plugin: str = ""

    @property
    def top(self) -> str:
        """The top-level key that it belongs to."""
        return re.split(r"[.\[]", self.name)[0]


@cache
def typed_keys() -> Mapping[str, Key]:
    """The keys that a section holds, by dotted name: those that tunelab reads."""
    found: dict[str, Key] = {}
    for section, model in SECTIONS.items():
        _collect(model, section, "", found)
    return types.MappingProxyType(found)


@cache
def catalogue() -> Mapping[str, Key]:
    """Every key of the dialect by dotted name: the typed ones first, then the rest of the key table."""
    rest = {name: _entry(known) for name, known in known_keys().items() if name not in typed_keys()}
    return types.MappingProxyType({**typed_keys(), **rest})


def entry(name: str) -> Key | None:
    """One key by its dotted name; reads only the words that it needs."""
    typed, known = typed_keys().get(name), known_keys().get(name)
    return typed if typed is not None else _entry(known) if known is not None else None


def key_names() -> tuple[str, ...]:
    """All dotted names, without reading any words."""
    return tuple(dict.fromkeys((*typed_keys(), *known_keys())))


def _entry(known: KnownKey) -> Key:
    return Key(known.name, known.room, value_types.in_words(known.type), known.default, known.required, words(known), known.type,
               known.status, known.replaced_by, known.plugin)


@cache
def section_of(key: str) -> str | None:
    """The section that owns a top-level key, or None."""
    return next((name for name, model in SECTIONS.items() if key in model.model_fields), None)


def setting_of(info: FieldInfo) -> Setting:
    """The words written beside a field."""
    return next(item for item in info.metadata if isinstance(item, Setting))


def takes(info: FieldInfo) -> str:
    """What a field accepts, in words: "a whole number above 0", "one of all, turn, last, none"."""
    return _in_words(info.annotation, info.metadata)


def _collect(model: type[Section], section: str, prefix: str, found: dict[str, Key]) -> None:
    for name, info in model.model_fields.items():
        dotted = f"{prefix}{name}"
        known = known_keys().get(dotted)
        table = (known.type, known.status, known.replaced_by, known.plugin) if known is not None else ()
        found[dotted] = Key(dotted, section, takes(info), None if info.is_required() else info.default, info.is_required(),
                            setting_of(info), *table)
        nested, suffix = nested_section(info)
        if nested is not None:
            _collect(nested, section, f"{dotted}{suffix}.", found)


def nested_section(info: FieldInfo) -> tuple[type[Section] | None, str]:
    """The section class inside a field, and "[]" when the field is a list of them."""
    for part in _parts(info.annotation):
        if isinstance(part, type) and issubclass(part, Section):
            return part, ""
        if get_origin(part) is list and isinstance(get_args(part)[0], type) and issubclass(get_args(part)[0], Section):
            return get_args(part)[0], "[]"
    return None, ""


def _parts(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(part for arg in get_args(annotation) for part in _parts(arg))
    return (annotation,)


def _in_words(annotation: Any, metadata: list[Any]) -> str:
    words = [_one_in_words(part, metadata) for part in _parts(annotation) if part is not type(None)]
    return " or ".join(dict.fromkeys(words))


def _one_in_words(part: Any, metadata: list[Any]) -> str:
    if get_origin(part) is Annotated:
        base, *extra = get_args(part)
        return _in_words(base, [*extra, *metadata])
    if get_origin(part) is Literal:
        options = [str(value) for value in get_args(part)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if get_origin(part) is list:
        inner = get_args(part)[0]
        return "a list of texts" if inner is str else "a list of mappings"
    if get_origin(part) is dict or (isinstance(part, type) and issubclass(part, Section)):
        return "a mapping"
    names: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names.get(part, str(part)) + (_bounds(metadata) if part in (int, float) else "")


def _bounds(metadata: list[Any]) -> str:
    signs = (("gt", "above"), ("ge", "of at least"), ("lt", "below"), ("le", "of at most"))
    limits = [f"{word} {getattr(item, name):g}" for name, word in signs for item in _flat(metadata)
              if getattr(item, name, None) is not None]
    return f" {' and '.join(limits)}" if limits else ""


def _flat(metadata: list[Any]) -> list[Any]:
    return [one for item in metadata for one in ([item, *item.metadata] if isinstance(item, FieldInfo) else [item])]
