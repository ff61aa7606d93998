"""The text of single tokens: exact where a character is spread over several of them, and never a replacement character of our own making."""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tunelab.data.tokenizer import TextTokenizer

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_STRAY = re.compile("[\udc80-\udcff]+")
_JOINER = "\u200d"
_REGIONAL = range(0x1F1E6, 0x1F200)
_FLAG_LETTERS = "".join(map(chr, _REGIONAL))
_SKIN_TONES = range(0x1F3FB, 0x1F400)


@dataclass(frozen=True, slots=True)
class TokenText:
    """What a token adds to the text. `joined`: it ends inside a character (or an emoji of several), which the next token goes on with."""

    text: str
    joined: bool


def token_texts(tokenizer: TextTokenizer, ids: Sequence[int]) -> list[TokenText]:
    """The text of each token; joined they are the text of the row.

    Bytes that are no character (a row may begin or end inside one) are written out, as in "⟨F0 9F⟩". Decoders that are not made of
    bytes are asked for their own pieces.
    """
    to_bytes = byte_table(tokenizer)
    if to_bytes is None:
        pieces = tokenizer.pieces(ids)
        texts = [(piece, not piece) for piece in pieces]
    else:
        texts = _decoded(to_bytes[token] for token in ids)
        if texts and _drops_first_space(tokenizer):
            texts[0] = (texts[0][0].removeprefix(" "), texts[0][1])
    return [TokenText(text, joined) for (text, _), joined in zip(texts, _joined(texts), strict=True)]


def plain_text(tokenizer: TextTokenizer, ids: Sequence[int]) -> str:
    """The text of some tokens out of the middle of a row; parts of characters at its ends are left out."""
    table = byte_table(tokenizer)
    return tokenizer.decode(ids) if table is None else b"".join([table[token] for token in ids]).decode("utf-8", errors="ignore")


def byte_table(tokenizer: TextTokenizer) -> Mapping[int, bytes] | None:
    """Token id -> its UTF-8 bytes, filled as it is asked; None where the decoder is not made of bytes (WordPiece, say)."""
    found = _tables.get(id(tokenizer.backend))
    if found is None or found[0] is not tokenizer.backend:
        reader = _reader(_decoder_parts(tokenizer.backend))
        found = tokenizer.backend, _Table(tokenizer.backend, reader) if reader is not None else None
        _tables.clear()  # one tokenizer is in use at a time
        _tables[id(tokenizer.backend)] = found
    return found[1]


class _Table(dict[int, bytes]):
    """Token id -> bytes, worked out on first use."""

    def __init__(self, backend: Any, reader: Callable[[str], bytes]) -> None:
        super().__init__()
        self._backend, self._reader = backend, reader

    def __missing__(self, token: int) -> bytes:
        name = self._backend.id_to_token(token)
        value = self[token] = b"" if name is None else self._reader(name)
        return value


_tables: dict[int, tuple[Any, _Table | None]] = {}


def _decoded(parts: Iterable[bytes]) -> list[tuple[str, bool]]:
    """(text, whether it ends inside a character) for each stretch of bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    texts = [(decoder.decode(part), bool(decoder.getstate()[0])) for part in parts]
    rest = decoder.decode(b"", final=True)
    if rest:
        texts[-1] = texts[-1][0] + rest, False
    return [(_STRAY.sub(_written_out, text), inside) for text, inside in texts]


def _written_out(match: re.Match[str]) -> str:
    return "⟨" + " ".join(f"{ord(one) - 0xDC00:02X}" for one in match.group()) + "⟩"


def _joined(texts: Sequence[tuple[str, bool]]) -> list[bool]:
    """For each token whether the next one belongs to the same character."""
    ahead, following = [""] * len(texts), ""
    for index in range(len(texts) - 1, -1, -1):
        ahead[index], following = following, texts[index][0] or following
    joined, flags, last = [], 0, ""
    for (text, inside), after in zip(texts, ahead, strict=True):
        run = _trailing_flags(text)
        flags, last = (flags + run if run == len(text) else run), text[-1:] or last
        joined.append(bool(after) and (inside or _goes_on(last, after[0], flags)))
    return joined


def _goes_on(last: str, first: str, flags: int) -> bool:
    """Whether the border between two code points lies inside what a reader sees as one character.

    Marks, joiners, variation selectors, skin tones and flags: the part of Unicode's UAX #29 that data for language models is full of.
    `flags`: how many regional indicators (two of which are a flag) stand before the border.
    """
    if first == _JOINER or unicodedata.category(first) in ("Mn", "Me", "Mc") or ord(first) in _SKIN_TONES:
        return bool(last) and not last.isspace()
    if last == _JOINER:
        return ord(first) > 0x2000
    return flags % 2 == 1 and ord(first) in _REGIONAL


def _trailing_flags(text: str) -> int:
    return len(text) - len(text.rstrip(_FLAG_LETTERS))


def _decoder_parts(backend: Any) -> list[dict[str, Any]]:
    """The tokenizer's decoder as its steps."""
    if backend.decoder is None:
        return []
    described = json.loads(backend.decoder.__getstate__())
    return list(described["decoders"]) if described.get("type") == "Sequence" else [described]


def _reader(parts: Sequence[Mapping[str, Any]]) -> Callable[[str], bytes] | None:
    """From the text of a token in the vocabulary to bytes."""
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"]:
        return _from_byte_level
    if kinds == ["Metaspace"]:
        mark = str(parts[0].get("replacement", "▁"))
        return lambda name: name.replace(mark, " ").encode("utf-8", "surrogatepass")
    if "ByteFallback" not in kinds or not set(kinds) <= {"Replace", "ByteFallback", "Fuse", "Strip"}:
        return None
    swaps = [(part["pattern"]["String"], part["content"]) for part in parts if part.get("type") == "Replace" and "String" in part["pattern"]]

    def with_fallback(name: str) -> bytes:
        byte = _BYTE_TOKEN.fullmatch(name)
        if byte:
            return bytes([int(byte.group(1), 16)])
        for old, new in swaps:
            name = name.replace(old, new)
        return name.encode()

    return with_fallback


def _drops_first_space(tokenizer: TextTokenizer) -> bool:
    """Whether the space that stands before a text is of the tokenizer's own making."""
    parts = _decoder_parts(tokenizer.backend)
    return any((part.get("type") == "Strip" and part.get("start")) or
               (part.get("type") == "Metaspace" and part.get("prepend_scheme", "always") != "never") for part in parts)


def _from_byte_level(name: str) -> bytes:
    table = _byte_level()
    try:
        return bytes([table[one] for one in name])
    except KeyError:  # an added token is written as it is
        return name.encode()


@lru_cache(maxsize=1)
def _byte_level() -> Mapping[str, int]:
    """The letters that stand for bytes in GPT-2's vocabulary: printable bytes for themselves, the others for 256, 257, ..."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {**{chr(byte): byte for byte in plain}, **{chr(256 + number): byte for number, byte in enumerate(others)}}
