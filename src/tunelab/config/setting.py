"""What the catalogue knows about a key: its `Setting`, written beside the field that holds its value.

A section is a frozen pydantic model; each field is `Annotated[type, Setting(...)] = default`. The field gives type,
default and allowed values; the Setting gives the words. `catalogue.py` reads both; nothing else is needed for a new key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Support(StrEnum):
    """What tunelab does with a key. Unknown keys have no Setting: they are errors."""

    HONOURED = "honoured"
    ON_HARDWARE = "honoured on other hardware"
    UNDERSTOOD = "understood, not acted on"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Setting:
    """The words for one key.

    `says`: what it is. `effect`: what it does to memory, speed and quality. `typical`: usual values.
    `interacts`: keys whose meaning it changes. `example`: one YAML line. `hardware`: where it is honoured, when not everywhere.
    """

    says: str
    effect: str
    typical: str = ""
    interacts: tuple[str, ...] = ()
    example: str = ""
    support: Support = Support.HONOURED
    hardware: str = ""


class Section(BaseModel):
    """A group of settings that one component owns. Frozen: nothing rewrites a config after it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
