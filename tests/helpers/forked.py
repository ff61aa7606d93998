"""Training runs in processes of their own that can be killed, started within milliseconds: a server that has imported torch forks them."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from tunelab.errors import TunelabError

PRELOADED = ["tunelab.workflow.train", "tunelab.training.run", "tunelab.training.trackers", "peft", "transformers.models.llama.modeling_llama", __name__]


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def start_training(config: Path, *, resume: bool = False, die: tuple[str, int] | None = None,
                   fault: tuple[str, int, int] | None = None) -> ForkServerProcess:
    """Train a config in a process of its own. `die`: a moment of MOMENTS and at which time of its coming the process kills itself.

    `fault`: a kind of write of WRITES, from which time of its coming on it fails, and the system's error number.
    """
    process = _context().Process(target=_train, args=(str(config), resume, die, fault), daemon=True)
    process.start()
    return process


def _train(config: str, resume: bool, die: tuple[str, int] | None, fault: tuple[str, int, int] | None) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    with (Path(config).with_suffix(".log")).open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        import torch

        from tunelab.workflow.train import train

        torch.set_num_threads(1)
        if die is not None:
            MOMENTS[die[0]](die[1])
        if fault is not None:
            owner, name = WRITES[fault[0]]()
            _failing(owner, name, fault[1], fault[2])
        try:
            train(config, resume=resume)
        except TunelabError as error:
            log.write(f"{type(error).__name__}: {error.message} | {error.where} | {error.next_step}\n")
            sys.exit(2)
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.exit(1)


def _at_call(owner: Any, name: str, count: int, before: Callable[..., None] | None = None) -> None:
    """Kill this process, as `kill -9` does, the count-th time that owner.name is called; `before` gets the call's arguments first."""
    original, calls = getattr(owner, name), [0]

    def watched(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == count:
            if before is not None:
                before(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, watched)


def _packing(count: int) -> None:
    from tunelab.planning import schedule

    _at_call(schedule, "plan_epoch", count)


def _manifest(count: int) -> None:
    from tunelab.runs.folder import RunFolder

    _at_call(RunFolder, "update_manifest", count)


def _papers(count: int) -> None:
    from tunelab.workflow import train

    _at_call(train, "write_text", count)


def _forward(count: int) -> None:
    from tunelab.training.supervised import Supervised

    _at_call(Supervised, "summed", count)


def _update(count: int) -> None:
    from tunelab.training import loop

    _at_call(loop, "StepRecord", count)  # the weights are changed, nothing is written of it


def _event(count: int) -> None:
    from tunelab.runs.events import EventLog

    def half(log: EventLog, kind: str, **_: Any) -> None:
        log._file.write('{"event": "' + kind)
        log._file.flush()

    _at_call(EventLog, "append", count, half)


def _evaluating(count: int) -> None:
    from tunelab.training.loop import Loop

    _at_call(Loop, "evaluate", count)


def _saving(count: int) -> None:
    from tunelab.training import checkpoint

    def half(tensors: dict[str, Any], path: Path) -> None:
        path.write_bytes(b"\x00" * 100)

    _at_call(checkpoint, "save_file", count, half)


def _renaming(count: int) -> None:
    _at_call(Path, "replace", count)


def _rotating(count: int) -> None:
    from tunelab.runs import checkpoints

    def half(path: Path, **_: Any) -> None:
        next(path.iterdir()).unlink()

    _at_call(checkpoints.shutil, "rmtree", count, half)


MOMENTS: dict[str, Callable[[int], None]] = {
    "packing": _packing, "writing the manifest": _manifest, "writing the config": _papers, "in a forward pass": _forward, "after an update": _update,
    "writing an event": _event, "evaluating": _evaluating, "saving": _saving, "renaming": _renaming, "rotating": _rotating}


def _failing(owner: Any, name: str, count: int, number: int) -> None:
    """Let owner.name fail as the system does, from the count-th call on, for as long as this process lives (a full disk stays full)."""
    original, calls = getattr(owner, name), [0]

    def watched(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] >= count:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **options)

    setattr(owner, name, watched)


def _event_file() -> tuple[Any, str]:
    from tunelab.runs import events

    class File(io.TextIOWrapper):
        """A file of events whose writes can be made to fail."""

        def write(self, text: str) -> int:
            return super().write(text)

    opened = Path.open

    def open_(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        return File(opened(path, "ab"), encoding="utf-8", newline="\n") if path.name == "events.jsonl" and mode == "a" else opened(path, mode, *arguments,
                                                                                                                                **options)

    events.Path.open = open_  # type: ignore[method-assign]
    return File, "write"


def _checkpoint_file() -> tuple[Any, str]:
    from tunelab.training import checkpoint

    return checkpoint, "save_file"


def _weights_file() -> tuple[Any, str]:
    from tunelab.training import checkpoint

    return checkpoint, "save_adapter"


def _small_file() -> tuple[Any, str]:
    from tunelab.runs import store

    return store.os, "fdopen"


def _rename() -> tuple[Any, str]:
    return Path, "replace"


def _prepared() -> tuple[Any, str]:
    from tunelab.data import cache

    return cache.tempfile, "mkstemp"


WRITES: dict[str, Callable[[], tuple[Any, str]]] = {"an event": _event_file, "a checkpoint": _checkpoint_file, "the weights": _weights_file,
                                                   "a small file": _small_file, "a rename": _rename, "prepared data": _prepared}
