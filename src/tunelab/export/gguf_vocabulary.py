"""A tokenizer.json as GGUF's vocabulary: tokens with their types, merges or scores, the name of the pre-tokenizer, special ids, the template.

llama.cpp knows pre-tokenizers by name only. The name is found by what tokenizer.json splits with; that it splits alike is proven afterwards by
asking llama.cpp (`export.gguf_verify`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import ModelError
from tunelab.export.gguf_check import THEIRS

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
# A piece of the expression that tokenizer.json splits with -> llama.cpp's name for it. The first that fits counts.
_SPLITS = (
    (r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*", "llama-bpe"),
    (r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*", "qwen2"),
    (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
     r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|", "tekken"),
)


def write_vocabulary(writer: Any, tokenizer: TextTokenizer, rows: int) -> None:
    """Write a tokenizer's vocabulary, filled up to the embedding's `rows`. Raises ModelError for a kind that is not known."""
    read: dict[str, Any] = json.loads(tokenizer.backend.to_str())
    model, where = read.get("model") or {}, str(tokenizer.folder / "tokenizer.json")
    if tokenizer.vocab_size > rows:
        raise ModelError(f"The tokenizer knows {tokenizer.vocab_size:,} tokens and the embedding has {rows:,} rows.", where=where,
                         next_step="Is it the tokenizer that the model was trained with?")
    if model.get("type") != "BPE":
        raise ModelError(f"The tokenizer is of the kind {model.get('type')}; GGUF is written here for BPE tokenizers.", where=where,
                         next_step=THEIRS)
    sentencepiece = bool(model.get("byte_fallback"))
    tokens, types = _tokens(read, rows)
    writer.add_tokenizer_model("llama" if sentencepiece else "gpt2")
    writer.add_tokenizer_pre("default" if sentencepiece else pre_tokenizer(read, where))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if sentencepiece:
        writer.add_token_scores(_scores(model, tokens))
        writer.add_add_space_prefix("Prepend" in json.dumps(read.get("normalizer") or {}) or '"prepend_scheme": "first"' in json.dumps(read))
    else:
        writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in model["merges"]])
    _write_special(writer, read, tokenizer)


def pre_tokenizer(read: Mapping[str, Any], where: str) -> str:
    """llama.cpp's name for the way in which a byte-level tokenizer splits text before merging."""
    steps = _steps(read.get("pre_tokenizer"))
    kinds = [step.get("type") for step in steps]
    pattern = "".join(str((step.get("pattern") or {}).get("Regex", "")) for step in steps if step.get("type") == "Split")
    name = next((name for part, name in _SPLITS if part in pattern), None)
    if name is not None:
        return "dbrx" if name == "llama-bpe" and not read["model"].get("ignore_merges") else name
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and steps[1].get("use_regex", True):
        return "smollm"
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    raise ModelError("llama.cpp has no pre-tokenizer that is known here to split text as this tokenizer does.", where=where,
                     next_step=THEIRS)


def _steps(pre: Any) -> list[dict[str, Any]]:
    if not isinstance(pre, dict):
        return []
    return [one for one in pre.get("pretokenizers", []) if isinstance(one, dict)] if pre.get("type") == "Sequence" else [pre]


def _tokens(read: Mapping[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """(token by id, its type): what training's embedding has rows for, made up where the tokenizer has no token."""
    tokens, types = [f"[PAD{index}]" for index in range(rows)], [UNUSED] * rows
    unknown, byte_fallback = read["model"].get("unk_token"), bool(read["model"].get("byte_fallback"))
    for text, index in read["model"]["vocab"].items():
        if index < rows:
            tokens[index] = text
            is_byte = byte_fallback and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
            types[index] = UNKNOWN if text == unknown else BYTE if is_byte else NORMAL
    for one in read.get("added_tokens", []):
        if one["id"] < rows:
            tokens[one["id"]] = one["content"]
            types[one["id"]] = UNKNOWN if one["content"] == unknown else CONTROL if one.get("special") else USER
    return tokens, types


def _scores(model: Mapping[str, Any], tokens: list[str]) -> list[float]:
    """SentencePiece merges the pair with the highest score: the later a merge stands in the list, the lower its score."""
    rank = {"".join(one.split(" ") if isinstance(one, str) else one): -float(index) for index, one in reversed(list(enumerate(model["merges"])))}
    lowest = -float(len(model["merges"]) + 1)
    return [rank.get(token, lowest - index) for index, token in enumerate(tokens)]


def _write_special(writer: Any, read: Mapping[str, Any], tokenizer: TextTokenizer) -> None:
    for write, token in ((writer.add_bos_token_id, tokenizer.bos_id), (writer.add_eos_token_id, tokenizer.eos_id),
                         (writer.add_pad_token_id, tokenizer.pad_id)):
        if token is not None:
            write(token)
    ends = {one["content"]: one["id"] for one in read.get("added_tokens", [])}
    for name in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|end_of_turn|>"):
        if name in ends and ends[name] != tokenizer.eos_id:
            writer.add_eot_token_id(ends[name])
            break
    before = tokenizer.encode("a", special=True)
    writer.add_add_bos_token(bool(before) and before[0] == tokenizer.bos_id)
    writer.add_add_eos_token(bool(before) and before[-1] == tokenizer.eos_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
