"""Untrusted text made harmless and visible, before any skin escapes it: control characters, direction marks, differences, tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Literal

from tunelab.report.content import Piece, State

# C0 and C1 controls without tab and line feed; direction overrides, embeddings and isolates; lone surrogates; line separators;
# tag characters, soft hyphens, zero-width spaces; the byte order mark. Joiners and plain direction marks stay: scripts and emoji need them.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffc\ufffe\uffff"
                     r"\ud800-\udfff\U000e0000-\U000e007f]")
_SHORT = {"\x1b": "␛", "\r": "␍", "\x00": "␀", "\x08": "␈", "\x07": "␇", "\x7f": "␡"}
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_MAX_WORDS = 240
_ALIKE = 0.35

Mark = Literal["same", "extra", "missing"]


def visible(text: str) -> str:
    """The text with everything that a reader cannot see, or that reorders what is seen, written out: ESC as "␛", U+202E as "⟨U+202E⟩"."""
    return _HIDDEN.sub(_written_out, text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 160) -> str:
    """The beginning of a text on one line, cut at `limit` characters with an ellipsis."""
    flat = " ".join(visible(text[: 4 * limit]).split())
    return flat if len(flat) <= limit and len(text) <= 4 * limit else flat[:limit].rstrip() + " …"


def is_long(text: str, characters: int = 700, lines: int = 14) -> bool:
    """Whether an answer is shown folded."""
    return len(text) > characters or text.count("\n") > lines


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of an answer: as expected, there but not expected ("extra"), or expected and not there ("missing")."""

    text: str
    mark: Mark


def differences(answer: str, expected: str | None) -> tuple[Stretch, ...]:
    """An answer word by word against the expected text; the "same" and "extra" stretches joined are the answer.

    One "same" stretch when there is nothing to compare with, when the texts are long, or so unlike that marks would be noise.
    """
    plain = (Stretch(answer, "same"),) if answer else ()
    if not expected or len(answer) + len(expected) > 12 * _MAX_WORDS:
        return plain
    left, right = _WORDS.findall(expected.strip()), _WORDS.findall(answer)
    if max(len(left), len(right)) > _MAX_WORDS:
        return plain
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return plain
    stretches: list[Stretch] = []
    for kind, l0, l1, r0, r1 in matcher.get_opcodes():
        if kind == "equal":
            stretches.append(Stretch("".join(right[r0:r1]), "same"))
            continue
        if l1 > l0:
            stretches.append(Stretch("".join(left[l0:l1]), "missing"))
        if r1 > r0:
            stretches.append(Stretch("".join(right[r0:r1]), "extra"))
    return tuple(stretches)


def shown_pieces(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Pieces with what is easily overlooked made visible: a line end as "↵" (and a line end), a tab as "⇥", a trailing space as "·"
    and so the spaces of a run of them, a no-break space as "⍽".

    Trailing are spaces before a line end, at the end of the row, and before a piece of another state (an end-of-turn token, say).
    """
    shown = []
    for index, piece in enumerate(pieces):
        text = re.sub(r" +(?=\n)|  +", _dots, piece.text)
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        if following is None or following.state != piece.state or following.text.startswith(("\n", " ")):
            text = re.sub(r" +\Z", _dots, text)
        shown.append(replace(piece, text=visible(text).replace("\t", "⇥").replace("\xa0", "⍽").replace("\n", "↵\n")))
    return tuple(shown)


def _dots(match: re.Match[str]) -> str:
    return "·" * len(match.group())


def runs_of(pieces: Iterable[Piece]) -> list[tuple[State, str]]:
    """Neighbouring pieces of one state joined."""
    joined: list[tuple[State, str]] = []
    for piece in pieces:
        if joined and joined[-1][0] == piece.state:
            joined[-1] = (piece.state, joined[-1][1] + piece.text)
        else:
            joined.append((piece.state, piece.text))
    return joined


def _written_out(match: re.Match[str]) -> str:
    one = match.group()
    return _SHORT.get(one, f"⟨U+{ord(one):04X}⟩")
