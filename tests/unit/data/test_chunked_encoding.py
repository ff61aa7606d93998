"""The quick way to token ids gives exactly what the tokenizer gives, and is not taken where that is not certain."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tunelab.data import chunked_encoding
from tunelab.data.chunked_encoding import encoder_for
from tunelab.data.tokenizer import TextTokenizer

_LLAMA3, _QWEN2 = chunked_encoding._WORDS


def split(expression: str) -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


KINDS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    "llama3": split(_LLAMA3), "qwen2": split(_QWEN2)}

TEXT = ("def f(x):\n    return x + 12345  # don't  \n\n\tYou'LL see…  it's 3.14!\r\n\r\nGrüße, naïve café; привет мир 你好 🙂🙂 a\u0301 e\u0308 "
        "\u00a0nbsp\u2003em\x1c\x1dsep  <|im_end|> <|im_start|>user\nHi<|im_end|>\n\n!\n\n\n ?? 'Re 're 'S\n  x")


def backend(kind: str, **options: Any) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = KINDS[kind]
    made.normalizer = options.get("normalizer")
    made.train_from_iterator([TEXT * 3, "the return of the user says the same thing"],
                             trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in ("<|im_start|>", "<|im_end|>", "<|im_start|>x")])
    made.post_processor = options.get("post_processor")
    return made


def check(made: Tokenizer, text: str) -> None:
    fast = encoder_for(made)
    assert fast is not None
    for _ in range(2):  # from memory too
        expected = made.encode(text, add_special_tokens=False)
        ids, starts, ends = fast.ids_and_borders(text)
        assert (ids, fast.ids(text)) == (expected.ids, expected.ids)
        assert list(zip(starts, ends, strict=True)) == expected.offsets
        assert [(starts[index], ends[index]) for index in range(-len(ids), len(ids))] == expected.offsets * 2


@pytest.fixture(scope="module", params=sorted(KINDS))
def made(request: pytest.FixtureRequest) -> Tokenizer:
    return backend(request.param)


def test_a_mixed_text(made: Tokenizer) -> None:
    check(made, TEXT)
    check(made, "")


PIECES = st.sampled_from(["a", "Z", "don", "'t", "'S", "'", " ", "  ", "\n", "\r", "\t", "\x0b", "\x1c", "\x85", "\u00a0", "\u180e", "\u2028", "7",
                          "42", "!", "--", "é", "e\u0301", "你", "🙂", "<|im_end|>", "<|im_start|>", "<|im_", "ſ", "٣", "x y", "_", "\u200b"])


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_any_text(text: str) -> None:
    for kind in KINDS:
        check(_one(kind), text)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_any_characters(text: str) -> None:
    for kind in KINDS:
        check(_one(kind), text)


_MADE: dict[str, Tokenizer] = {}


def _one(kind: str) -> Tokenizer:
    return _MADE.setdefault(kind, backend(kind))


@pytest.mark.parametrize("options", [
    {"normalizer": normalizers.NFC()}, {"post_processor": processors.ByteLevel(trim_offsets=True, add_prefix_space=False)},
    {"post_processor": processors.ByteLevel(trim_offsets=False)}])
def test_what_stands_around_the_model(options: dict[str, Any]) -> None:
    check(backend("gpt2", **options), TEXT)


def test_bytes_that_the_vocabulary_does_not_have() -> None:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = KINDS["gpt2"]
    made.train_from_iterator(["the same word\n"], trainers.BpeTrainer(vocab_size=60, show_progress=False))
    for text in ("\x04", "the\n\x04\n word", "th\x04e word", "the Z!Z word é"):
        check(made, text)


def test_a_full_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_encoding, "_MOST", 10)
    monkeypatch.setattr(chunked_encoding, "_LONGEST", 4)
    check(_one("llama3"), TEXT)


def test_other_kinds_are_left_to_the_tokenizer() -> None:
    metaspace = backend("gpt2")
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    spaced = backend("gpt2")
    spaced.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    unknown = backend("gpt2")
    unknown.pre_tokenizer = split(r"\w+|\W+")
    greedy = backend("gpt2")
    greedy.add_tokens([AddedToken("<mask>", lstrip=True)])
    wide = backend("gpt2")
    wide.add_tokens(["two words"])
    lower = backend("gpt2", normalizer=normalizers.Lowercase())
    trimmed = backend("gpt2", post_processor=processors.ByteLevel(trim_offsets=True, add_prefix_space=True))
    assert [encoder_for(one) for one in (metaspace, spaced, unknown, greedy, wide, lower, trimmed, Tokenizer(models.WordLevel()))] == [None] * 8


def test_the_tokenizers_methods_use_it(tokenizer: TextTokenizer) -> None:
    text = "say red apple<|im_end|>\nthe word twice 🙂"
    expected = tokenizer.backend.encode(text, add_special_tokens=False)
    assert tokenizer._fast is not None
    assert tokenizer.encode(text) == tokenizer.encode(text, special=False) == expected.ids
    assert tokenizer.encode_with_offsets(text) == (expected.ids, expected.offsets)
    assert tokenizer.encode_truncated(text, 5) == expected.ids[:5]
    again = pickle.loads(pickle.dumps(tokenizer))  # noqa: S301 (as between processes)
    assert again.encode(text) == expected.ids and "_fast" in vars(tokenizer)


@pytest.mark.parametrize(("single", "before", "after"), [("<|im_start|> $A", 1, 0), ("<|im_start|> $A <|im_end|>", 1, 1), ("$A <|im_end|>", 0, 1)])
def test_special_tokens_around_a_text(tokenizer_folder: Path, single: str, before: int, after: int) -> None:
    from tunelab.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)])
    for text in ("", "a", "say the word twice"):
        expected = tokenizer.backend.encode(text).ids
        assert tokenizer.encode(text) == tokenizer.encode_truncated(text, 100) == expected
        cut = tokenizer.encode_truncated(text, 3)
        assert len(cut) <= 3 and cut[:before] == expected[:before] and cut[len(cut) - after:] == expected[len(expected) - after:]
