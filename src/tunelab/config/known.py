"""The whole dialect: every key that Axolotl 0.21.0 and its bundled plugins know, from the key table beside this file.

The table holds facts (type, default, status); the words for keys that no section of ours holds are in `known/words/`, one file a
room, read only when somebody asks what a key means.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from tunelab.config.setting import Setting, Support

_LIKE_DATASETS = re.compile(r"^(?:test_datasets|pretraining_dataset)\[\]\.")


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One key of the dialect. `type` is read by `value_types`; `status` is "", "deprecated" or "removed"; `plugin` names the plugin
    that brings it; `changes` is "training" when acting on it or not makes another model, "" when it steers logs, speed or placement;
    `limits` bounds a number (">=0 <=1") or the length of a list ("len>=1")."""

    name: str
    room: str
    type: str
    default_json: str
    required: bool
    status: str
    replaced_by: str
    plugin: str
    changes: str
    limits: str

    @property
    def default(self) -> Any:
        """What Axolotl takes when the key is not written."""
        value = json.loads(self.default_json) if self.default_json else None
        return {} if isinstance(value, dict) else value

    @property
    def owner(self) -> str:
        """The dotted name of the mapping that holds it, "" at the top level."""
        return self.name.rpartition(".")[0]


@cache
def known_keys() -> Mapping[str, KnownKey]:
    """All keys by dotted name ("datasets[].type")."""
    text = _files().joinpath("axolotl-0.21.0.tsv").read_text(encoding="utf-8")
    found = {}
    for line in text.splitlines()[1:]:
        name, room, type_, default, required, status, replaced_by, plugin, changes, limits = line.split("\t")
        found[name] = KnownKey(name, room, type_, default, bool(required), status, replaced_by, plugin, changes, limits)
    return types.MappingProxyType(found)


@dataclass(frozen=True, slots=True)
class RetiredName:
    """A top-level name of an earlier version that Axolotl 0.21.0 drops without a word. `safe`: deleting it changes nothing."""

    replaced_by: str
    safe: bool
    says: str


@cache
def retired_names() -> Mapping[str, RetiredName]:
    """The old names that configs in circulation still hold (known/retired.tsv)."""
    rows = (line.split("\t") for line in _files().joinpath("retired.tsv").read_text(encoding="utf-8").splitlines()[1:])
    return types.MappingProxyType({name: RetiredName(by, bool(safe), says) for name, by, safe, says in rows})


@cache
def children() -> Mapping[str, tuple[str, ...]]:
    """The names below each mapping: "" holds the top-level ones, "fsdp_config" its own, "datasets[]" those of an entry."""
    found: dict[str, list[str]] = {}
    for key in known_keys().values():
        found.setdefault(key.owner, []).append(key.name.rpartition(".")[2])
    return types.MappingProxyType({owner: tuple(names) for owner, names in found.items()})


def words(key: KnownKey) -> Setting:
    """The words for a key that no section holds."""
    entry = _room(key.room).get(key.name) or _room(key.room).get(_LIKE_DATASETS.sub("datasets[].", key.name), {})
    support = Support.REMOVED if key.status == "removed" else Support.UNDERSTOOD
    said = entry.get("says") or f"Removed from the dialect.{f' Use {key.replaced_by}.' if key.replaced_by else ''}"
    return Setting(said, entry.get("effect", "None: it is not read any more."), entry.get("typical", ""),
                   tuple(entry.get("interacts", ())), entry.get("example", ""), support)


def instead(key: KnownKey) -> str:
    """A sentence on what to write in place of a key that no run acts on; "" where nothing is said."""
    return str(_room(key.room).get(key.name, {}).get("instead", ""))


@cache
def names(kind: str) -> frozenset[str]:
    """Names that a free text may hold: "optimizer", "lr_scheduler", "sft_types", ... (known/names.json)."""
    return frozenset(json.loads(_files().joinpath("names.json").read_text(encoding="utf-8")).get(kind, ()))


@cache
def _room(room: str) -> Mapping[str, Any]:
    import tomllib

    file = _files().joinpath(f"words/{room}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _files() -> Any:
    return resources.files("tunelab.config").joinpath("known")
