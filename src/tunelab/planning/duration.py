"""`estimate_seconds`: how long a run takes on a GPU of the table, as a range.

Operations are counted as in Kaplan et al. 2020 (arXiv:2001.08361): 2 per weight and token in the forward pass, twice that in the backward
pass; frozen weights need only the half that carries the gradient back, gradient checkpointing adds a forward pass. Attention over a
segment of s tokens adds 4 s per head dimension, halved by its causal mask. What a device reaches of its peak (MFU; Chowdhery et al. 2022,
arXiv:2204.02311) is taken as 25 to 50 %, as published runs report for models of a billion parameters and more; smaller models keep a GPU
less busy, and quantised weights have to be unpacked. Not validated on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.planning.devices import Device
from tunelab.planning.workload import Workload

_BILLION = 1_000_000_000
_MFU = (0.25, 0.50)
_MFU_SMALL = (0.08, 0.35)
_UNPACKING = 1.5


@dataclass(frozen=True, slots=True)
class Seconds:
    """A range: `low` when the device is busy half of the time, `high` when a quarter. `basis` says so in words."""

    low: float
    high: float
    basis: str


def operations_per_token(work: Workload) -> float:
    """Floating-point operations of a training step, per token position."""
    shapes = work.shapes
    lookup = shapes.embedding.in_features * shapes.embedding.out_features
    head = shapes.head.in_features * shapes.head.out_features * work.supervised / max(1, work.tokens)
    weights = shapes.active_parameters - lookup * (1 if shapes.tied_embeddings else 2) + head
    trained_share = 1.0 if not work.adapter else min(1.0, work.trained_parameters / max(1, shapes.parameters))
    passes = 2 + 2 + 2 * trained_share + (2 if work.checkpointing else 0)
    attention = 2.0 * shapes.layers * shapes.heads * shapes.head_dim * work.longest * (3 + (1 if work.checkpointing else 0))
    return passes * weights + (2 * 3 * work.extra if work.adapter else 0) + attention


def estimate_seconds(work: Workload, device: Device, tokens_total: int, *, count: int = 1) -> Seconds:
    """Training alone, of so many token positions, on `count` devices that share them."""
    low, high = _MFU if work.shapes.parameters >= _BILLION else _MFU_SMALL
    speed = device.tflops * 1e12 * (0.5 if work.precision == "fp32" and device.has_bf16 else 0.12 if work.precision == "fp32" else 1)
    busy = operations_per_token(work) * tokens_total / (speed * count) * (_UNPACKING if work.bits else 1)
    return Seconds(busy / high, busy / low, f"{low:.0%} to {high:.0%} of {device.tflops:g} TFLOPS")
