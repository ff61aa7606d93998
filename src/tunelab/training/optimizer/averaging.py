"""Schedule-free optimizers train at one point and answer from another, the average. These two functions go between them without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_POINT = "training_point"


@contextmanager
def resting(optimizer: Any) -> Iterator[None]:
    """The weights to judge and to save: with a schedule-free optimizer its average, for the length of the block; else what they are.

    The library's own way back to the training point rounds; here that point is kept, in the state, so that a look in between changes
    nothing and a checkpoint written inside the block has both.
    """
    inner = _averaging(optimizer)
    if inner is None:
        yield
        return
    for parameter in _parameters(inner):
        inner.state[parameter][_POINT] = parameter.detach().clone()
    inner.eval()
    try:
        yield
    finally:
        wake(inner)


@torch.no_grad()  # type: ignore[untyped-decorator]
def wake(optimizer: Any) -> None:
    """Back to the training point: after `resting`, and after a checkpoint was loaded."""
    inner = _averaging(optimizer)
    if inner is None:
        return
    for parameter in _parameters(inner):
        if _POINT in inner.state[parameter]:
            parameter.copy_(inner.state[parameter].pop(_POINT))
    for group in inner.param_groups:
        group["train_mode"] = True


def _averaging(optimizer: Any) -> Any:
    """The schedule-free optimizer itself, out of accelerate's wrapper; None for any other."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if inner.param_groups and "train_mode" in inner.param_groups[0] else None


def _parameters(optimizer: Any) -> Iterator[torch.nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
