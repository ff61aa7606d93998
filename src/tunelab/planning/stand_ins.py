"""Stand-ins: what is taken in place of a setting that this machine cannot honour, when the person allowed it (`--stand-ins`).

Each is as close as can be had here, and said aloud: a finding, the plan, the run's record. Without the permission the setting is blocked, or
for bfloat16 only slow, and its rule says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tunelab.config import Config, Finding, Severity
from tunelab.config.catalogue import section_of
from tunelab.config.raw import Raw
from tunelab.facts.machine import Machine
from tunelab.planning.optimizers import optimizers, refusal


@dataclass(frozen=True, slots=True)
class StandIn:
    """One setting that is not taken as written. `takes`: what is, by key; `why`: a sentence."""

    key: str
    written: Any
    takes: Mapping[str, Any]
    why: str

    @property
    def sentence(self) -> str:
        """Why, and what is taken."""
        taken = " and ".join(f"`{key}: {_yaml(value)}`" for key, value in self.takes.items() if value is not False)
        return f"{self.why} {taken} stands in."


def stand_ins(config: Config, machine: Machine) -> tuple[StandIn, ...]:
    """Everything in a config that has a stand-in on this machine."""
    return tuple(_found(config, machine))


def _found(config: Config, machine: Machine) -> Iterator[StandIn]:
    name, hardware = config.optimisation.optimizer, config.hardware
    refused = refusal(name, machine) if name in optimizers() else None
    if refused is not None:
        yield StandIn("optimizer", name, {"optimizer": refused.instead}, refused.reason)
    if hardware.fp16 and hardware.bf16 is not True and not machine.has_cuda:
        yield StandIn("fp16", True, {"fp16": False, "bf16": "auto"}, "`fp16: true` needs a CUDA GPU, and this machine has none.")
    if hardware.bf16 is True and not machine.bf16_fast and not machine.has_cuda:
        yield StandIn("bf16", True, {"bf16": "auto"}, f"`bf16: true` has no instructions on {machine.device_name}; 32 bits are faster there by far.")


def with_stand_ins(config: Config, taken: tuple[StandIn, ...]) -> Config:
    """The config with the stand-ins in it; its text and the lines of its keys stay."""
    for one in taken:
        for key, value in one.takes.items():
            owner = section_of(key)
            assert owner is not None, f"{key} is a setting"
            changed = config.section(owner).model_copy(update={key: value})
            changes: dict[str, Any] = {owner: changed, "raw": Raw({**config.raw.values, key: value})}
            config = replace(config, **changes)
    return config


def said(config: Config, taken: tuple[StandIn, ...]) -> list[Finding]:
    """A finding for each stand-in that was taken."""
    return [config.finding("TL690", Severity.WARNING, one.sentence, one.key,
                           fix="\n".join(f"{key}: {_yaml(value)}" for key, value in one.takes.items())) for one in taken]


def _list(takes: Mapping[str, Any]) -> str:
    return " and ".join(f"`{key}: {_yaml(value)}`" for key, value in takes.items() if value is not False)


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
