"""Which data it was trained on."""

from __future__ import annotations

from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.fields.training import AxolotlConfig
from tunelab.hub.record import ModelRecord


def read_datasets(record: ModelRecord, axolotl: AxolotlConfig | None) -> Answer:
    """The data sets it was trained on; those it was only evaluated on are left out."""
    return NOT_STATED
