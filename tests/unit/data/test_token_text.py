"""The text of single tokens: nothing is lost, characters stay whole, and no replacement character is made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunelab.data.token_text import plain_text, token_texts
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer

TEXTS = ("plain words", "héllo 🙂 wörld", "👨‍👩‍👧‍👦 🇩🇪🇫🇷 👍🏽 ❤️", "नमस्ते 日本語 ﷺ",
         "\n\t x   y\u00a0z", "the data's own \ufffd stays", "\u202eabc", "e\u0301")


def shown(tokenizer: TextTokenizer, ids: list[int]) -> list[str]:
    """The text of the tokens, those of one character together."""
    groups = [""]
    for one in token_texts(tokenizer, ids):
        groups[-1] += one.text
        groups += [] if one.joined else [""]
    return groups[:-1]


@pytest.fixture(scope="module")
def smol(smol_folder: Path) -> TextTokenizer:
    return load_tokenizer(smol_folder)


@pytest.mark.parametrize("text", TEXTS)
def test_joined_they_are_the_text(text: str, tokenizer: TextTokenizer, smol: TextTokenizer) -> None:
    for one in (tokenizer, smol):
        assert "".join(shown(one, one.encode(text, special=False))) == text
        assert plain_text(one, one.encode(text, special=False)) == text


def test_a_character_is_shown_once(tokenizer: TextTokenizer, smol: TextTokenizer) -> None:
    for one in (tokenizer, smol):
        ids = one.encode("a🙂b", special=False)
        assert len(ids) > 3
        assert shown(one, ids) == ["a", "🙂", "b"]
    family, flags = shown(smol, smol.encode("👨‍👩‍👧‍👦", special=False)), shown(smol, smol.encode("🇩🇪🇫🇷", special=False))
    assert family == ["👨‍👩‍👧‍👦"] and flags == ["🇩🇪", "🇫🇷"]
    assert shown(smol, smol.encode("👍🏽", special=False)) == ["👍🏽"]


def test_a_token_shows_the_whole_characters_it_ends(tokenizer: TextTokenizer) -> None:
    texts = token_texts(tokenizer, tokenizer.encode("é!", special=False))
    assert [(one.text, one.joined) for one in texts] == [("", True), ("é", False), ("!", False)]


def test_a_row_cut_inside_a_character_shows_its_bytes(smol: TextTokenizer) -> None:
    ids = smol.encode("a🙂b", special=False)
    assert shown(smol, ids[:2]) == ["a", "⟨F0 9F⟩"]
    assert shown(smol, ids[2:]) == ["⟨99 82⟩", "b"]
    assert plain_text(smol, ids[2:]) == "b"


def sentencepiece_like(decoder: Any) -> Any:
    from tokenizers import Tokenizer, models

    words = ["<unk>", "▁the", "▁end", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoder
    return backend


def test_byte_fallback_is_read_too(tokenizer: TextTokenizer) -> None:
    from tokenizers import decoders

    backend = sentencepiece_like(decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]))
    llama = replace(tokenizer, backend=backend)
    ids = [1, 2, *(3 + byte for byte in "🙂".encode())]
    assert shown(llama, ids) == ["the", " end", "🙂"] and backend.decode(ids) == "the end🙂"
    backend.decoder = decoders.Metaspace()
    assert shown(replace(tokenizer, backend=backend), [1, 2]) == ["the", " end"]


def test_another_decoder_is_asked_for_its_own_pieces(tokenizer: TextTokenizer) -> None:
    from tokenizers import Tokenizer, decoders, models

    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "play": 1, "##ing": 2, "now": 3}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    bert = replace(tokenizer, backend=backend)
    assert "".join(shown(bert, [1, 2, 3])) == "playing now"
    assert plain_text(bert, [1, 2]) == "playing"
