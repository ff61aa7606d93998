"""`type: completion`: plain text; every token carries loss, and long text is cut into pieces of sequence_len."""

from __future__ import annotations

from collections.abc import Sequence

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context, require_columns, text_of
from tunelab.data.formats.encoding import encode
from tunelab.data.sample import Row, Sample

MAX_PIECES = 64
"""Axolotl tokenises at most this many times sequence_len tokens of one text."""


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """The pieces of one text: full ones of sequence_len tokens and a last, shorter one that ends with EOS. Empty text has none."""
    column = dataset.field or "text"
    require_columns(row, "completion", (column,))
    text = text_of(row, column, optional=True)
    if not text:
        return []
    tokenizer, length = context.tokenizer, context.sequence_len
    ids = encode(text, tokenizer, MAX_PIECES * length, ends=1)
    pieces = [tuple(ids[start:start + length]) for start in range(0, len(ids), length)]
    return [Sample(piece, piece, row.origin) for piece in pieces]


def was_cut(samples: Sequence[Sample], context: Context) -> bool:
    """Whether the text went on beyond the last piece: then, and only then, the largest number of pieces has no EOS at its end."""
    tokens = sum(len(sample.input_ids) for sample in samples)
    return tokens == MAX_PIECES * context.sequence_len and samples[-1].input_ids[-1] != context.tokenizer.eos_id
