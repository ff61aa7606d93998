"""`metharme` and `pygmalion`: the two formats of the Pygmalion models."""

from __future__ import annotations

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context, kind, require_columns, text_of
from tunelab.data.formats.encoding import encode, encode_even_empty, halves
from tunelab.data.sample import IGNORE, Row, Sample
from tunelab.errors import DataError

_METHARME_ENDS = 3
_START = "\n<START>"
_MODEL = "<|model|>"


def metharme(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample of the columns `prompt` and `generation`, which is closed with three end-of-text tokens."""
    require_columns(row, "metharme", ("prompt", "generation"))
    tokenizer, limit = context.tokenizer, context.sequence_len
    before = encode_even_empty(text_of(row, "prompt", optional=True), tokenizer, limit)
    after = encode_even_empty(text_of(row, "generation", optional=True), tokenizer, limit, ends=_METHARME_ENDS, strip_bos=True)
    return [halves(before, after, row, context)]


def pygmalion(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample of the list `conversations`; each turn is tokenised apart, and only what the bot says carries loss."""
    require_columns(row, "pygmalion", ("conversations",))
    turns = row.values["conversations"]
    if not isinstance(turns, list):
        raise DataError(f"The column `conversations` holds a {kind(turns)}; expected a list.", where=str(row.origin),
                        next_step='Write it as [{"role": "human", "value": "..."}, {"role": "bot", "value": "..."}].')
    tokenizer, limit = context.tokenizer, context.sequence_len
    masked = len(encode(_MODEL, tokenizer, limit, strip_bos=True))
    ids: list[int] = []
    labels: list[int] = []
    for number, turn in enumerate(turns, start=1):
        role, text = _turn(turn, number, row)
        if role == "system":
            piece = encode("<|system|>Persona: " + text.removesuffix(_START).strip(), tokenizer, limit)
        else:
            mark = _MODEL if role == "bot" else "<|user|>"
            piece = encode(f"{mark} {text.strip()}", tokenizer, limit, ends=int(role == "bot"), strip_bos=True)
        hidden = masked if role == "bot" else len(piece)
        ids += piece
        labels += [IGNORE] * min(hidden, len(piece)) + piece[hidden:]
    return [Sample(tuple(ids), tuple(labels), row.origin)]


def _turn(turn: object, number: int, row: Row) -> tuple[str, str]:
    if not isinstance(turn, dict) or turn.get("role") not in ("system", "human", "bot") or not isinstance(turn.get("value"), str):
        raise DataError(f"Turn {number} is not an object with `role` (system, human or bot) and `value` (text).", where=str(row.origin),
                        next_step='Write each turn as {"role": "human", "value": "..."}, or use type: chat_template.')
    return turn["role"], turn["value"]
