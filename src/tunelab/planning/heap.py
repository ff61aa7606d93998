"""What the C library's heap adds to live tensors on a CPU: freed blocks that a request of the same size cannot reuse.

torch asks for memory aligned to 64 bytes; glibc then needs a block a little larger than the one that was freed, so a layer's temporaries
leave holes between the tensors that are kept. Blocks of 32 MiB and more are mappings of their own (M_MMAP_THRESHOLD's upper limit,
mallopt(3)) and go back at once. The constants were fitted to what mallinfo2 told in runs of SmolLM2-135M on Linux (docs/design/plan.md).
"""

from __future__ import annotations

from tunelab.planning.activations import base_bytes
from tunelab.planning.precision import BYTES
from tunelab.planning.workload import Workload

_MAPPED = 32 * 2**20
_BASE = 0.38  # of what a layer keeps without LoRA
_OUTPUTS = 0.42  # of three outputs of each layer with LoRA: the base's, B's, and B's times the scale
_ACCUMULATING = 1.5  # micro batches of differing sizes within one step fit each other's holes worse
_SETTLED = 0.18  # of optimizer state and gradients that lie in the heap


def in_heap(size: float) -> bool:
    """Whether a block of so many bytes lies in the heap."""
    return size < _MAPPED


def dead_per_token(work: Workload) -> float:
    """Bytes per token position that a pass leaves unusable, over all layers."""
    size, shapes = BYTES[work.precision], work.shapes
    base = _BASE * base_bytes(work) if in_heap(work.tokens * shapes.intermediate_size * size) else 0.0
    outputs = sum(layer.out_features for layer, _ in work.targets
                  if layer.experts == 1 and layer.name != shapes.head.name and in_heap(4.0 * work.tokens * layer.out_features))
    dead = base * (shapes.layers - work.idle) + _OUTPUTS * 3 * 4 * outputs
    return dead * (_ACCUMULATING if work.accumulation > 1 else 1)


def persistent_gaps(settled: float) -> float:
    """Bytes between optimizer states and gradients, which come into the holes of a pass that is over."""
    return _SETTLED * settled
