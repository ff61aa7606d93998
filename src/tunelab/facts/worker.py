"""Whether this process is one of several of a run, from the variables that launchers set (torchrun's names: RANK, WORLD_SIZE)."""

from __future__ import annotations

import os


def worker_rank() -> int | None:
    """The number of this process among those that a launcher started together; None when it was started alone."""
    count, rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() and count.isdecimal() and int(count) > 1 else None
