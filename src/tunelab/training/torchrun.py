"""Starts the workers of a run with torch's elastic agent (what torchrun is made of), waits for them, and stops them all when one ends badly.

The agent runs in a thread here, so that Ctrl-C and SIGTERM stay ours: they are passed on once, and the workers save and end by themselves.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tunelab.training.interrupt import StopRequest


@dataclass(frozen=True, slots=True)
class Fleet:
    """Which workers are started: `here` of them on this machine, which is number `node` of `nodes`.

    `master`: "HOST:PORT" of machine 0, or `rendezvous`: "HOST:PORT" where machines meet in any order. With one machine neither is needed.
    """

    here: int
    nodes: int = 1
    node: int = 0
    master: str | None = None
    rendezvous: str | None = None

    @property
    def count(self) -> int:
        """All workers."""
        return self.here * self.nodes


@dataclass(slots=True)
class Ended:
    """How the workers ended: `exits` are the exit codes that were not 0, by rank (below 0: killed by that signal), the ones that ended first."""

    exits: dict[int, int] = field(default_factory=dict)
    stopped: bool = False
    error: BaseException | None = None


def run_workers(command: Sequence[str], fleet: Fleet, logs: Path, pids: Callable[[], Iterable[int]]) -> Ended:
    """Run a command once per worker until all have ended. Only the first worker's output is shown, that of the others goes to files in `logs`.

    `pids`: the workers that have said so, to whom a wish to stop is passed on.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    ended = Ended()

    def watch() -> None:
        try:
            elastic_launch(_settings(fleet, logs), command[0])(*command[1:])
        except ChildFailedError as error:
            ended.exits = {rank: failure.exitcode for rank, failure in error.failures.items()}
        except BaseException as error:
            ended.error = error

    thread = threading.Thread(target=watch, daemon=True)
    with StopRequest() as stop:
        thread.start()
        told: set[int] = set()
        try:
            while thread.is_alive():
                thread.join(0.1)
                if stop.requested:
                    ended.stopped = True
                    told |= _signal(set(pids()) - told, signal.SIGTERM)
        except KeyboardInterrupt:  # asked a second time: at once
            _signal(pids(), getattr(signal, "SIGKILL", signal.SIGTERM))
            thread.join(30)
    return ended


def cannot_meet(error: BaseException | None) -> bool:
    """Whether the machines did not find each other."""
    return isinstance(error, RendezvousError | TimeoutError) or "rendezvous" in str(error).lower()


def _settings(fleet: Fleet, logs: Path) -> LaunchConfig:
    meeting: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": fleet.rendezvous or "localhost:0"}
    if fleet.master is not None:
        meeting = {"rdzv_backend": "static", "rdzv_endpoint": fleet.master, "rdzv_configs": {"rank": fleet.node, "timeout": 900}}
    quiet = {local: Std.ALL for local in range(fleet.here) if local or fleet.node}
    return LaunchConfig(
        min_nodes=fleet.nodes, max_nodes=fleet.nodes, nproc_per_node=fleet.here, run_id=_run_id(fleet), max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=quiet), **meeting)


def _run_id(fleet: Fleet) -> str:
    """Machines that meet must mean the same run; alone, it is a name that nobody else has."""
    return "tunelab" if fleet.nodes > 1 else f"tunelab-{os.getpid()}"


def _signal(pids: Iterable[int], number: int) -> set[int]:
    done = set(pids)
    for pid in done:
        with suppress(OSError):
            os.kill(pid, number)
    return done
