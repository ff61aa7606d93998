"""A model's family: its parents up to the root base model, each step with where it is said, and what was made from it, by relation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tunelab.errors import TunelabError
from tunelab.facts.model import is_hub_id
from tunelab.hub.evidence import Evidence
from tunelab.hub.record import ModelRecord
from tunelab.hub.sheet import ModelSheet, read_sheet

RELATIONS: Mapping[str, str] = {"finetune": "fine-tune", "adapter": "adapter", "merge": "merge", "quantized": "quantised copy"}
"""The Hub's relations, in words."""
State = Literal["read", "again", "cycle", "gated", "missing", "local", "not looked up"]
"""`read`: its own record was read; `again`: it stands elsewhere in the tree; `missing`: the Hub has no such model, or could not be asked
(the note tells); `local`: a path on its makers' machine; `not looked up`: the depth or the number of models that are read was reached."""

MOST_PARENTS = 24
"""Parents of one model that are followed; merges of more exist, and say so."""
MOST_READ = 60
"""Records that are read for one tree."""
_LOCAL = re.compile(r"[./~\\]|[A-Za-z]:[\\/]")
_HINT = 0.2


class Family(Protocol):
    """Who knows models and their children: the Hub's client, or a double."""

    def record(self, name: str) -> ModelRecord:
        """A model's record. Raises TunelabError."""

    def children(self, name: str, relation: str, limit: int) -> Sequence[ModelRecord]:
        """The most downloaded models made from this one in that way. Raises TunelabError."""


@dataclass(frozen=True, slots=True)
class Relative:
    """A model that another was made from. `relation`: how ("" where nobody says); `evidence`: where that is said, with `confidence`;
    `note`: what a reader should know of it; `parents`: its own."""

    name: str
    relation: str
    evidence: tuple[Evidence, ...]
    confidence: float
    state: State = "read"
    note: str = ""
    downloads: int | None = None
    parents: tuple[Relative, ...] = ()

    @property
    def is_root(self) -> bool:
        """Whether it was read and names no parent: the base model that all of it began with, as far as is said."""
        return self.state in ("read", "gated") and not self.parents


@dataclass(frozen=True, slots=True)
class Child:
    """A model that was made from another."""

    name: str
    downloads: int | None = None
    likes: int | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """The children of one relation: how many there are (None: not known), and the most downloaded of them."""

    relation: str
    count: int | None
    models: tuple[Child, ...] = ()

    @property
    def more(self) -> int:
        """How many there are besides those that are named."""
        return max(0, (self.count or 0) - len(self.models))


@dataclass(frozen=True, slots=True)
class FamilyTree:
    """A model with its parents and its children. `notes`: what could not be followed, and what else is named as a base, in sentences."""

    name: str
    link: str
    kind: str
    downloads: int | None
    parents: tuple[Relative, ...]
    children: tuple[Branch, ...]
    notes: tuple[str, ...] = ()

    def steps(self) -> Iterator[tuple[str, Relative]]:
        """(child, parent) of every step of the way up, nearest first."""
        todo = [(self.name, one) for one in self.parents]
        while todo:
            child, parent = todo.pop(0)
            yield child, parent
            todo.extend((parent.name, one) for one in parent.parents)

    @property
    def roots(self) -> tuple[str, ...]:
        """The base models at the top, as far as is said; none for a model that names no parent."""
        return tuple(dict.fromkeys(one.name for _, one in self.steps() if one.is_root))


def read_tree(hub: Family, model: ModelRecord, *, depth: int = 10, children: int = 10) -> FamilyTree:
    """The family of a model, up to `depth` generations of parents and `children` children of each relation.

    Never fails for a relative: what cannot be read stands in the tree with its reason.
    """
    climb = _Climb(hub)
    sheet = read_sheet(model)
    parents = climb.parents(model, sheet, (_key(model.name),), depth)
    branches = tuple(_branches(hub, model, children, climb.notes))
    return FamilyTree(model.name, model.link, sheet.kind.value or "", model.downloads, parents, branches, tuple(dict.fromkeys(climb.notes)))


@dataclass
class _Climb:
    """One way up: what was read so far, and what there is to say of it."""

    hub: Family
    seen: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def parents(self, record: ModelRecord, sheet: ModelSheet, below: tuple[str, ...], depth: int) -> tuple[Relative, ...]:
        """The parents of a record; `below`: the keys of the models on the way down to the one that was asked for."""
        named = _named(record, sheet)
        stated = {_key(one.name) for one in named}
        self.notes.extend(f"{record.name}: {one.value} is named as well ({one.evidence[0].place if one.evidence else 'no place'}), less surely."
                          for one in sheet.base_model.candidates if one.confidence >= _HINT and _key(one.value) not in stated)
        if len(named) > MOST_PARENTS:
            self.notes.append(f"{record.name} has {len(named)} parents; {MOST_PARENTS} of them are shown.")
        return tuple(self._followed(one, below, depth) for one in named[:MOST_PARENTS])

    def _followed(self, one: Relative, below: tuple[str, ...], depth: int) -> Relative:
        key = _key(one.name)
        if key in below:
            return _as(one, "cycle", "It stands below itself in this tree: the cards name each other.")
        if _LOCAL.match(one.name) or one.name.count("/") > 1 or not is_hub_id(one.name):
            local = bool(_LOCAL.match(one.name)) or one.name.count("/") > 1
            return _as(one, "local" if local else "missing", "a path on its makers' machine" if local else "not a Hub id, so it is not looked up")
        if key in self.seen:
            return _as(one, "again", "")
        if depth <= 0 or len(self.seen) >= MOST_READ:
            return _as(one, "not looked up", "")
        self.seen.add(key)
        try:
            record = self.hub.record(one.name)
        except TunelabError as error:
            return _as(one, "missing", error.message)
        parents = self.parents(record, read_sheet(record), (*below, key), depth - 1)
        note = f"gated: {record.gated}" if record.gated else ""
        return Relative(record.name, one.relation, one.evidence, one.confidence, "gated" if record.gated else "read", note, record.downloads, parents)


def _named(record: ModelRecord, sheet: ModelSheet) -> list[Relative]:
    """The parents that a record states, and those of the Hub's model tree."""
    relations = {_key(name): relation for relation, name in record.parents}
    kind = sheet.kind.value or ""
    usual = kind if kind in RELATIONS else next((one for one in relations.values() if one), "")
    found = [Relative(one.value, relations.get(_key(one.value)) or usual, one.evidence, one.confidence) for one in sheet.base_model.stated]
    there = {_key(one.name) for one in found}
    found += [Relative(name, relation or usual, (Evidence("model tree", f"{relation or 'base'}: {name}"),), 0.9)
              for relation, name in record.parents if _key(name) not in there]
    return found


def _branches(hub: Family, model: ModelRecord, limit: int, notes: list[str]) -> Iterator[Branch]:
    """The children by relation, the Hub's order of relations first."""
    if not model.is_hub_id:
        return
    counts: Mapping[str, int | None] = model.children
    if set(counts) == {""} and counts[""]:  # a Hub that gives their sum only
        notes.append(f"{counts['']:,} models were made from {model.name}; how many by which relation is not told.")
        counts = dict.fromkeys(RELATIONS)
    order = {name: place for place, name in enumerate(RELATIONS)}
    for relation, count in sorted(counts.items(), key=lambda one: order.get(one[0], len(order))):
        if count == 0:
            continue
        models: Sequence[ModelRecord] = ()
        try:
            models = hub.children(model.name, relation, limit) if limit > 0 else ()
        except TunelabError as error:
            notes.append(f"The {RELATIONS.get(relation, relation)} models cannot be listed: {error.message}")
        named = (one for one in models if _key(one.name) != _key(model.name))
        children = tuple(Child(one.name, one.downloads, one.likes) for one in named)[:limit]
        if count or children:
            yield Branch(relation, count and max(count, len(children)), children)


def _as(one: Relative, state: State, note: str) -> Relative:
    return Relative(one.name, one.relation, one.evidence, one.confidence, state, note)


def _key(name: str) -> str:
    return name.strip().casefold()
