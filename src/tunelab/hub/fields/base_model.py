"""Which model it was made from."""

from __future__ import annotations

from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.fields.training import AxolotlConfig
from tunelab.hub.record import ModelRecord


def read_base_model(record: ModelRecord, kind: Answer, axolotl: AxolotlConfig | None) -> Answer:
    """The model or (of a merge) models it was made from, as Hub ids where one is given, else as named."""
    return NOT_STATED
