"""A micro-batch as tensors: samples laid end to end in one row, with the borders between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tunelab.data.sample import IGNORE, Sample


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward pass.

    `input_ids`, `position_ids`: (1, tokens), positions start at 0 in every sample; `borders`: token offsets of the segments;
    `keep`: indices of the tokens that predict a supervised one, (supervised,); `targets`: what they predict, (supervised,).
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    borders: tuple[int, ...]
    keep: torch.Tensor
    targets: torch.Tensor

    @property
    def tokens(self) -> int:
        """Tokens that go through the model, padding included."""
        return self.input_ids.shape[1]

    @property
    def supervised(self) -> int:
        """Tokens that carry loss."""
        return self.targets.shape[0]

    @property
    def units(self) -> int:
        """What the loss is the mean over."""
        return self.supervised


def lay_out(rows: Sequence[Sequence[Sample]], *, pad_id: int, pad_to: int | None, device: torch.device) -> MicroBatch:
    """Lay the rows of a micro-batch end to end. With `pad_to` each row is filled up to a multiple of that many tokens.

    A sample's first token is never a target: nothing before it belongs to it.
    """
    ids: list[int] = []
    positions: list[int] = []
    borders = [0]
    keep: list[int] = []
    targets: list[int] = []
    for row in rows:
        start = len(ids)
        for sample in row:
            offset = len(ids)
            ids.extend(sample.input_ids)
            positions.extend(range(len(sample.input_ids)))
            borders.append(len(ids))
            for index, label in enumerate(sample.labels[1:]):
                if label != IGNORE:
                    keep.append(offset + index)
                    targets.append(label)
        missing = -(len(ids) - start) % pad_to if pad_to is not None else 0
        if missing:
            ids.extend([pad_id] * missing)
            positions.extend(range(missing))
            borders.append(len(ids))
    return MicroBatch(
        torch.tensor([ids], device=device), torch.tensor([positions], device=device), tuple(borders),
        torch.tensor(keep, device=device, dtype=torch.long), torch.tensor(targets, device=device, dtype=torch.long))
