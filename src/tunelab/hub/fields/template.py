"""Which prompt template it was trained with: ChatML, Alpaca, Llama-2, Vicuna, ..."""

from __future__ import annotations

from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.record import ModelRecord


def read_template(record: ModelRecord) -> Answer:
    """The prompt template's name."""
    return NOT_STATED
