"""Training single parts of a message: content that is a list of parts, and stretches of text that carry loss or not.

Offsets are characters of the message's text, both ends included, as the dialect writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunelab.data.sample import Row
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import DataError

_TEXT_KEYS = ("text", "content", "value")


@dataclass(frozen=True, slots=True)
class Stretch:
    """The characters begin..end of a text, both included, and whether they carry loss."""

    begin: int
    end: int
    train: bool


def join_parts(parts: Sequence[Any], number: int, row: Row) -> tuple[str, tuple[Stretch, ...] | None]:
    """The text of content that is written as a list of parts, and its stretches when a part says `train` or `weight`.

    Raises DataError for a part that is not text (an image, say).
    """
    texts: list[str] = []
    stretches: list[Stretch] = []
    marked = False
    for part in parts:
        text = _text_of_part(part, number, row)
        texts.append(text)
        train = True
        if isinstance(part, dict) and (part.get("train") is not None or part.get("weight") is not None):
            marked = True
            train = bool(part["train"]) if part.get("train") is not None else part["weight"] != 0
        if text:
            begin = stretches[-1].end + 1 if stretches else 0
            stretches.append(Stretch(begin, begin + len(text) - 1, train))
    return "".join(texts), tuple(stretches) if marked else None


def _text_of_part(part: Any, number: int, row: Row) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and (part.get("type") in (None, "text") or any(key in part for key in _TEXT_KEYS)):
        text = next((part[key] for key in _TEXT_KEYS if part.get(key)), "")
        if isinstance(text, str):
            return text
    raise DataError(f"Message {number} holds a part that is not text; only text can be trained on.", where=str(row.origin),
                    next_step="Leave out the images and other parts.")


def stretches_of(value: Any, number: int, row: Row) -> tuple[Stretch, ...]:
    """The stretches that a message's own key lists. Raises DataError when they are not {begin_offset, end_offset, train}."""
    if isinstance(value, list) and all(_is_stretch(one) for one in value):
        return tuple(Stretch(int(one["begin_offset"]), int(one["end_offset"]), bool(one["train"])) for one in value)
    raise DataError(f"Message {number} marks parts of its text in another shape than a list of begin_offset, end_offset and train.",
                    where=str(row.origin), next_step='Write them as [{"begin_offset": 0, "end_offset": 9, "train": true}].')


def _is_stretch(value: Any) -> bool:
    return (isinstance(value, dict) and isinstance(value.get("train"), (bool, int))
            and all(isinstance(value.get(key), int) for key in ("begin_offset", "end_offset")))


def trained_tokens(text: str, stretches: Sequence[Stretch], tokenizer: TextTokenizer) -> list[int]:
    """Which tokens of `text` (tokenised by itself) lie fully inside a stretch that carries loss; a stretch that cuts a token is first
    stretched to the whole token."""
    starts = [start for start, _ in tokenizer.encode_with_offsets(text)[1]]
    # A token reaches up to where the next one begins; the pieces of a split character all begin at the same place.
    spans = [(start, following - 1) for start, following in zip(starts, [*starts[1:], len(text)], strict=True)]
    widened = [wide for one in stretches if (wide := _to_tokens(one, spans)) is not None]
    return [place for place, (start, end) in enumerate(spans)
            if any(one.train and start >= one.begin and end <= one.end for one in widened)]


def _to_tokens(one: Stretch, spans: Sequence[tuple[int, int]]) -> Stretch | None:
    """A stretch with its ends moved to the borders of tokens; None when it holds none."""
    first = next((place for place, (start, _) in enumerate(spans) if start >= one.begin), len(spans))
    if first > 0 and spans[first - 1][1] > one.begin:
        first -= 1
    last = next((place for place in range(len(spans) - 1, -1, -1) if spans[place][1] <= one.end), -1)
    if last < len(spans) - 1 and spans[last + 1][0] < one.end:
        last += 1
    return Stretch(spans[first][0], spans[last][1], one.train) if first <= last and first < len(spans) else None
