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
