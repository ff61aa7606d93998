"""Pairs of answers in the machinery of samples: a pair is two samples one behind the other, the better answer first.

Each of the two holds the prompt and its answer, and the answer alone carries loss. A rated answer (`rl: kto`) is a pair of which one side
is empty. For a reward model the two are whole conversations, and the one token with a label is the last, where the score is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tunelab.config.config import Config
from tunelab.config.sections.data import Dataset
from tunelab.data.sample import Origin, Sample

WIDTH = 2
"""Samples of a pair."""

_PAIRS = frozenset({"path", "split", "type", "data_files", "revision", "field_messages", "field_chosen", "field_rejected"})
_RATED = frozenset({"path", "split", "type", "data_files", "trust_remote_code", "revision"})

ENTRY_KEYS: Mapping[str, frozenset[str]] = MappingProxyType({"dpo": _PAIRS, "ipo": _PAIRS, "simpo": _PAIRS, "kto": _RATED})
"""The keys of an entry of `datasets` that count, by method; with the others all keys do. What else is written is dropped, as TL370 says."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A better and a worse answer to the same prompt; None where there is none (a rated answer is one of the two)."""

    chosen: Sample | None
    rejected: Sample | None

    @property
    def origin(self) -> Origin:
        """Where the row stands."""
        return self.sides[0].origin

    @property
    def sides(self) -> tuple[Sample, ...]:
        """The one or two samples that are there, the better one first."""
        return tuple(side for side in (self.chosen, self.rejected) if side is not None)


def width_of(config: Config) -> int:
    """Samples that make a row of this config's data: one, or two of a pair."""
    return WIDTH if config.preference.method is not None else 1


def pair_at(samples: Sequence[Sample], index: int) -> Pair:
    """Pair number `index` of samples that stand two by two."""
    chosen, rejected = samples[WIDTH * index], samples[WIDTH * index + 1]
    return Pair(chosen if chosen.input_ids else None, rejected if rejected.input_ids else None)


def pairs(samples: Sequence[Sample]) -> Iterator[Pair]:
    """Samples that stand two by two, as pairs."""
    return (pair_at(samples, index) for index in range(len(samples) // WIDTH))


def per_row(figures: Sequence[int], width: int) -> tuple[int, ...]:
    """Figures of samples (lengths, tokens with loss) added up for each row of `width` samples."""
    return tuple(figures) if width == 1 else tuple(sum(figures[start:start + width]) for start in range(0, len(figures), width))


def learnt_per_row(config: Config, lengths: Sequence[int], supervised: Sequence[int]) -> tuple[int, ...]:
    """Tokens that carry loss in each row, given those of each sample. ORPO learns the better answer's prompt too (all but its first token)."""
    if config.preference.rl == "orpo":
        supervised = [length - 1 if place % WIDTH == 0 else count for place, (length, count) in enumerate(zip(lengths, supervised, strict=True))]
    return per_row(supervised, width_of(config))


def spread(order: Any, width: int) -> Any:
    """Numbers of rows -> the numbers of their samples, (rows,) -> (rows * width,)."""
    import numpy as np

    return order if width == 1 else (np.asarray(order)[:, None] * width + np.arange(width)).ravel()


def entries_as_read(config: Config, key: str) -> tuple[Dataset, ...]:
    """The entries of `datasets` or `test_datasets` with the keys that the method reads.

    Axolotl turns the rows of test data as those of the entry of `datasets` with the same number (TL396), and so do we.
    """
    entries = tuple(getattr(config.data, key) or ())
    method = config.preference.rl
    if method is None:
        return entries
    kept = ENTRY_KEYS.get(method)
    parts = frozenset({"shards", "shards_idx", "preprocess_shards", "weight"})
    found = []
    for number, entry in enumerate(entries):
        twin = config.data.datasets[number] if key != "datasets" and number < len(config.data.datasets) else entry
        layout = {name: getattr(twin, name) for name in ("type", "field_messages", "field_chosen", "field_rejected")}
        dropped = [name for name in Dataset.model_fields if name in parts or (kept is not None and name not in kept)]
        found.append(entry.model_copy(update={**layout, **{name: Dataset.model_fields[name].get_default() for name in dropped}}))
    return tuple(found)
