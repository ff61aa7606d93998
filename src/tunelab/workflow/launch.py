"""train with several processes: start the workers, and turn whatever ended them into one sentence.

A worker is this very program with torchrun's variables set (RANK, WORLD_SIZE, ...), so that `torchrun -m tunelab.cli.main train CONFIG` and
other launchers work too. Under our own launcher a worker says how it ended in a file, which the launcher reads.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab import errors
from tunelab.config import read_config
from tunelab.errors import Interrupted, LostWorkerError, RunError, TunelabError, UsageError, needs
from tunelab.facts.worker import worker_rank
from tunelab.runs.checkpoints import newest_whole
from tunelab.runs.events import EventLog
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import read_json, write_json
from tunelab.workflow.opening import open_config
from tunelab.workflow.train import Trained, note_end

if TYPE_CHECKING:
    from tunelab.training.torchrun import Ended, Fleet

_REPORTS = "TUNELAB_REPORTS"
_OPTIONS: Mapping[str, Callable[[str], Any]] = {"nnodes": int, "node_rank": int, "master_addr": str, "master_port": int, "rdzv_endpoint": str}


@dataclass(frozen=True, slots=True)
class Machines:
    """What the command line says about where workers run, in torchrun's words: `nproc` on each of `nnodes` machines."""

    nproc: int = 1
    nnodes: int = 1
    node_rank: int = 0
    master_addr: str | None = None
    master_port: int = 29500
    rdzv_endpoint: str | None = None

    @staticmethod
    def of(nproc: int, options: Sequence[str]) -> Machines:
        """From --nproc and torchrun's options for several machines. Raises UsageError for anything else."""
        found: dict[str, Any] = {}
        words = [part for word in options for part in (word.split("=", 1) if word.startswith("--") else [word])]
        for name, value in zip(words[::2], [*words[1::2], None], strict=False):
            key = name.removeprefix("--").replace("-", "_")
            if not name.startswith("--") or key not in _OPTIONS:
                raise UsageError(f"{name} is no option of `tunelab train`.", next_step="See: tunelab train --help")
            try:
                found[key] = _OPTIONS[key](value if value is not None else "")
            except ValueError:
                raise UsageError(f"{name} is {value!r}; expected a whole number.") from None
        return Machines(nproc, **found)

    def fleet(self) -> Fleet:
        """The same for the launcher. Raises UsageError when machines could not find each other."""
        from tunelab.training.torchrun import Fleet

        if self.nnodes > 1 and self.master_addr is None and self.rdzv_endpoint is None:
            raise UsageError(f"--nnodes {self.nnodes} needs to know where the machines meet.",
                             next_step="Add --master-addr HOST of machine 0 (and --node-rank on each), or --rdzv-endpoint HOST:PORT.")
        if not 0 <= self.node_rank < self.nnodes:
            raise UsageError(f"--node-rank is {self.node_rank}; expected 0 to {self.nnodes - 1}, as --nnodes is {self.nnodes}.")
        master = f"{self.master_addr}:{self.master_port}" if self.master_addr is not None else None
        return Fleet(self.nproc, self.nnodes, self.node_rank, master, self.rdzv_endpoint)


def is_worker() -> bool:
    """Whether a launcher started this process as one of several."""
    return worker_rank() is not None


def is_for_several(path: str, machines: Machines) -> bool:
    """Whether a run is to be handed to `launch`: by the command line, or to Ray by its config."""
    return not is_worker() and (machines.nproc * machines.nnodes > 1 or read_config(Path(path)).config.distributed.use_ray)


def launch(path: str, machines: Machines, *, resume: bool = False, allow: Sequence[str] = (), stand_ins: bool = False, as_json: bool = False) -> Trained:
    """Run a config with several processes: the options are those of `train`. The first worker shows how it goes, in text or in JSON lines.

    Raises what `train` raises, from whichever worker it came; RunError when a worker was killed.
    """
    config = open_config(path, network=True, allow_stand_ins=stand_ins).config_or_raise()
    if config.distributed.use_ray:
        from tunelab.workflow.ray import launch_on_ray

        return launch_on_ray(path, config, machines.nproc * machines.nnodes, {"resume": resume, "allow": list(allow), "stand_ins": stand_ins})
    with needs("train", "Training"):
        from tunelab.training.torchrun import run_workers

    fleet = machines.fleet()
    folder = RunFolder(Path(config.run.output_dir))
    reports = Path(tempfile.mkdtemp(prefix="tunelab-workers-"))
    with _environment(reports, fleet.here):
        words = [*["--resume"] * resume, *["--stand-ins"] * stand_ins, *["--json"] * as_json, *(f"--allow={code}" for code in allow)]
        command = [sys.executable, "-m", "tunelab.cli.main", "train", path, *words]
        ended = run_workers(command, fleet, reports / "output", lambda: (one["pid"] for one in _read(reports)))
    failure = _failure(ended, fleet, _read(reports), folder, reports)
    if not isinstance(failure, _KeptError):
        shutil.rmtree(reports, ignore_errors=True)
    if failure is None:
        return Trained(folder.path, folder.manifest())
    if fleet.node == 0:
        _note(folder, failure)
    raise failure


@contextmanager
def reporting() -> Iterator[None]:
    """In a worker of our launcher: say that it is there, and at the end what went wrong; nothing is printed. Elsewhere: nothing."""
    place = os.environ.get(_REPORTS)
    rank = worker_rank()
    if place is None or rank is None:
        yield
        return
    report = {"pid": os.getpid(), "rank": rank}
    file = Path(place) / f"{rank}.json"
    write_json(file, report)
    _end_with(os.getppid())
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        write_json(file, {**report, **_described(error)})
        sys.stdout.flush()
        os._exit(getattr(error, "exit_code", 1))  # not through the group's clean-up, which would wait for the others


def _described(error: BaseException) -> dict[str, Any]:
    from tunelab.training.processes import is_lost

    kind = type(error).__name__
    if is_lost(error):
        kind, message = LostWorkerError.__name__, "Another process of this run ended, or did not answer in time."
    else:
        message = error.message if isinstance(error, TunelabError) else f"{kind}: {error}"
    return {"time": time.time(), "kind": kind, "message": message, "where": getattr(error, "where", None),
            "next_step": getattr(error, "next_step", None), "traceback": traceback.format_exc()}


class _KeptError(RunError):
    """A failure that is ours: the workers' reports stay to be looked at."""


def _failure(ended: Ended, fleet: Fleet, reports: Sequence[Mapping[str, Any]], folder: RunFolder, place: Path) -> TunelabError | None:
    """The one error that a person should read: a wish to stop, a worker that was killed, the first one that said why it ended."""
    from tunelab.training.torchrun import cannot_meet

    said = sorted((one for one in reports if "kind" in one), key=lambda one: one["time"])
    causes = [one for one in said if one["kind"] != LostWorkerError.__name__]
    kind = causes[0]["kind"] if causes else ""
    causes = sorted(causes, key=lambda one: (one["kind"] != kind, one["rank"]))  # what several of them say, the first worker says
    killed = {rank: -code for rank, code in ended.exits.items() if code < 0 and not any(one["rank"] == rank for one in said)}
    if ended.stopped:
        stops = [one for one in causes if one["kind"] == Interrupted.__name__]
        return _as_error(stops[0], fleet) if stops else Interrupted("Stopped before the first step was done; nothing was trained yet.",
                                                                    next_step="Start again with the same command.")
    if killed and not causes:
        rank, number = min(killed.items(), key=lambda one: (one[1] == signal.SIGTERM, one[0]))  # SIGTERM is what the others are then sent
        return RunError(f"Worker {rank} of {fleet.count} was killed ({_signal_name(number)}), so the run was ended.", where=str(folder.path),
                        next_step=("Systems do that when memory runs out; `tunelab plan` says what is needed. " if number == 9 else "")
                        + how_to_go_on(folder))
    if causes:
        first = causes[0]
        if hasattr(errors, first["kind"]):
            return _as_error(first, fleet)
        file = place / f"traceback-of-worker-{first['rank']}.txt"
        file.write_text(first["traceback"], encoding="utf-8")
        return _KeptError(f"Worker {first['rank']} of {fleet.count} failed: {first['message']}", where=str(file),
                          next_step="The file has the whole traceback; this is a fault of tunelab or of a library under it.")
    if said:
        return RunError("A worker on another machine ended, so the run was ended.", where=str(folder.path),
                        next_step="Its own machine says why. " + how_to_go_on(folder))
    if ended.error is not None:
        hint = "The machines did not find each other" if cannot_meet(ended.error) else "The workers could not be started"
        return RunError(f"{hint}: {str(ended.error).splitlines()[0] if str(ended.error) else type(ended.error).__name__}.",
                        next_step="Look at --nnodes, --node-rank, --master-addr, --master-port: all machines need the same, but for the rank.")
    if ended.exits:
        rank, code = min(ended.exits.items())
        return _KeptError(f"Worker {rank} of {fleet.count} ended with exit code {code} before it could say why.", where=str(place / "output"),
                          next_step="What it printed is in that folder.")
    return None


def _as_error(said: Mapping[str, Any], fleet: Fleet) -> TunelabError:
    kind = getattr(errors, said["kind"])
    who = f"Worker {said['rank']} of {fleet.count}: " if said["rank"] else ""
    error: TunelabError = TunelabError.__new__(kind)
    TunelabError.__init__(error, who + said["message"], where=said["where"], next_step=said["next_step"])
    if isinstance(error, errors.ConfigError):
        error.findings = ()
    return error


def how_to_go_on(folder: RunFolder) -> str:
    """What to do after workers were lost: resume from the newest whole checkpoint, or start again."""
    newest = newest_whole(folder)[0] if folder.path.is_dir() else None
    return f"The checkpoint of step {newest[0]} is whole: go on with the same command and --resume." if newest is not None else \
        "No checkpoint was written yet: start again with the same command and --resume, or in another output_dir."


def _note(folder: RunFolder, failure: TunelabError) -> None:
    """Say in the run's record how it ended, when its first worker could not or did not know."""
    if not folder.manifest_path.exists() or folder.manifest().get("reason") == failure.message or isinstance(failure, UsageError):
        return
    with suppress(TunelabError):  # where the event file cannot be opened there is nowhere to note it
        events = EventLog(folder.events_path)
        note_end(folder, events, failure)
        events.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _environment(reports: Path, here: int) -> Iterator[None]:
    """What the workers inherit: where to report, and a fair share of the cores."""
    added = {_REPORTS: str(reports), "TORCH_CPP_LOG_LEVEL": "ERROR", "TORCHELASTIC_ERROR_FILE": ""}
    if "OMP_NUM_THREADS" not in os.environ:
        added["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // here))
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _end_with(parent: int) -> None:
    """When the launcher is killed nobody would stop the workers: each then asks itself to stop."""
    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    if sys.platform != "win32":
        threading.Thread(target=wait, daemon=True).start()


def _read(reports: Path) -> list[dict[str, Any]]:
    return [read_json(file) for file in sorted(reports.glob("*.json"))]
