"""Common GPUs by name: memory, speed, bandwidth, from their makers' data sheets (the table beside this file).

`tflops` are dense 16-bit matrix products with 32-bit accumulation, as training computes them; sparsity figures are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from tunelab.facts.machine import Gpu, Machine

_MIB = 2**20
_AMPERE = 8.0


@dataclass(frozen=True, slots=True)
class Device:
    """A kind of GPU. `tflops`: 10^12 operations per second in bfloat16 (float16 before Ampere)."""

    name: str
    memory_bytes: int
    tflops: float
    gb_per_second: float
    capability: float

    @property
    def has_bf16(self) -> bool:
        """Whether it multiplies bfloat16 matrices in hardware."""
        return self.capability >= _AMPERE

    def machine(self, count: int = 1) -> Machine:
        """A machine with so many of them, as the planning functions take it."""
        return Machine("Linux", 8, 0, 0, (Gpu(self.name, self.memory_bytes, self.capability),) * count, self.has_bf16)


@cache
def devices() -> tuple[Device, ...]:
    """The table, smallest memory first."""
    lines = (resources.files("tunelab.planning") / "devices.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = (line.split("\t") for line in lines)
    found = [Device(name, int(memory) * _MIB, float(tflops), float(bandwidth), float(capability))
             for name, memory, tflops, bandwidth, capability, _ in rows]
    return tuple(sorted(found, key=lambda one: (one.memory_bytes, one.tflops)))


def device_of(gpu: Gpu) -> Device | None:
    """The table's entry for a GPU as nvidia-smi names it ("NVIDIA H100 80GB HBM3", "Tesla T4"), or None.

    All words of the entry but the maker's have to be in the name; memory decides between variants of one chip.
    """
    words = set(_words(gpu.name))
    fitting = [one for one in devices() if {word for word in _words(one.name) if not word.endswith("gb")} <= words]
    near = [one for one in fitting if abs(one.memory_bytes - gpu.memory_bytes) < 0.15 * one.memory_bytes]
    return max(near, key=lambda one: len(_words(one.name)), default=None)


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word and word not in ("nvidia", "amd", "geforce", "tesla", "rtx", "instinct")]
