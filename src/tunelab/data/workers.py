"""Rows tokenised by several processes at once, in order and with bounded memory.

The processes are Python programs of their own that read tasks from a pipe (`python -m tunelab.data.worker`): unlike forks they are safe
beside threads and CUDA, and unlike the multiprocessing module's they do not run the caller's script again. What goes through the pipes
is pickled, and comes from nobody but these processes.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import IO, Any

from tunelab.data.parts import Part, Work, make_part
from tunelab.data.sample import Row
from tunelab.errors import RunError, TunelabError

_PROGRAM = ("-P", "-m", "tunelab.data.worker")

AHEAD = 3
"""Tasks for each process that are under way or done and not yet collected."""


@dataclass(frozen=True, slots=True)
class Task:
    """Some rows of the dataset whose Work has this index, and their numbers in it."""

    work: int
    rows: Sequence[Row]
    numbers: Sequence[int]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def made_parts(tasks: Iterable[Task], works: Sequence[Work], processes: int) -> Generator[tuple[Task, Part], None, None]:
    """What the rows of each task became, in the order of the tasks. With one process it is this one.

    Raises DataError for the first row that cannot be read, RunError when a process ends unexpectedly.
    """
    if processes < 2 or not sys.executable:
        yield from ((task, make_part(works[task.work], task.rows, task.numbers)) for task in tasks)
        return
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    pending: deque[tuple[Task, Future[Part]]] = deque()
    threads = ThreadPoolExecutor(2 * processes)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(processes):
            started.append(_start())
        known = pickle.dumps(list(works), protocol=pickle.HIGHEST_PROTOCOL)
        for process in started:
            threads.submit(_introduce, process, known, idle)
        for task in tasks:
            pending.append((task, threads.submit(_ask, idle, task)))
            if len(pending) >= AHEAD * processes:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        for process in started:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in started:
            process.communicate()


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "TOKENIZERS_PARALLELISM": "false",
                   "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        return subprocess.Popen([sys.executable, *_PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    except OSError as error:
        raise RunError(f"No process to tokenise rows can be started: {error}.", next_step="Do without: dataset_num_proc: 1") from error


def _introduce(process: subprocess.Popen[bytes], works: bytes, idle: SimpleQueue[subprocess.Popen[bytes]]) -> None:
    """Tell a process what all tasks have in common; it reads that as soon as it has started."""
    assert process.stdin is not None
    with suppress(OSError):  # it ended already, which the first task will find out
        _send(process.stdin, works)
    idle.put(process)


def _ask(idle: SimpleQueue[subprocess.Popen[bytes]], task: Task) -> Part:
    """Hand a task to a process that has nothing to do, and wait for it."""
    process = idle.get()
    try:
        assert process.stdin is not None and process.stdout is not None
        _send(process.stdin, pickle.dumps(task, protocol=pickle.HIGHEST_PROTOCOL))
        answer = receive(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        raise RunError(f"A process that tokenised rows ended unexpectedly (exit code {process.poll()}), probably for want of memory.",
                       next_step="Use fewer: dataset_num_proc: 1") from error
    finally:
        idle.put(process)
    if isinstance(answer, Part):
        return answer
    if isinstance(answer, TunelabError):
        raise answer
    raise RuntimeError(f"tokenising rows in another process failed:\n{answer}")


def _send(stream: IO[bytes], data: bytes) -> None:
    stream.write(len(data).to_bytes(8, "little"))
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next value from a pipe. Raises EOFError at its end."""
    size = stream.read(8)
    if len(size) < 8:
        raise EOFError
    data = stream.read(int.from_bytes(size, "little"))
    return pickle.loads(data)  # noqa: S301 (from our own process)


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """What a process does: take the works, then tasks until there are no more."""
    works: Sequence[Work] = receive(source)
    while True:
        try:
            task: Task = receive(source)
        except EOFError:
            return
        _send(target, pickle.dumps(_answer(works, task), protocol=pickle.HIGHEST_PROTOCOL))


def _answer(works: Sequence[Work], task: Task) -> Part | TunelabError | str:
    try:
        return make_part(works[task.work], task.rows, task.numbers)
    except TunelabError as error:
        return error
    except Exception:
        import traceback

        return traceback.format_exc()
