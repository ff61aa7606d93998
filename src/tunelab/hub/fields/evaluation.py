"""What the card claims to have measured."""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.hub.evidence import Evidence
from tunelab.hub.record import ModelRecord


@dataclass(frozen=True, slots=True)
class EvaluationClaim:
    """One number: `metric` ("accuracy"), `value` as written, `dataset` and `split` ("" when not said)."""

    metric: str
    value: str
    dataset: str
    evidence: Evidence
    split: str = ""


def read_evaluation(record: ModelRecord) -> tuple[EvaluationClaim, ...]:
    """The claims, in the order of the card."""
    return ()
