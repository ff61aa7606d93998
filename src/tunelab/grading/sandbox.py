"""Run a model's Python in a process of its own that may compute and little else. The rules inside it are in `cage.py`.

The process: an isolated interpreter (-I -S) without site-packages, in a throw-away folder as its working folder and HOME, with an
otherwise empty environment, in its own session, with limits on CPU time, memory, file size, files and processes, without network
where Linux allows a network namespace to be made, as `nobody` where we are root and `nobody` can read the standard library. Inside
it threads, processes, sockets, ctypes and sqlite3 are refused, and files but its own (the standard library may be read). It is
killed with its whole process group when the wall clock runs out; of its output at most 64 KiB are kept.

What it does NOT protect from. The audit hook that refuses files, sockets and processes is part of the same interpreter: it stops
accidents and what models usually write, not someone who attacks CPython itself (by corrupting its memory, for instance). Behind it
stand only the limits, the empty network namespace (Linux, where user namespaces are allowed) and the file permissions of the user.
As root RLIMIT_NPROC does not apply, and if `nobody` cannot read Python's own folder the code runs with root's file permissions: do
not grade as root what may be hostile; take a container or a virtual machine. Elsewhere than on Linux there is no network namespace,
on Windows no limits at all but the wall clock. The code can see the tests and could forge a pass. The disk is guarded only by
256 openings for writing of at most 1 MiB each. What exists on the machine can be seen with os.stat, though not read.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_CAGE = Path(__file__).with_name("cage.py")
_VERDICT_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What the code may use: wall-clock seconds (CPU seconds are the same, rounded up), MiB of address space, bytes of output kept."""

    seconds: float = 10.0
    memory_mib: int = 512
    output_bytes: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended. `stage` is "passed", or where it failed: "syntax", "answer", "tests", "time", "memory", "died" (no verdict came).

    `error` is one line ("AssertionError, line 2 of the tests"), `output` what was printed, both as the code wrote them: hostile text.
    `walls` names what stood around it: "limits", "no network", "nobody".
    """

    stage: str
    error: str = ""
    output: str = ""
    seconds: float = 0.0
    walls: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the tests were reached and passed."""
        return self.stage == "passed"


@dataclass(slots=True)
class _Pipe:
    """Reads a pipe to its end in a thread, so that the writer never waits, and keeps the first `limit` bytes."""

    stream: IO[bytes]
    limit: int
    kept: bytearray = field(default_factory=bytearray)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            while chunk := os.read(self.stream.fileno(), 65536):
                self.kept += chunk[:self.limit - len(self.kept)]


def run_sandboxed(code: str, tests: str = "", limits: Limits | None = None) -> Outcome:
    """Run `code`, then `tests` in the same namespace with `candidate` bound to the last function that `code` defines."""
    limits = limits or Limits()
    token = secrets.token_hex(16)
    order = {"code": code, "tests": tests, "token": token, "seconds": limits.seconds, "memory_mib": limits.memory_mib}
    with tempfile.TemporaryDirectory(prefix="tunelab-sandbox-", ignore_cleanup_errors=True) as folder:
        started = time.monotonic()
        process = _start(folder)
        with process:
            assert process.stdin and process.stdout and process.stderr
            output, said = _Pipe(process.stdout, limits.output_bytes), _Pipe(process.stderr, _VERDICT_BYTES)
            feeder = threading.Thread(target=_feed, args=(process.stdin, json.dumps(order).encode("ascii")), daemon=True)
            feeder.start()
            in_time = _wait(process, (feeder, output.thread, said.thread), started + limits.seconds)
        seconds = time.monotonic() - started
    return _outcome(bytes(said.kept), token, output.kept.decode("utf-8", "replace"), process.returncode, in_time, seconds)


def _start(folder: str) -> subprocess.Popen[bytes]:
    environment = {"HOME": folder, "TMPDIR": folder, "TEMP": folder, "TMP": folder}
    if os.name == "nt":
        environment["SYSTEMROOT"] = os.environ.get("SYSTEMROOT", "")  # Windows' Python does not start without it
    command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_CAGE)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment,
                            start_new_session=True, close_fds=True)


def _feed(stream: IO[bytes], data: bytes) -> None:
    with suppress(OSError), stream:
        stream.write(data)


def _wait(process: subprocess.Popen[bytes], threads: tuple[threading.Thread, ...], deadline: float) -> bool:
    """Wait until the pipes are closed by everyone who held them or the time is up, then kill the whole group.

    The group is killed before the process is reaped: until then its number cannot belong to anybody else.
    """
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    in_time = not any(thread.is_alive() for thread in threads)
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    for thread in threads:
        thread.join(1.0)
    return in_time


def _outcome(said: bytes, token: str, output: str, returncode: int, in_time: bool, seconds: float) -> Outcome:
    verdict = _verdict(said, token)
    if verdict is None:
        out_of_cpu = hasattr(signal, "SIGXCPU") and returncode == -signal.SIGXCPU
        if not in_time or out_of_cpu:
            return Outcome("time", output=output, seconds=seconds)
        return Outcome("died", f"exit code {returncode}" if returncode >= 0 else f"killed by signal {-returncode}", output, seconds)
    stage = "memory" if verdict["memory"] else str(verdict["stage"])
    return Outcome(stage, str(verdict["error"]), output, seconds, tuple(verdict["walls"]))


def _verdict(said: bytes, token: str) -> dict[str, Any] | None:
    """The line that the cage wrote with our token; anything else on that pipe is not believed."""
    for line in said.decode("utf-8", "replace").splitlines():
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict) and found.get("token") == token:
                return found
    return None
