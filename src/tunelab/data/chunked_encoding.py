r"""Text to token ids several times faster than the tokenizer's own encode, and equal to it.

The tokenizers of most models (GPT-2, Llama 3, Qwen, SmolLM, ...) cut text into words by a regular expression and then work inside the
words. Two things follow, for the expressions listed here and for no others:

- No word reaches from a visible character over the space behind it, and none from a letter or digit over the line break behind it; nor
  does an expression look across such a place. So the text can be cut there, and what a stretch becomes can be remembered.
- A word on its own is cut into that one word. So a stretch of plain ASCII, in which the expression is the same in Python's `re`, can be
  cut into words here, and what a word becomes can be remembered.

Everything else goes to the tokenizer: other languages' stretches once each, and tokenizers of another kind always.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any, overload

Stretch = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Ids, and for each its first character and the one behind its last, counted from where the stretch begins."""

_STRETCHES = re.compile(r"\s*\S+(?:(?:(?<![A-Za-z0-9])\n|[^\S \n])\s*\S+)*(?:\s+\Z)?|\s+\Z")
r"""What lies between the cuts: before a space that follows \S, before a line break that follows a letter or digit."""

_GPT2 = r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
_DIGIT = r"[0-9]|'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|\s+(?![^\s0-9])|\s+"
_CL100K = r"{quote}|[^\r\nA-Za-z0-9]?[A-Za-z]+|{number}| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QUOTE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"

_WORDS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+":
        _CL100K.format(quote=_QUOTE, number="[0-9]{1,3}"),
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+":
        _CL100K.format(quote=_QUOTE, number="[0-9]"),
}
"""A tokenizer's expression -> the same for ASCII text."""

_MOST = 2**17
"""Remembered words and stretches: some 40 MB."""

_LONGEST = 48
"""Characters of a word or stretch that is remembered."""

_BYTES = {code: chr(256 + number) for number, code in enumerate([*range(33), 127])}
"""How byte-level models write the bytes of ASCII that are not visible; visible ones stand for themselves (GPT-2's table)."""


class Borders(Sequence[int]):
    """Where tokens begin (or end) in a text, worked out when it is asked for: few of them are."""

    def __init__(self, cut: Sequence[str], found: Sequence[Stretch], count: int, which: int) -> None:
        """`found[i]` is what `cut[i]` became; `count`: of all tokens; `which`: 1 begin, 2 end."""
        self._cut, self._found, self._count, self._which = cut, found, count, which
        self._tokens: list[int] = []
        self._characters: list[int] = []

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...

    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        if isinstance(index, slice):
            return list(self)[index]
        if not self._tokens:
            self._tokens = list(accumulate(map(len, map(itemgetter(0), self._found))))
            self._characters = list(accumulate(map(len, self._cut), initial=0))
        if index < 0:
            index += self._count
        number = bisect_right(self._tokens, index)
        of_stretch = self._found[number][self._which]
        return self._characters[number] + of_stretch[index - self._tokens[number] + len(of_stretch)]

    def __iter__(self) -> Iterator[int]:
        at = accumulate(map(len, self._cut), initial=0)
        return (begin + place for begin, stretch in zip(at, self._found, strict=False) for place in stretch[self._which])


class ChunkedEncoder:
    """The encode of one tokenizer, with a memory. What it returns does not depend on that memory."""

    def __init__(self, backend: Any, words: str, added: Sequence[str], trims: bool) -> None:
        """`words`: the expression for ASCII text; `added`: the added tokens; `trims`: offsets leave out spaces."""
        self._backend, self._model = backend, None if trims else backend.model
        self._words = re.compile(words, re.ASCII)
        self._added = added
        self._known: dict[str, Stretch] = {}

    def ids(self, text: str) -> list[int]:
        """The ids of a text, without added special tokens."""
        return list(chain.from_iterable(map(itemgetter(0), self._look_up(self._cut(text)))))

    def ids_and_borders(self, text: str) -> tuple[list[int], Sequence[int], Sequence[int]]:
        """The ids, and for each the character of the text it begins with and the one behind its last."""
        cut = self._cut(text)
        found = self._look_up(cut)
        ids = list(chain.from_iterable(map(itemgetter(0), found)))
        return ids, Borders(cut, found, len(ids), 1), Borders(cut, found, len(ids), 2)

    def _cut(self, text: str) -> list[str]:
        """The words of a text; a stretch that is not ASCII as a whole, and so are added tokens."""
        present = [token for token in self._added if token in text]
        parts = re.split(f"({'|'.join(map(re.escape, present))})", text) if present else [text]
        cut: list[str] = []
        for number, part in enumerate(parts):
            if number % 2:
                cut.append(part)
            elif part.isascii():
                cut += self._words.findall(part)
            else:
                for stretch in _STRETCHES.findall(part):
                    cut += self._words.findall(stretch) if stretch.isascii() else (stretch,)
        return cut

    def _look_up(self, cut: Sequence[str]) -> list[Stretch]:
        new = {word: self._encode(word) for word in set(cut).difference(self._known)}
        room = _MOST - len(self._known)
        self._known.update(new)
        found = list(map(self._known.__getitem__, cut))
        for word in new if len(new) > room else [word for word in new if len(word) > _LONGEST]:
            del self._known[word]
        return found

    def _encode(self, word: str) -> Stretch:
        if self._model is not None and word.isascii() and word not in self._added:
            found = self._model.tokenize(word.translate(_BYTES))
            ends = tuple(accumulate(len(token.value) for token in found))
            if ends and ends[-1] == len(word):  # otherwise it has a byte that the vocabulary does not
                return tuple(token.id for token in found), (0, *ends[:-1]), ends
        encoding = self._backend.encode(word, add_special_tokens=False)
        starts, ends = zip(*encoding.offsets, strict=True) if encoding.ids else ((), ())
        return tuple(encoding.ids), starts, ends


def encoder_for(backend: Any) -> ChunkedEncoder | None:
    """The fast encode of a `tokenizers.Tokenizer`; None for one of a kind of which it is not known to be equal."""
    parts = json.loads(backend.to_str())
    words = _words(parts.get("pre_tokenizer"))
    model, normalizer, added = parts.get("model") or {}, parts.get("normalizer"), parts.get("added_tokens") or []
    plain = all(not (token["lstrip"] or token["rstrip"] or token["single_word"]) and not re.search(r"\s", token["content"]) for token in added)
    steps = _steps(parts.get("post_processor"), "processors")
    trims = [step for step in steps if step.get("type") in ("ByteLevel", "RobertaProcessing") and step.get("trim_offsets")]
    if (words is None or model.get("type") != "BPE" or model.get("dropout") or not plain or any(step.get("add_prefix_space") for step in trims)
            or (normalizer is not None and normalizer != {"type": "NFC"})):
        return None  # with a space in front, what is trimmed depends on the place in the text
    contents = sorted((token["content"] for token in added if token["content"]), key=len, reverse=True)
    return ChunkedEncoder(backend, words, contents, bool(trims))


def _steps(part: Any, name: str) -> list[Any]:
    return list(part.get(name, [part])) if isinstance(part, dict) else []


def _words(pre_tokenizer: Any) -> str | None:
    """The expression for ASCII text of a pre-tokenizer that is known."""
    steps = _steps(pre_tokenizer, "pretokenizers")
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space") or len(steps) > 2:
        return None
    if len(steps) == 1:
        return _GPT2 if steps[0].get("use_regex", True) else None
    first, own = steps[0], steps[-1].get("use_regex", True)
    if first.get("type") == "Digits" and own:
        return _DIGIT if first.get("individual_digits") else None
    if first.get("type") == "Split" and not own and first.get("behavior") == "Isolated" and not first.get("invert"):
        return _WORDS.get(str((first.get("pattern") or {}).get("Regex")))
    return None

