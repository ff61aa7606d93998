"""The inside of the sandbox: started as a script by `sandbox.py`, in an interpreter of its own; never imported by tunelab.

First stage: take away what the kernel can take away (privileges, network, memory, processes) and start the interpreter anew, so that
nothing used for that (ctypes) is left in memory. Second stage: read the order from stdin, set the audit hook, run, write one line.
What is refused raises PermissionError inside the code. Only the standard library is at hand here.
"""

# ruff: noqa: PTH100, PTH109, PTH120
# pathlib is not loaded here: what stands around the answer's code is kept small.
from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

NETWORK_NAMESPACE, USER_NAMESPACE = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER of linux/sched.h
NOBODY = 65534
OPENINGS_FOR_WRITING = 256

REFUSED = ("socket.", "subprocess.", "ctypes.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "os.kill",
           "os.link", "os.symlink", "os.chown", "os.lchown", "pty.", "signal.pthread_kill", "resource.", "sqlite3.", "_thread.",
           "fcntl.", "mmap.", "syslog.", "webbrowser.", "winreg.", "msvcrt.", "ftplib.", "smtplib.", "urllib.", "http.client.", "imaplib.",
           "poplib.", "telnetlib.", "nntplib.", "sys.addaudithook", "sys.settrace", "sys.setprofile", "gc.get_", "os.unshare")
SOCKETS_WITHOUT_A_PEER = ("socket.__new__",)  # asyncio makes itself a pair of them; connecting and binding are refused
UNHEARD = {"_thread": ("start_new_thread", "start_new", "start_joinable_thread"), "_posixsubprocess": ("fork_exec",),
           "os": ("mkfifo", "mknod"), "posix": ("mkfifo", "mknod")}
REFUSED_MODULES = frozenset(("ctypes", "_ctypes", "_posixsubprocess", "_testcapi", "_testinternalcapi", "_dbm", "_gdbm", "_sqlite3",
                             "_posixshmem", "readline", "_tkinter", "_xxsubinterpreters", "_interpreters"))
CHANGES = ("os.chmod", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.utime", "os.setxattr", "os.removexattr",
           "os.chflags", "shutil.")
LOOKS = ("os.listdir", "os.scandir", "os.chdir", "os.listxattr", "os.getxattr")


def first_stage() -> None:
    """Give up what can be given up and go on as a new interpreter. The order is still unread on stdin."""
    walls = []
    if sys.platform == "linux" and _become_nobody():
        walls.append("nobody")
    if sys.platform == "linux" and _leave_network():
        walls.append("no network")
    walls.append("limits")
    arguments = [sys.executable, "-I", "-S", "-B", "-X", "utf8", os.path.abspath(__file__), ",".join(walls)]
    os.execv(sys.executable, arguments)


def _become_nobody() -> bool:
    """From root to nobody, where nobody can reach the working folder, this script and the standard library."""
    if os.geteuid() != 0:
        return False
    try:
        os.chown(".", NOBODY, NOBODY)
        os.setgroups([])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            reachable = all(os.access(path, os.R_OK, effective_ids=True) for path in (os.getcwd(), os.__file__, sys.executable, __file__))
        finally:
            os.seteuid(0)
            os.setegid(0)
        if reachable:
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        else:
            os.chown(".", 0, 0)
        return reachable
    except OSError:
        return False


def _leave_network() -> bool:
    """Into a network namespace with nothing in it; a user namespace of its own makes that possible without being root."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).unshare(USER_NAMESPACE | NETWORK_NAMESPACE) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _limit(seconds: float, memory_mib: int) -> None:
    """Limits of this process, soft and hard. Address space, because resident memory cannot be limited on Linux."""
    import resource

    memory = memory_mib * 1024 * 1024
    wanted = {"RLIMIT_CPU": int(seconds) + 1, "RLIMIT_AS": memory, "RLIMIT_FSIZE": 1024 * 1024, "RLIMIT_NPROC": 0, "RLIMIT_NOFILE": 64,
              "RLIMIT_CORE": 0}
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            try:
                hard = resource.getrlimit(kind)[1]
                value = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.setrlimit(kind, (value, value))
            except (OSError, ValueError):
                pass  # macOS refuses some; the wall clock and the audit hook remain


def second_stage(walls: list[str]) -> None:
    """Run the order and write the verdict, one JSON line, to where stderr was; what the code prints goes to stdout."""
    order = json.loads(sys.stdin.buffer.read())
    channel = os.dup(2)
    os.dup2(1, 2)
    import contextlib
    import io
    import linecache  # noqa: F401  (what error handling needs is loaded before the hook counts openings)
    import traceback  # noqa: F401

    sys.stdin = io.StringIO("")
    _take_away_unheard()
    try:
        _limit(order["seconds"], order["memory_mib"])
    except ImportError:
        walls = [wall for wall in walls if wall != "limits"]
    sys.addaudithook(_hook(os.path.realpath(os.getcwd())))
    try:
        stage, error, memory = _run(order["code"], order["tests"])
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):  # the code may have replaced or closed them
                stream.flush()
    line = json.dumps({"token": order["token"], "stage": stage, "error": error, "memory": memory, "walls": walls})
    os.write(channel, b"\n" + line.encode("ascii") + b"\n")
    os._exit(0)  # without atexit: nothing of the code runs after its verdict


def _take_away_unheard() -> None:
    """Some C functions start threads and processes or make files without an audit event (in every version); they are replaced.

    The modules stay importable: asyncio and subprocess import them even where nothing is started.
    """
    import importlib

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("the sandbox refuses threads, processes and special files")

    for module_name, functions in UNHEARD.items():
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue  # Windows has no posix
        for name in functions:
            if hasattr(module, name):
                setattr(module, name, refuse)


def _run(code: str, tests: str) -> tuple[str, str, bool]:
    """(stage, error, whether memory ran out)."""
    import ast

    space: dict[str, Any] = {"__name__": "answer", "__builtins__": __builtins__}
    stage, what = "syntax", "the answer"
    try:
        tree = ast.parse(code, "answer")
        compiled = compile(tree, "answer", "exec", dont_inherit=True)
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        stage = "answer"
        exec(compiled, space)  # noqa: S102  (this is what the cage is for)
        stage, what = "tests", "the tests"
        if functions:
            space["candidate"] = space.get(functions[-1])
        elif _uses_candidate(tests):
            return "tests", "the answer defines no function", False
        exec(compile(tests, "tests", "exec", dont_inherit=True), space)  # noqa: S102
        return "passed", "", False
    except BaseException as error:
        return stage, _described(error, what), isinstance(error, MemoryError) and stage != "syntax"


def _uses_candidate(tests: str) -> bool:
    import ast

    nodes = list(ast.walk(ast.parse(tests)))
    return (any(isinstance(node, ast.Name) and node.id == "candidate" and isinstance(node.ctx, ast.Load) for node in nodes)
            and not any(isinstance(node, ast.arg) and node.arg == "candidate" for node in nodes))


def _described(error: BaseException, what: str) -> str:
    """One line: kind, message, the last line of the answer or the tests that was reached. Made by hostile objects: anything may raise."""
    try:
        if isinstance(error, SyntaxError):
            return f"{error.msg}, line {error.lineno} of {what}"[:500]
        lines: list[int] = []
        trace = error.__traceback__
        while trace is not None and len(lines) < 100_000:
            if trace.tb_frame.f_code.co_filename == what.split()[-1]:
                lines.append(trace.tb_lineno)
            trace = trace.tb_next
        message = str(error)[:300]
        if isinstance(error, SystemExit):
            message = f"the code ended itself, {message}" if message else "the code ended itself"
        place = f", line {lines[-1]} of {what}" if lines else ""
        return type(error).__name__ + (f": {message}" if message else "") + place
    except BaseException:
        return type(error).__name__


def _hook(folder: str) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook (PEP 578) that refuses what is not computing: it sees the event before it happens and raises PermissionError."""
    library = tuple({os.path.realpath(path) for path in (*sys.path, os.path.dirname(os.__file__))} - {""})
    readable = (folder, *library)
    devices = ("/dev/null", "/dev/urandom", "/dev/random")
    zones = "/usr/share/zoneinfo"
    written = [0]
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    realpath, isdir, isabs = os.path.realpath, os.path.isdir, os.path.isabs  # kept: the code could replace them in their modules
    fsdecode, separator = os.fsdecode, os.sep

    def inside(path: Any, roots: tuple[str, ...]) -> bool:
        given = plain(path)
        if not isabs(given) and ".." in given.replace("\\", "/").split("/"):
            return False  # it could be meant relative to an open folder (dir_fd), of which the event does not tell
        real = realpath(given)
        return any(real == root or real.startswith(root + separator) for root in roots)

    def plain(path: Any) -> str:
        return str.__str__(path) if isinstance(path, str) else fsdecode(bytes(path))  # not a subclass that changes its mind

    def open_allowed(path: Any, flags: Any) -> bool:
        if isinstance(path, int):
            return True  # a number stands for something that was opened before
        if not (isinstance(flags, int) and flags & writing):
            outside = inside(path, (*library, zones)) and not isdir(plain(path))  # no dir_fd to write with
            return outside or inside(path, (folder,)) or plain(path) in devices
        written[0] += 1
        return (inside(path, (folder,)) and written[0] <= OPENINGS_FOR_WRITING) or plain(path) == "/dev/null"

    def allowed(event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            return open_allowed(arguments[0], arguments[2])
        if event == "import":
            return arguments[0] not in REFUSED_MODULES
        if event in SOCKETS_WITHOUT_A_PEER:
            return bool(arguments[1] == 1)  # AF_UNIX
        if event.startswith(CHANGES):
            return all(inside(path, (folder,)) for path in arguments if isinstance(path, str | bytes))
        if event in LOOKS:
            return all(inside(path, readable) for path in arguments[:1] if isinstance(path, str | bytes))
        return not event.startswith(REFUSED)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not allowed(event, arguments):
            shown = f" {arguments[0]!r}"[:100] if arguments and isinstance(arguments[0], str) else ""
            raise PermissionError(f"the sandbox refuses {event}{shown}")

    return hook


if __name__ == "__main__":
    if len(sys.argv) > 1 or os.name != "posix":
        second_stage(sys.argv[1].split(",") if len(sys.argv) > 1 else [])
    else:
        first_stage()
