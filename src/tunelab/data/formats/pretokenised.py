"""Rows that are token ids already: the columns input_ids, attention_mask and labels, whatever `type` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import PRETOKENISED, Context, kind
from tunelab.data.sample import IGNORE, Row, Sample
from tunelab.errors import DataError


def is_pretokenised(values: Mapping[str, Any]) -> bool:
    """Whether a row has the columns of one that needs no tokenising."""
    return all(column in values for column in PRETOKENISED)


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """The row as it is, without padding (positions at its ends that attention_mask leaves out).

    Raises DataError for columns of different lengths, ids outside the vocabulary, a mask with holes, and labels that are neither -100 nor
    the token's own id (such as labels that are shifted already: the model shifts them itself).
    """
    ids, mask, labels = (_numbers(row, column) for column in PRETOKENISED)
    if not len(ids) == len(mask) == len(labels):
        raise _broken(row, f"input_ids, attention_mask and labels have {len(ids)}, {len(mask)} and {len(labels)} entries; expected as many in each")
    seen = [place for place, value in enumerate(mask) if value]
    start, end = (seen[0], seen[-1] + 1) if seen else (0, 0)
    if len(seen) != end - start:
        raise _broken(row, "attention_mask leaves out tokens in the middle, which this version cannot do")
    ids, labels = ids[start:end], labels[start:end]
    wrong = next((token for token in ids if not 0 <= token < context.tokenizer.vocab_size), None)
    if wrong is not None:
        raise _broken(row, f"token {wrong} is not in the vocabulary of {context.tokenizer.vocab_size} tokens; were these rows made with "
                           "another tokenizer?")
    if any(label not in (IGNORE, token) for token, label in zip(ids, labels, strict=True)):
        shifted = labels[:-1] == ids[1:] if len(ids) > 1 else False
        raise _broken(row, "the labels are shifted by one already; expected each at its own token" if shifted else
                      "a label is neither -100 nor the id of its token")
    return [Sample(tuple(ids), tuple(labels), row.origin)]


def _numbers(row: Row, column: str) -> list[int]:
    values = row.values[column]
    if not isinstance(values, list) or any(not isinstance(value, int) for value in values):
        raise _broken(row, f"`{column}` holds {'other things than whole numbers' if isinstance(values, list) else 'a ' + kind(values)}")
    return values


def _broken(row: Row, what: str) -> DataError:
    return DataError(f"This row of token ids cannot be used: {what}.", where=str(row.origin),
                     next_step="Mend or leave out the row, or give the text and a `type` instead.")
