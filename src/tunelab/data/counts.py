"""What became of the rows: how many are used, how many are not, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from tunelab.data.sample import Origin
from tunelab.errors import DataError

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows.

    `read` counts rows (after `shards` and `weight`); the others count samples, which is the same except for types where a long text gives
    several and an empty one none (counted as too short). `kept` includes `held_out`. `cut` counts texts of `type: completion` that are
    longer than 64 x sequence_len and whose rest is not used; `truncated` those that excess_length_strategy shortened (they are kept);
    `duplicates` those that dataset_exact_deduplication left out. The examples are the first few.
    """

    read: int
    kept: int
    too_long: int
    too_short: int
    without_label: int
    held_out: int
    cut: int = 0
    examples_too_long: tuple[Origin, ...] = ()
    examples_without_label: tuple[Origin, ...] = ()
    truncated: int = 0
    duplicates: int = 0
    examples_truncated: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of some of the rows, while the others are still to come. `longest` is in tokens; `first_long` those of the first long row."""

    read: int = 0
    too_long: int = 0
    too_short: int = 0
    without_label: int = 0
    cut: int = 0
    truncated: int = 0
    longest: int = 0
    first_long: int = 0
    long: tuple[Origin, ...] = ()
    silent: tuple[Origin, ...] = ()
    shortened: tuple[Origin, ...] = ()

    def __add__(self, later: Tally) -> Tally:
        """Both together; `later` stands behind in the order of the data."""
        return Tally(
            self.read + later.read, self.too_long + later.too_long, self.too_short + later.too_short, self.without_label + later.without_label,
            self.cut + later.cut, self.truncated + later.truncated, max(self.longest, later.longest), self.first_long or later.first_long,
            *((one + other)[:EXAMPLES] for one, other in ((self.long, later.long), (self.silent, later.silent),
                                                          (self.shortened, later.shortened))))

    def counts(self, kept: int, duplicates: int) -> Counts:
        """As they are told, when all rows are done."""
        return Counts(read=self.read, kept=kept, too_long=self.too_long, too_short=self.too_short, without_label=self.without_label,
                      held_out=0, cut=self.cut, examples_too_long=self.long, examples_without_label=self.silent, truncated=self.truncated,
                      duplicates=duplicates, examples_truncated=self.shortened)


def together(one: Counts, other: Counts) -> Counts:
    """The counts of two groups of rows."""
    both: dict[str, Any] = {name: getattr(one, name) + getattr(other, name) for name in Counts.__slots__}
    shortened: dict[str, Any] = {name: value[:EXAMPLES] if isinstance(value, tuple) else value for name, value in both.items()}
    return Counts(**shortened)


def nothing_left(tally: Tally, limit: int) -> NoReturn:
    """Say why no row is left, of the more frequent reason, at its first row in the order of the data."""
    message = (f"None of the {tally.read} rows can be trained on: {tally.too_long} too long, {tally.without_label} without a token that "
               f"carries loss.")
    if tally.too_long and tally.too_long >= tally.without_label:
        raise DataError(f"{message} This row has {tally.first_long} tokens; sequence_len is {limit}.", where=str(tally.long[0]),
                        next_step=f"Raise it: sequence_len: {tally.longest} takes in every row, within the model's own limit.")
    if tally.without_label:
        raise DataError(f"{message} This row has a prompt and no answer to learn.", where=str(tally.silent[0]),
                        next_step="Check that answers are not empty, and roles, roles_to_train, train_on_eos and the segments' labels.")
    raise DataError(f"None of the {tally.read} rows holds any text.", where="datasets", next_step="Check the column that the type reads.")


def to_json(counts: Counts) -> dict[str, Any]:
    """As plain JSON, for the cache."""
    found: dict[str, Any] = {name: getattr(counts, name) for name in Counts.__slots__}
    return {name: [[one.dataset, one.file, one.row] for one in value] if isinstance(value, tuple) else value for name, value in found.items()}


def from_json(saved: Mapping[str, Any]) -> Counts:
    """The opposite of `to_json`. Raises TypeError or ValueError for anything else."""
    found: dict[str, Any] = {name: tuple(Origin(*one) for one in value) if isinstance(value, list) else value for name, value in saved.items()}
    return Counts(**found)
