"""Ordinary fine-tuning: cross entropy over the supervised tokens of samples laid end to end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from tunelab.config import Config
from tunelab.data.sample import Sample
from tunelab.planning.schedule import Rows, Schedule, padded
from tunelab.training.batch import MicroBatch, lay_out
from tunelab.training.loss import TokenLoss, Weighting
from tunelab.training.noise import add_noise
from tunelab.training.objective import Cost


class Supervised:
    """The objective of a supervised run; a unit is a supervised token."""

    def __init__(self, config: Config, model: torch.nn.Module, samples: tuple[Sequence[Sample], Sequence[Sample]], pad_id: int,
                 device: torch.device) -> None:
        self._train, self._held_out = samples
        self._pad_id, self._device = pad_id, device
        self._pad_to = config.data.sequence_len if config.data.pad_to_sequence_len else None
        self._loss = TokenLoss(model, Weighting.of(config))
        if config.loss.neftune_noise_alpha is not None:
            add_noise(model, config.loss.neftune_noise_alpha)

    def lay_out(self, rows: Rows, *, held_out: bool) -> MicroBatch:
        """The rows as one micro-batch on the device."""
        samples = self._held_out if held_out else self._train
        return lay_out([[samples[index] for index in row] for row in rows], pad_id=self._pad_id, pad_to=self._pad_to, device=self._device)

    def tokens(self, rows: Rows, *, held_out: bool) -> int:
        """Tokens of the rows, padding included."""
        samples = self._held_out if held_out else self._train
        return sum(padded(sum(len(samples[index].input_ids) for index in row), self._pad_to) for row in rows)

    def first_batches(self, schedule: Schedule, steps: int) -> Iterable[MicroBatch]:
        """None: the loss depends on nothing but the model."""
        return ()

    def told(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """As they are."""
        return means

    def summed(self, model: Any, batch: MicroBatch) -> Cost:
        """Cross entropy in nats, weighted as the config asks, summed over the batch's supervised tokens."""
        return self._loss.summed(model, batch), {}
