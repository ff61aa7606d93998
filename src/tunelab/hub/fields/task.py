"""What it was fine-tuned for, in the vocabulary of `hub.tasks`."""

from __future__ import annotations

from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.record import ModelRecord


def read_task(record: ModelRecord) -> Answer:
    """The task; rivals follow."""
    return task_candidates(record)


def task_candidates(record: ModelRecord) -> Answer:
    """Every task that something in the record speaks for, the surest first; without a card, from tags, name and pipeline tag alone."""
    return NOT_STATED
