"""`Thawed`: which parameters `unfrozen_parameters` and `freeze_mm_modules` leave trainable, and which rows of them.

The patterns are read as Axolotl 0.21.0 reads them: a name has to begin with the pattern, a dot is a literal dot unless a plus follows it,
and a range of rows may stand behind it ("^model.embed_tokens.weight$[:32000]"). Where it goes wrong there, it does not here: a dot that is
escaped already stays one dot, and a range beyond the tensor is said before anything is loaded (rule TL419).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunelab.config.config import Config

Rows = tuple[tuple[int, int], ...]
"""Ranges of rows [start, end), ascending and apart."""

_RANGE = re.compile(r"(.+)\[([0-9]*)(?::([0-9]*))?\]")
_OTHER_SENSES = frozenset({"vision_tower", "vision_model", "vision_encoder", "embed_vision", "multi_modal_projector", "visual", "audio_tower",
                           "audio_model", "embed_audio"})


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of unfrozen_parameters. `rows` is (start, end or None), or None for the whole tensor."""

    text: str
    names: re.Pattern[str]
    rows: tuple[int, int | None] | None

    @classmethod
    def read(cls, text: str) -> Pattern:
        """Raises re.error for what is no pattern, ValueError for a range that is none."""
        match = _RANGE.fullmatch(text)
        name, rows = text, None
        if match is not None:
            name, first, last = match.group(1), match.group(2), match.group(3)
            start = int(first or 0)
            rows = (start, start + 1) if last is None and first else (start, int(last) if last else None)
            if rows[1] is not None and rows[1] <= start:
                raise ValueError(f"the range [{first}:{last}] is empty")
        return cls(text, re.compile(re.sub(r"(?<!\\)\.(?!\+)", r"\\.", name)), rows)

    def matches(self, name: str) -> bool:
        """Whether a parameter's name begins with the pattern."""
        return self.names.match(name) is not None


@dataclass(frozen=True, slots=True)
class Thawed:
    """A parameter that is trained. `rows`: only these; () for all of them."""

    shape: tuple[int, ...]
    rows: Rows = ()

    @property
    def parameters(self) -> int:
        """How many of its numbers are trained."""
        if not self.rows:
            return math.prod(self.shape)
        return sum(end - start for start, end in self.rows) * math.prod(self.shape[1:])

    @property
    def frozen_rows(self) -> Rows:
        """The ranges that are not trained."""
        if not self.rows:
            return ()
        borders = [0, *(border for one in self.rows for border in one), self.shape[0]]
        return tuple((start, end) for start, end in zip(borders[::2], borders[1::2], strict=True) if end > start)

    @property
    def kept(self) -> int:
        """How many numbers of it are held a second time, so that no step changes them."""
        return sum(end - start for start, end in self.frozen_rows) * math.prod(self.shape[1:])


def patterns(config: Config) -> tuple[Pattern, ...]:
    """The entries of unfrozen_parameters that can be read; rule TL419 says the others."""
    found = []
    for text in config.adapter.unfrozen_parameters or ():
        try:
            found.append(Pattern.read(text))
        except (re.error, ValueError, RecursionError, OverflowError):
            continue
    return tuple(found)


def thawed(config: Config, tensors: Mapping[str, tuple[int, ...]]) -> dict[str, Thawed]:
    """What a run without an adapter trains, by name. Without any of the keys it is everything.

    Several ranges of one tensor are joined; a pattern without a range, beside one with, adds no rows (as in Axolotl).
    """
    wanted = patterns(config)
    found = {}
    for name, shape in tensors.items():
        if config.model.freeze_mm_modules and not _OTHER_SENSES.isdisjoint(name.split(".")):
            continue
        matching = [one for one in wanted if one.matches(name)]
        if matching or not config.adapter.unfrozen_parameters:
            found[name] = Thawed(shape, joined([one.rows for one in matching if one.rows is not None], shape[0] if shape else 0))
    return found


def joined(ranges: Sequence[tuple[int, int | None]], size: int) -> Rows:
    """Ranges in order, those that touch made one, cut at the tensor's size."""
    found: list[tuple[int, int]] = []
    for start, end in sorted((start, size if end is None else min(end, size)) for start, end in ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif start < end:
            found.append((start, end))
    return tuple(found)
