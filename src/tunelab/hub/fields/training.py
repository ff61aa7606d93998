"""How it was trained: the method, hyper-parameters, and the Axolotl config that a card may show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunelab.hub.evidence import NOT_STATED, Answer
from tunelab.hub.record import ModelRecord


@dataclass(frozen=True, slots=True)
class AxolotlConfig:
    """A config as the card shows it: `text` is YAML, unread; `line`: the file's line of its first line. `base_model` and `datasets`: (value, line)."""

    text: str
    line: int
    base_model: tuple[str, int] | None = None
    datasets: tuple[tuple[str, int], ...] = ()


def read_axolotl(record: ModelRecord) -> AxolotlConfig | None:
    """The config in a "See axolotl config" block, or another fenced YAML that is one."""
    return None


def read_method(record: ModelRecord, axolotl: AxolotlConfig | None) -> Answer:
    """full, lora, qlora, dpo, orpo, sft, ...: several may be true at once."""
    return NOT_STATED


def read_hyperparameters(record: ModelRecord, axolotl: AxolotlConfig | None) -> Mapping[str, Answer]:
    """What the card says of learning rate, epochs, batch size, ..., by the dialect's names where it has one."""
    return {}
