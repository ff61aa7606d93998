"""Sentences about how the two sides' answers differ, drafted from measured facts only, each with the prompts that show it.

They are a draft for a person to confirm or strike out: they say what was measured and not why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tunelab.comparison.record import Record
from tunelab.grading.measures import measure
from tunelab.runners.prompt import Answer

_LONGER = 1.5
"""From this ratio of lengths on, one answer is called longer than the other."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One sentence, and the ids of the prompts that show it, in the order of the prompts."""

    text: str
    prompt_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pair:
    """A prompt that both sides answered, and the facts measured of both answers."""

    record: Record
    base: dict[str, Any]
    tuned: dict[str, Any]


def observe(records: Sequence[Record]) -> tuple[Observation, ...]:
    """What can be seen in the prompts that both sides have answered; nothing is said where nothing differs."""
    pairs = [_Pair(record, _facts(record.base), _facts(record.tuned)) for record in records
             if record.base is not None and record.tuned is not None and "error" not in (record.base.stop, record.tuned.stop)]
    if not pairs:
        return ()
    found = [_same(pairs), _length(pairs), _share(pairs, "is_json", "JSON and nothing else"), _share(pairs, "starts_with_code", "code from "
             "the start"), _share(pairs, "cut_by_length", "cut off at the token limit"), _share(pairs, "repeated", "repeating themselves"),
             *_changed(pairs)]
    return tuple(one for one in found if one is not None)


def _facts(answer: Answer) -> dict[str, Any]:
    return measure(answer.text, answer.stop)


def _same(pairs: list[_Pair]) -> Observation | None:
    ids = _ids(pairs, lambda pair: pair.record.base is not None and pair.record.tuned is not None
               and pair.record.base.text == pair.record.tuned.text)
    return Observation(f"Both models gave the same text to {len(ids)} of {_prompts(len(pairs))}.", ids) if ids else None


def _length(pairs: list[_Pair]) -> Observation | None:
    """By the median, and only when most prompts show it."""
    base, tuned = (median(side) for side in zip(*((pair.base["characters"], pair.tuned["characters"]) for pair in pairs), strict=True))
    word = "longer" if tuned > base else "shorter"
    small, large = ("base", "tuned") if word == "longer" else ("tuned", "base")
    ids = _ids(pairs, lambda pair: getattr(pair, large)["characters"] >= _LONGER * max(1, getattr(pair, small)["characters"]))
    if max(base, tuned) < _LONGER * max(1, min(base, tuned)) or 2 * len(ids) < len(pairs):
        return None
    return Observation(f"The tuned model's answers are {word}: the median is {tuned:g} characters, the base model's {base:g}; "
                       f"{len(ids)} of {_prompts(len(pairs))} show it.", ids)


def _share(pairs: list[_Pair], fact: str, words: str) -> Observation | None:
    """How many answers of each side have a fact; the prompts are those where the sides differ, or all that have it if none differ."""
    base, tuned = sum(pair.base[fact] for pair in pairs), sum(pair.tuned[fact] for pair in pairs)
    bad_for_both = fact in ("cut_by_length", "repeated") and base + tuned > 0
    differing = _ids(pairs, lambda pair: pair.base[fact] != pair.tuned[fact])
    if not differing and not bad_for_both:
        return None
    ids = differing or _ids(pairs, lambda pair: bool(pair.base[fact]))
    return Observation(f"Answers that are {words}: {tuned} of {len(pairs)} from the tuned model, {base} of {len(pairs)} from the base.",
                       ids)


def _changed(pairs: list[_Pair]) -> list[Observation | None]:
    said = []
    for outcome, text in (("won", "Only the tuned model passed"), ("lost", "Only the base model passed")):
        for group in dict.fromkeys(pair.record.prompt.group for pair in pairs):
            ids = _ids(pairs, lambda pair, g=group, o=outcome: pair.record.prompt.group == g and pair.record.outcome == o)  # type: ignore[misc]
            said.append(Observation(f"{text} {len(ids)} {group} prompt{'s' if len(ids) != 1 else ''}: {_list(ids)}.", ids) if ids else None)
    return said


def _ids(pairs: list[_Pair], shows: Callable[[_Pair], bool]) -> tuple[str, ...]:
    return tuple(pair.record.prompt.id for pair in pairs if shows(pair))


def _list(ids: tuple[str, ...], limit: int = 8) -> str:
    return ", ".join(ids[:limit]) + (f" and {len(ids) - limit} more" if len(ids) > limit else "")


def _prompts(count: int) -> str:
    return "1 prompt" if count == 1 else f"{count} prompts"
