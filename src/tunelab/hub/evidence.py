"""What is said of a model, and where: candidates for a field, each with the quotes that it rests on, ranked. "Not stated" is an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["card metadata", "tag", "model tree", "adapter_config.json", "config.json", "weights header", "file list", "card text", "name"]
"""Where a statement stands, roughly from the most to the least formal."""

STATED = 0.5
"""A candidate counts as stated from this confidence on; below it is a hint that a person may look at."""
QUOTE = 240
"""Characters of a quote that are kept."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One place that says something: `quote` as it is written there (cut at QUOTE characters), `line` 1-based in `file`, None where lines
    have no meaning (a tag, a name, the Hub's model tree)."""

    kind: Kind
    quote: str
    file: str = ""
    line: int | None = None

    def __post_init__(self) -> None:
        flat = " ".join(self.quote.split())
        object.__setattr__(self, "quote", flat if len(flat) <= QUOTE else flat[: QUOTE - 1] + "…")

    @property
    def place(self) -> str:
        """Where it stands, in words: "card metadata, README.md:5"."""
        line = f":{self.line}" if self.line is not None else ""
        return f"{self.kind}, {self.file}{line}" if self.file and self.file != self.kind else f"{self.kind}{line}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that a field may have. `confidence`: between 0 and 1, how sure it is that the model's makers say so; `note`: what a reader
    should know ("named by its short name; there are several models of that name")."""

    value: str
    confidence: float
    evidence: tuple[Evidence, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """All that is known of one field: candidates, the surest first. `many`: the field may have several true values (data sets, parents of a
    merge, languages); otherwise the first is the answer and the others are rivals."""

    candidates: tuple[Candidate, ...] = ()
    many: bool = False

    @property
    def stated(self) -> tuple[Candidate, ...]:
        """The candidates that count as said; of a field with one value at most one."""
        sure = tuple(one for one in self.candidates if one.confidence >= STATED)
        return sure if self.many else sure[:1]

    @property
    def values(self) -> tuple[str, ...]:
        """The stated values."""
        return tuple(one.value for one in self.stated)

    @property
    def value(self) -> str | None:
        """The first stated value, or None: not stated."""
        return next(iter(self.values), None)


NOT_STATED = Answer()


def ranked(candidates: Iterable[Candidate], *, many: bool = False) -> Answer:
    """Candidates of the same value (capitals aside) joined into one: its evidence is all of theirs, its confidence grows with each further
    kind of source that agrees (by the rule for independent witnesses, each later one counted by half). The surest come first; equals keep
    their order."""
    joined: dict[str, list[Candidate]] = {}
    for one in candidates:
        joined.setdefault(one.value.strip().casefold(), []).append(one)
    merged = [_join(group) for key, group in joined.items() if key]
    return Answer(tuple(sorted(merged, key=lambda one: -one.confidence)), many)


def _join(group: list[Candidate]) -> Candidate:
    best = max(group, key=lambda one: one.confidence)
    doubt, kinds = 1 - best.confidence, {entry.kind for entry in best.evidence}
    for other in sorted(group, key=lambda one: -one.confidence):
        new = {entry.kind for entry in other.evidence} - kinds
        if other is not best and new:
            doubt *= 1 - other.confidence / 2
            kinds |= new
    evidence = dict.fromkeys((*best.evidence, *(entry for one in group for entry in one.evidence)))
    return replace(best, confidence=round(1 - doubt, 3), evidence=tuple(evidence), note=next((one.note for one in (best, *group) if one.note), ""))
