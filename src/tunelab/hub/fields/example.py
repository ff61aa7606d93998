"""Example prompts and outputs that the card shows."""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.hub.evidence import Evidence
from tunelab.hub.record import ModelRecord


@dataclass(frozen=True, slots=True)
class Example:
    """A concrete prompt and, where the card shows one, the model's output. `template`: the prompt template that it is written in, "" for none."""

    prompt: str
    output: str | None
    confidence: float
    evidence: Evidence
    template: str = ""


def read_examples(record: ModelRecord) -> tuple[Example, ...]:
    """The examples, the surest first; usage code and bare templates are none."""
    return ()
