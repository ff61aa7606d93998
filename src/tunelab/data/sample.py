"""What a row becomes: token ids with a label for each, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

IGNORE = -100
"""The label of a token that carries no loss (the value that torch's cross entropy ignores)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row stands: index into `datasets`, the file (or Hub id), and its 1-based line (JSONL, CSV, text) or row number."""

    dataset: int
    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}:{self.row}"


@dataclass(frozen=True, slots=True)
class Row:
    """One raw row as read."""

    values: dict[str, Any]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Sample:
    """One tokenised row. `input_ids` and `labels` have the same length; a label is the token id or IGNORE (not shifted)."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    origin: Origin

    @property
    def supervised(self) -> int:
        """How many tokens carry loss after the model's shift by one (the first token is never predicted)."""
        return sum(label != IGNORE for label in self.labels[1:])


@dataclass(frozen=True, slots=True)
class Unit:
    """The samples that a row is used or left out with: one, or the two of a pair (data.pairs), of which one may be empty.

    `length`: tokens, as held against sequence_len. `prompt`: those that cannot be cut; with more of them than the limit nothing is left to learn.
    """

    samples: tuple[Sample, ...]
    length: int
    prompt: int = 0

    def cut(self, limit: int) -> Unit:
        """The first `limit` tokens of each sample."""
        return Unit(tuple(Sample(one.input_ids[:limit], one.labels[:limit], one.origin) for one in self.samples), min(self.length, limit), self.prompt)
