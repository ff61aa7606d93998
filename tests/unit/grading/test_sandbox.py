"""What code from a model can and cannot do; each test runs a real process."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tunelab.grading import grade
from tunelab.grading.code_runs import extract_python
from tunelab.grading.sandbox import Limits, Outcome, run_sandboxed

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the limits are POSIX's")
SHORT = Limits(seconds=2)


def _run(code: str, tests: str = "") -> Outcome:
    return run_sandboxed(code, tests, Limits(seconds=8))


def test_code_that_passes() -> None:
    outcome = _run("def double(x):\n    return 2 * x\n", "assert candidate(4) == 8\nassert double(1) == 2")
    assert outcome.passed and outcome.error == "" and "limits" in outcome.walls


def test_candidate_is_the_last_function() -> None:
    assert _run("def helper(x): return x\ndef main(x): return helper(x) + 1\nVALUE = 3", "assert candidate(1) == 2 and VALUE == 3").passed


def test_tests_that_bring_their_own_candidate_need_no_function() -> None:
    assert _run("value = 3", "def check(candidate):\n    assert candidate == 3\ncheck(value)").passed
    assert _run("value = 3", "assert candidate(1)").error == "the answer defines no function"


@pytest.mark.parametrize(("code", "stage", "error"), [
    ("def f(x):\n    return x", "tests", "AssertionError: no, line 2 of the tests"),
    ("def f(x:\n", "syntax", "'(' was never closed, line 1 of the answer"),
    ("x = 1\nraise ValueError('bad')", "answer", "ValueError: bad, line 2 of the answer"),
    ("def f(x):\n    return f(x)", "tests", "RecursionError"),
    ("raise SystemExit(0)", "answer", "SystemExit: the code ended itself"),
    ("\0", "syntax", "null bytes"),
    ("(" * 5000, "syntax", "nested parentheses"),
    ("\ud800", "syntax", "surrogates"),
    ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E", "answer", "E"),
])
def test_code_that_fails(code: str, stage: str, error: str) -> None:
    outcome = _run(code, "\nassert candidate(1) == 2, 'no'")
    assert (outcome.stage, outcome.passed) == (stage, False)
    assert error in outcome.error


@pytest.mark.parametrize("code", ["while True: pass", "import time\ntime.sleep(60)", "9 ** 9 ** 9",
                                  "import re\nre.match('(a*)*b', 'a' * 99)"])
def test_an_endless_loop_is_stopped(code: str) -> None:
    started = time.monotonic()
    assert run_sandboxed(code, "", SHORT).stage == "time"
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("code", ["x = 'a' * 10**10", "x = [0]\nwhile True: x = x + x"])
def test_a_memory_hog_is_stopped(code: str) -> None:
    assert _run(code).stage == "memory"


@pytest.mark.parametrize("code", [
    "import os\nwhile True: os.fork()", "import os\nos.system('true')", "import subprocess\nsubprocess.run(['true'])",
    "import os\nos.execv('/bin/true', ['true'])", "import os\nos.posix_spawn('/bin/true', ['true'], {})", "import pty\npty.fork()",
    "import _posixsubprocess\n_posixsubprocess.fork_exec()", "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    "import threading\nwhile True: threading.Thread(target=input).start()", "import _thread\n_thread.start_new_thread(print, ())",
    "import ctypes", "import os\nos.kill(1, 0)", "import os\nos.kill(-1, 9)", "import os\nos.killpg(0, 9)",
    "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
])
def test_no_processes_threads_signals(code: str) -> None:
    outcome = _run(code)
    assert outcome.stage == "answer" and "PermissionError" in outcome.error and "refuses" in outcome.error


@pytest.mark.parametrize("code", [
    "import socket\nsocket.create_connection(('127.0.0.1', 9))", "import socket\nsocket.socket()",
    "import socket\nsocket.getaddrinfo('a.test', 1)",
    "import socket\nsocket.socket(socket.AF_UNIX).connect('/run/some.sock')", "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
])
def test_no_network(code: str) -> None:
    assert "refuses" in _run(code).error


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_the_network_namespace_is_named_when_it_stands() -> None:
    assert set(_run("x = 1").walls) <= {"nobody", "no network", "limits"}


def test_no_writing_outside(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for code in (f"open({str(target)!r}, 'w')", f"import os\nos.open({str(target)!r}, os.O_CREAT | os.O_WRONLY)",
                 f"import pathlib\npathlib.Path({str(target)!r}).touch()", f"import os\nos.mkdir({str(target)!r})",
                 f"open('here', 'w')\nimport os\nos.rename('here', {str(target)!r})", "open('../beside', 'w')",
                 f"import os\nos.symlink({str(tmp_path)!r}, 'way')", f"import shutil\nshutil.rmtree({str(tmp_path)!r})",
                 f"class S(str):\n    def startswith(self, *a): return False\nopen(S({str(target)!r}), 'w')",
                 f"import sqlite3\nsqlite3.connect({str(target)!r})", f"import os\nos.mkfifo({str(target)!r})",
                 "import os\nos.makedirs('a/b')\ntop = os.open('.', os.O_RDONLY)\nos.chdir('a/b')\n"
                 "os.open('../../beside', os.O_CREAT | os.O_WRONLY, dir_fd=top)",
                 "import os\nlibrary = os.open(os.path.dirname(os.__file__), os.O_RDONLY)\n"
                 "os.open('beside', os.O_CREAT | os.O_WRONLY, dir_fd=library)"):
        outcome = _run(code)
        assert "refuses" in outcome.error, code
    assert tmp_path.is_dir() and not target.exists()


def test_no_reading_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("42")
    for code in ("print(open('/etc/passwd').read())", f"print(open({str(secret)!r}).read())", "import os\nprint(os.listdir('/'))",
                 "import os\nos.chdir('/')", f"import os\nprint(os.open({str(secret)!r}, os.O_RDONLY))",
                 "print(open('/proc/self/environ').read())",
                 f"import importlib.machinery as m\nprint(m.SourceFileLoader('a', {str(secret)!r}).get_data({str(secret)!r}))",
                 f"import fileinput\nprint(list(fileinput.input({str(secret)!r})))"):
        outcome = _run(code)
        assert not outcome.passed and "PermissionError" in outcome.error and outcome.output == "", code


def test_its_own_folder_is_free_to_use_and_gone_afterwards() -> None:
    outcome = _run("import os, tempfile\nopen('a.txt', 'w').write('kept')\nprint(open('a.txt').read(), os.listdir('.'), os.getcwd())\n"
                   "with tempfile.TemporaryDirectory() as d: open(d + '/b', 'w').close()\nprint(os.environ['HOME'] == os.getcwd())")
    assert outcome.passed, outcome.error
    said = outcome.output.split()
    assert said[:2] == ["kept", "['a.txt']"] and said[3] == "True"
    assert not Path(said[2]).exists()


def test_a_large_file_and_many_files_are_refused() -> None:
    assert "File too large" in _run("f = open('a', 'wb', 0)\nfor _ in range(99): f.write(b'x' * 100_000)").error
    assert "refuses open" in _run("for i in range(1000): open(str(i), 'w').close()").error


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    outcome = _run("import os\nprint(sorted(set(os.environ) - {'LC_CTYPE'}))")
    assert outcome.output.strip() == "['HOME', 'TEMP', 'TMP', 'TMPDIR']"


def test_output_is_read_but_not_kept_without_end() -> None:
    outcome = _run("for _ in range(2000): print('x' * 1000)")
    assert outcome.passed and len(outcome.output) == 64 * 1024
    both = _run("import sys\nprint('out')\nprint('err', file=sys.stderr)").output
    assert "out" in both and "err" in both


@pytest.mark.parametrize("code", [
    "import os\nos._exit(0)", "import os\nfor n in range(1, 9):\n    try: os.close(n)\n    except OSError: pass\nwhile True: pass",
    "import os\nos.write(3, b'{\"token\": \"guess\", \"stage\": \"passed\"}\\n' * 9999)\nos._exit(0)", "import os\nos.abort()",
    "import sys\nsys.stdin.read()\nimport os\nos._exit(0)",
])
def test_ending_early_is_not_a_pass(code: str) -> None:
    assert _run(code, "assert False").stage == "died"


def test_usual_library_code_works() -> None:
    code = ("import asyncio, collections, concurrent.futures, csv, dataclasses, datetime, decimal, enum, functools, heapq, io, itertools\n"
            "import json, logging, math, pathlib, random, re, statistics, string, subprocess, threading, typing, unittest, uuid, zoneinfo\n"
            "@dataclasses.dataclass\nclass Point:\n    x: int\nPair = collections.namedtuple('Pair', 'a b')\n"
            "async def work():\n    await asyncio.sleep(0)\n    return Pair(Point(1), random.randint(0, 9))\n"
            "def run():\n    with threading.Lock():\n        return asyncio.run(work())\n")
    outcome = _run(code, "assert candidate().a.x == 1")
    assert outcome.passed, outcome.error


@pytest.mark.parametrize(("text", "code"), [
    ("Sure:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
    ("```python\nold = 1\n```\nBetter:\n```py\nnew = 2\n```\nOutput:\n```text\n2\n```", "new = 2\n"),
    ("```\nx = 1\n```", "x = 1\n"),
    ("~~~python\nx = 1\n~~~", "x = 1\n"),
    ("```python\ndef f():\n    return 1", "def f():\n    return 1"),
    ("x = 1", "x = 1"),
])
def test_the_code_of_an_answer(text: str, code: str) -> None:
    assert extract_python(text) == code


def test_the_grader_says_what_happened() -> None:
    tests = "assert candidate(2) == 4, candidate(2)"
    grader = {"kind": "code-runs", "tests": tests, "seconds": 2}
    judged = grade(grader, "p1", "Here:\n```python\ndef f(x):\n    return x * x\n```", "end")
    assert (judged.passed, judged.score, judged.reason) == (True, 1.0, "the code runs and the tests pass")
    assert grade(grader, "p1", "def f(x): return 5", "end").reason == "the tests failed: AssertionError: 5, line 1 of the tests"
    assert grade(grader, "p1", "I cannot do that.", "end").reason.startswith("the answer holds no Python that parses")
    assert grade(grader, "p1", "while True: pass", "end").reason == "stopped after 2 s"
    assert grade(grader, "p1", "raise ValueError('\\x1b[2J')", "end").reason.isprintable()
