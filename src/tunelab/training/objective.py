"""What a run minimises, as the loop sees it: rows become a batch, a batch has a cost and a size.

Ordinary fine-tuning is `supervised.py`; preference methods are others of the same shape. The loop knows none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch

from tunelab.planning.schedule import Rows, Schedule

Cost = tuple[torch.Tensor, Mapping[str, torch.Tensor]]
"""The loss summed over a batch's units (a scalar with a gradient), and further measures summed likewise (scalars without one)."""


class Batch(Protocol):
    """One micro-batch as tensors on the device."""

    @property
    def tokens(self) -> int:
        """Positions that go through the model, padding included."""

    @property
    def supervised(self) -> int:
        """Tokens that carry loss."""

    @property
    def units(self) -> int:
        """What a step's loss is the mean over: supervised tokens, or pairs."""


class Objective(Protocol):
    """The cost of a micro-batch."""

    def lay_out(self, rows: Rows, *, held_out: bool) -> Any:
        """The samples with these numbers as a Batch."""

    def tokens(self, rows: Rows, *, held_out: bool) -> int:
        """How many tokens that batch would have, found without making it."""

    def first_batches(self, schedule: Schedule, steps: int) -> Iterable[Any]:
        """Batches of the first `steps` steps and the evaluation that it has to see before the model learns (a reference); often none."""

    def summed(self, model: Any, batch: Any) -> Cost:
        """The cost of a batch."""

    def told(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """The further measures as they are told, from their means over the units."""


class Costed(torch.nn.Module):
    """A model together with what it costs, so that a wrapper around it (DDP, FSDP, autocast) sees the whole forward pass as one call."""

    def __init__(self, model: torch.nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._objective = objective

    def forward(self, batch: Batch) -> Cost:
        """The cost of a batch."""
        return self._objective.summed(self.model, batch)
