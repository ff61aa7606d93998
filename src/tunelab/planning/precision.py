"""In which number format a run computes, from the config and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from tunelab.config import Config
from tunelab.facts.machine import Machine

Precision = Literal["fp32", "bf16", "fp16"]
BYTES: Mapping[str, int] = MappingProxyType({"fp32": 4, "bf16": 2, "fp16": 2})
"""Bytes of one number."""


def precision(config: Config, machine: Machine) -> Precision:
    """`auto` takes bfloat16 where it is fast, float16 on older GPUs, float32 on other CPUs. What the config forces it gets,
    but for float16 on a CPU, which no run computes in (rule TL602 refuses it)."""
    hardware = config.hardware
    if hardware.fp16 and machine.has_cuda:
        return "fp16"
    if hardware.bf16 is True:
        return "bf16"
    if hardware.bf16 == "auto":
        return "bf16" if machine.bf16_fast else "fp16" if machine.has_cuda else "fp32"
    return "fp32"
