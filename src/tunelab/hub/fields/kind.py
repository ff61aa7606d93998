"""What sort of model it is: a base model, a fine-tune of one, an adapter, a merge, or a quantised copy."""

from __future__ import annotations

from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.record import ModelRecord


def read_kind(record: ModelRecord) -> Answer:
    """finetune, adapter, merge, quantized or base."""
    return NOT_STATED
