"""{"kind": "code-runs", "tests": "..."}: the Python in the answer runs and the tests pass. `candidate` is its last function.

"before": code that stands before the answer's (imports, a signature to be completed); with "entry" the name of the function that is asked
for, it is put before the answer only as far as the answer needs it: its signature and docstring only where the answer does not define it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tunelab.grading.result import Grade, inert, verdict
from tunelab.grading.sandbox import Limits, Outcome, run_sandboxed

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = ("python", "python3", "py")


def check_code_runs(grader: Mapping[str, Any]) -> str | None:
    """What is wrong with the grader, or None."""
    if not isinstance(grader.get("tests"), str) or not grader["tests"].strip():
        return "`tests` must be Python code that raises where the answer is wrong"
    try:
        compile(grader["tests"], "tests", "exec")
    except (SyntaxError, ValueError) as error:
        return f"`tests` is not Python: {error}"
    if not all(isinstance(grader.get(key, ""), str) for key in ("before", "entry")):
        return "`before` and `entry` must be texts"
    seconds = grader.get("seconds", 1)
    return None if isinstance(seconds, int | float) and 0 < seconds <= 600 else "`seconds` must be a number up to 600"


def grade_code_runs(grader: Mapping[str, Any], text: str) -> Grade:
    """Run the answer's code and then the tests in a sandbox (see `sandbox`); "seconds" in the grader sets the time limit."""
    limits = Limits(seconds=float(grader.get("seconds", Limits().seconds)))
    outcome = run_sandboxed(_whole(grader, extract_python(text)), grader["tests"], limits)
    return verdict(outcome.passed, _reason(outcome, limits), code_stage=outcome.stage, code_output=outcome.output[:2000])


def extract_python(text: str) -> str:
    """The code of an answer: the last fenced block marked as Python, else the last fenced block, else the whole text.

    A block that was never closed (a cut answer) reaches to the end. Whether it parses is found out in the sandbox.
    """
    blocks = [(match.group(2).lower(), match.group(3)) for match in _FENCE.finditer(text)]
    marked = [code for language, code in blocks if language in _PYTHON]
    return marked[-1] if marked else blocks[-1][1] if blocks else text


def _whole(grader: Mapping[str, Any], code: str) -> str:
    """The code with what stands before it."""
    before, entry = grader.get("before", ""), grader.get("entry", "")
    if not before:
        return code
    start = re.search(rf"^(?:async )?def {re.escape(entry)}\b", before, re.MULTILINE) if entry else None
    if start and re.search(rf"^(?:async )?def {re.escape(entry)}\b", code, re.MULTILINE):
        return f"{before[: start.start()]}\n{code}"
    indented = code if code.startswith((" ", "\t")) or not start else "\n".join(f"    {line}" for line in code.split("\n"))
    return f"{before}\n{indented}"


def _reason(outcome: Outcome, limits: Limits) -> str:
    error = inert(outcome.error)[:200]
    said = {
        "passed": "the code runs and the tests pass",
        "syntax": f"the answer holds no Python that parses: {error}",
        "answer": f"the code raised {error}",
        "tests": f"the tests failed: {error}",
        "time": f"stopped after {limits.seconds:g} s",
        "memory": f"needed more than {limits.memory_mib} MiB of memory",
        "died": f"the interpreter ended without a result: {error}",
    }
    return said[outcome.stage]
