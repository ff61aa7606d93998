"""What the loop drives: one model with its optimizer, on one device or in equal copies whose gradients are averaged (DDP, through accelerate).

Engines that split a model over processes (`fsdp.py`, `zero.py`) are this one with other ways of passing back, updating, saving and loading. What
an engine saves are whole tensors on the first process, so that results have one format, whatever trained them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from tunelab.training.checkpoint import State, load_weights
from tunelab.training.model import trainable
from tunelab.training.objective import Batch, Cost, Costed


class Engine:
    """A model in its `Costed`, and its optimizer. `clip_at`: the largest norm of a step's gradients, infinity for any."""

    def __init__(self, accelerator: Accelerator, costed: Costed, optimizer: torch.optim.Optimizer, clip_at: float) -> None:
        self._accelerator, self._clip_at = accelerator, clip_at
        self._inside = costed
        self._costed, self.optimizer = self._prepared(costed, optimizer)
        self._parameters = [parameter for _, parameter in trainable(self._costed)]

    def _prepared(self, costed: Costed, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # accelerate hands DDP an argument that torch is about to rename
            prepared: tuple[Any, Any] = self._accelerator.prepare(costed, optimizer)
            return prepared

    @property
    def model(self) -> Any:
        """The model itself, without wrappers."""
        return self._inside.model

    @property
    def scaler(self) -> Any:
        """The loss scaling of float16; None without."""
        return self._accelerator.scaler

    def train(self, mode: bool = True) -> None:
        """As of torch's modules."""
        self._costed.train(mode)

    def cost(self, batch: Batch) -> Cost:
        """The forward pass of a micro-batch."""
        cost: Cost = self._costed(batch)
        return cost

    @contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        """Around the passes of a micro-batch: gradients travel between processes with the last one of a step."""
        with nullcontext() if last else self._accelerator.no_sync(self._costed):
            yield

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss to those of the step; over processes the mean is taken."""
        self._accelerator.backward(loss)

    def update(self) -> float:
        """Clip the step's gradients, update the weights, forget the gradients. Returns the norm before clipping."""
        norm = self._accelerator.clip_grad_norm_(self._parameters, self._clip_at)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    def rehearse(self, loss: torch.Tensor) -> None:
        """A backward pass of which nothing stays."""
        self.backward(loss)
        self.forget()

    def forget(self) -> None:
        """Drop the gradients of a step that is not taken."""
        self.optimizer.zero_grad()

    def state(self) -> State:
        """What a checkpoint holds; whole on the first process."""
        return State(self.model, self.optimizer.state_dict())

    def put_weights(self, folder: Path) -> None:
        """Put the weights of a checkpoint into place."""
        load_weights(folder, self.model)

    def put_optimizer(self, state: Mapping[str, Any]) -> None:
        """Take back the optimizer's part of `state`. After the weights."""
        self.optimizer.load_state_dict(state)
