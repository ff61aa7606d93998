"""The rules of `check`: what depends on several keys, on the model or on this machine. One file per topic."""

from __future__ import annotations

from tunelab.config.config import Config
from tunelab.config.finding import Finding
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import ModelShapes
from tunelab.planning.rules import (
    adapter,
    adapter_forms,
    data,
    dialect,
    freezing,
    hardware,
    model,
    optimisation,
    packed,
    reading,
    run,
    schedule,
    several,
    understood,
    zero,
)
from tunelab.planning.rules.registry import Context, Rule, all_rules, run_rules

__all__ = ["Context", "Rule", "all_rules", "check"]

# Importing a topic registers its rules.
_TOPICS = (adapter, adapter_forms, data, dialect, freezing, hardware, model, optimisation, packed, reading, run, schedule, several, understood, zero)


def check(config: Config, machine: Machine, shapes: ModelShapes | None) -> tuple[Finding, ...]:
    """Everything the rules have to say about a config, by line. No network; of the disk only what a setting names (lora_model_dir)."""
    return run_rules(Context(config, machine, shapes))
