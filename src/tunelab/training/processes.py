"""The processes that train together: which micro-batches are mine, sums over all of us, what the first one decides. Usually there is one."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from tunelab.config import Config
from tunelab.facts.worker import worker_rank
from tunelab.planning.schedule import Rows

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=30)
_BROKEN = re.compile(r"gloo|nccl|peer|Broken pipe|Connection (?:closed|reset|refused)|TCPStore|process group", re.IGNORECASE)


class Processes:
    """`rank` of `count` processes. All methods but `share` are taken together: each process must come to them, in the same order."""

    def __init__(self) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if joined else 0
        self.count: int = dist.get_world_size() if joined else 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
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
        device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def agree(self, find: Callable[[], T]) -> T:
        """What the first process finds, told to all."""
        if self.count == 1:
            return find()
        found: list[Any] = [find() if self.first else None]
        dist.broadcast_object_list(found, src=0)
        return found[0]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def draw_apart(self, seed: int) -> None:
        """From here on every process draws random numbers of its own (dropout); those of the first are the ones of a single process."""
        if self.rank:
            torch.manual_seed(seed + self.rank)

    @contextlib.contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes through the block before the others enter it, so that they find what it has put into a cache."""
        if not self.first:
            self.agree(lambda: None)
        yield
        if self.first:
            self.agree(lambda: None)


def join(config: Config) -> Processes:
    """Meet the other processes that the launcher started, if it did; else this one is alone."""
    if worker_rank() is not None and not dist.is_initialized():
        timeout = timedelta(seconds=config.distributed.ddp_timeout) if config.distributed.ddp_timeout else _TIMEOUT
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group("cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo", timeout=timeout)
    return Processes()


def is_lost(error: BaseException) -> bool:
    """Whether an error says that the connection to another process broke: that one knows why, this one does not."""
    return isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or _BROKEN.search(str(error)) is not None)
