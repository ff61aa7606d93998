"""Where a turn's text stands in a printed conversation: found by printing it again with other text in its place.

It works for any template. A token that holds anything of the turn's text belongs to it, as in Axolotl.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from tunelab.data.formats.conversation import Turn
from tunelab.errors import DataError

STAND_INS = ("[[dummy_message]]", "zzdummymessagezz")
"""Two texts that share neither first nor last character: what both prints have in common is not the turn's."""

NOWHERE = (-1, -1)


class Part(Enum):
    """What of a turn is looked for: all that it prints, or only its content or its reasoning."""

    WHOLE = "whole"
    CONTENT = "content"
    REASONING = "reasoning"


@dataclass(frozen=True, slots=True)
class Printed:
    """A conversation as text and tokens. `starts` and `ends` are the characters that each token covers; `print` prints other turns with
    the same template and tools; `thinking` is the key of a turn's reasoning, `closing` are the tokens that may end a turn."""

    turns: Sequence[Turn]
    text: str
    ids: Sequence[int]
    starts: Sequence[int]
    ends: Sequence[int]
    print: Callable[[Sequence[Turn]], str]
    thinking: str
    closing: frozenset[int] = frozenset()


def span(printed: Printed, number: int, part: Part = Part.WHOLE) -> tuple[int, int]:
    """The tokens [start, end) that hold anything of a turn's text; NOWHERE when it prints nothing."""
    start, end = len(printed.text), 0
    for stand_in in STAND_INS:
        try:
            text = _printed_with(printed, number, part, stand_in)
        except DataError:  # the template cannot do without what the turn holds beside its text, such as a tool call in its place
            start, end = _by_growth(printed, number)
            break
        if text == printed.text:
            continue  # the turn's text is the stand-in itself; the other one tells
        prefix = _shared_start(printed.text, text)
        suffix = _shared_start(printed.text[prefix:][::-1], text[prefix:][::-1])
        start, end = min(start, prefix), max(end, len(printed.text) - suffix)
    if end <= start:
        return NOWHERE
    first, behind = bisect_right(printed.ends, start), bisect_left(printed.starts, end)
    return (first, behind) if first < behind else NOWHERE


def _printed_with(printed: Printed, number: int, part: Part, stand_in: str) -> str:
    """The conversation with a stand-in for one turn. Other keys of the turn (reasoning, tool calls) are the speaker's own words too:
    without them they lie in the span."""
    other = _stand_in(printed.turns[number], part, stand_in, printed.thinking)
    return printed.print([*printed.turns[:number], other, *printed.turns[number + 1:]])


def _by_growth(printed: Printed, number: int) -> tuple[int, int]:
    """The characters [start, end) by which the print grows with a turn; nothing when the print does not simply grow.

    The token that ends the turn is left to those that look for it.
    """
    try:
        before, with_turn = printed.print(printed.turns[:number]), printed.print(printed.turns[:number + 1])
    except DataError:
        return 0, 0
    if not (with_turn.startswith(before) and printed.text.startswith(with_turn)):
        return 0, 0
    end = len(with_turn)
    last = bisect_left(printed.starts, end) - 1
    if last >= 0 and printed.ids[last] in printed.closing and printed.ends[last] == end:
        end = printed.starts[last]
    return len(before), end


def _stand_in(turn: Turn, part: Part, stand_in: str, thinking: str) -> Turn:
    reasoning = {thinking: turn[thinking]} if thinking in turn else {}
    if part is Part.REASONING:
        return {"role": turn["role"], "content": turn.get("content", ""), **dict.fromkeys(reasoning, stand_in)}
    return {"role": turn["role"], "content": stand_in, **(reasoning if part is Part.CONTENT else {})}


def _shared_start(one: str, other: str) -> int:
    """How many characters two texts have in common at their start."""
    shared, limit = 0, min(len(one), len(other))
    while shared < limit:
        middle = (shared + limit + 1) // 2
        if one[shared:middle] == other[shared:middle]:
            shared = middle
        else:
            limit = middle - 1
    return shared
