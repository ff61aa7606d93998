"""What contradicts what: card text, its metadata, tags, adapter_config.json, config.json, the Hub's model tree; licences that clash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tunelab.hub.evidence import Evidence
from tunelab.hub.record import ModelRecord

if TYPE_CHECKING:
    from tunelab.hub.sheet import ModelSheet


@dataclass(frozen=True, slots=True)
class CardFinding:
    """Something that a reader should not overlook. `code`: TH and three digits; `message`: one sentence; `evidence`: the places that disagree."""

    code: str
    severity: Literal["error", "warning", "note"]
    message: str
    evidence: tuple[Evidence, ...] = ()


def cross_check(record: ModelRecord, sheet: ModelSheet) -> tuple[CardFinding, ...]:
    """All contradictions between the sheet's sources, the gravest first."""
    return ()
