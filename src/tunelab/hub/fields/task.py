"""What it was fine-tuned for, in the vocabulary of `hub.tasks`."""

from __future__ import annotations

from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.record import ModelRecord


def read_task(record: ModelRecord) -> Answer:
    """The task; rivals follow."""
    return NOT_STATED
