"""The processes that train together: which micro-batches are mine, and sums over all of us. Usually there is one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator

from tunelab.planning.schedule import Rows


class Processes:
    """`rank` of `count` processes; every method that adds up must be called by all of them together."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.rank, self.count = accelerator.process_index, accelerator.num_processes

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, micro_batches: Sequence[Rows]) -> list[tuple[Rows, bool]]:
        """My part of a step's micro-batches, dealt out in turn, each with whether it counts.

        Forward passes are taken together, so every process gets the same number; where they don't divide, one that does not count fills up.
        """
        mine = [(rows, True) for rows in micro_batches[self.rank :: self.count]]
        return mine + [(micro_batches[0], False)] * (-(-len(micro_batches) // self.count) - len(mine))

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each value added up over all processes, in 64 bits."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self._accelerator.device)
        return [float(value) for value in self._accelerator.reduce(total, reduction="sum")]

    def wait(self) -> None:
        """Until all are here."""
        self._accelerator.wait_for_everyone()
