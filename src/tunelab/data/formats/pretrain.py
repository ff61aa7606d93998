"""`type: pretrain`: whole documents of a `pretraining_dataset`, every token of which carries loss.

With sample_packing a document is cut into windows that overlap, each closed with the end-of-text token; without it a document is one row,
without that token, and what does not fit into sequence_len - 2 tokens is cut off. Both are Axolotl 0.21's.
"""

from __future__ import annotations

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context, require_columns, text_of
from tunelab.data.sample import Row, Sample
from tunelab.errors import ConfigError

MOST_OVERLAP = 256
"""Tokens that a window repeats of the one before, or just under half of it where that is less."""

SHORTEST = 16
"""Below this a window might hold nothing but special tokens and what it repeats."""


def windows(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """Windows of at most sequence_len tokens, the end-of-text token included; empty text has none. Each begins with the tokens that the
    tokenizer puts before a text, and repeats the last ones of the window before."""
    tokenizer, text = context.tokenizer, _text(row, dataset)
    if tokenizer.eos_id is None:
        raise ConfigError("The tokenizer names no end-of-text token, with which documents are closed.", where="special_tokens.eos_token",
                          next_step="Name it: special_tokens: {eos_token: TOKEN}")
    if not text:
        return []
    length = context.sequence_len
    if length < SHORTEST:
        raise ConfigError(f"sequence_len is {length}, too short for windows of documents.", where="sequence_len", next_step="Raise it: sequence_len: 512")
    found = tokenizer.encode_windows(text, length - 1, min(MOST_OVERLAP, (length - 1) // 2))
    return [Sample(window, window, row.origin) for ids in found if (window := (*ids, tokenizer.eos_id))]


def whole(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """The document as it is, with what the tokenizer adds by itself; who asks for it cuts it."""
    text = _text(row, dataset)
    ids = tuple(context.tokenizer.encode(text)) if text else ()
    return [Sample(ids, ids, row.origin)] if ids else []


def _text(row: Row, dataset: Dataset) -> str:
    column = dataset.field or "text"
    require_columns(row, "pretrain", (column,))
    return text_of(row, column, optional=True)
