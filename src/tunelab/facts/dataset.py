"""`DataFacts`: how large a prepared dataset is, in rows, tokens and batches; whoever prepares the data fills it in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DataSource = Literal["tokenised data", "row statistics"]


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The size of the prepared data.

    `rows`: samples that are trained on; `held_out`: samples kept for evaluation. `lengths[i]` and `supervised[i]`: tokens of
    training sample i, and how many of them carry loss. `packed_rows`: rows of the first epoch after packing (= `rows` without).
    `positions`: token positions computed in the first epoch, padding included. `batches_per_epoch[e]`: micro batches of epoch e;
    an epoch beyond the last entry is like the last. `max_positions` and `max_supervised`: of the largest micro batch.
    `total_positions`, `total_supervised`: summed over every step of the run, where the schedule is known; None: the plan scales up
    the first epoch. `longest`: tokens of the longest sample (0: not known). `source`: counted on tokenised rows, or estimated from their
    characters. `vocabulary`: tokens of the tokenizer, added ones included; None where none was at hand.
    """

    rows: int
    held_out: int
    lengths: tuple[int, ...]
    supervised: tuple[int, ...]
    packed_rows: int
    positions: int
    batches_per_epoch: tuple[int, ...]
    max_positions: int
    max_supervised: int
    total_positions: int | None = None
    total_supervised: int | None = None
    longest: int = 0
    source: DataSource = "tokenised data"
    vocabulary: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens of one epoch, without padding."""
        return sum(self.lengths)

    @property
    def supervised_tokens(self) -> int:
        """Tokens of one epoch that carry loss."""
        return sum(self.supervised)
