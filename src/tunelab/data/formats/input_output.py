"""`type: input_output`: a list of text segments, each marked whether it carries loss. Nothing is added: no template, BOS or EOS."""

from __future__ import annotations

from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context, kind, require_columns
from tunelab.data.sample import IGNORE, Row, Sample
from tunelab.errors import DataError


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample; each segment is tokenised apart. A segment is {"label": true or false, "text": ...}."""
    require_columns(row, "input_output", ("segments",))
    segments = row.values["segments"]
    if not isinstance(segments, list):
        raise DataError(f"The column `segments` holds a {kind(segments)}; expected a list.", where=str(row.origin),
                        next_step='Write it as [{"label": false, "text": "..."}, {"label": true, "text": "..."}].')
    ids: list[int] = []
    labels: list[int] = []
    for number, segment in enumerate(segments, start=1):
        text, trained = _segment(segment, number, row)
        piece = context.tokenizer.encode(text, special=False)
        ids += piece
        labels += piece if trained or context.train_on_inputs else [IGNORE] * len(piece)
    return [Sample(tuple(ids), tuple(labels), row.origin)]


def _segment(segment: Any, number: int, row: Row) -> tuple[str, bool]:
    if not isinstance(segment, dict) or not isinstance(segment.get("text"), str) or not isinstance(segment.get("label"), (bool, int)):
        raise DataError(f"Segment {number} is not an object with `text` (text) and `label` (true or false).", where=str(row.origin),
                        next_step='Write each segment as {"label": true, "text": "..."}.')
    return segment["text"], bool(segment["label"])
