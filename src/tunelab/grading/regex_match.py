"""{"kind": "regex", "pattern": "..."}: the pattern is found in the answer; "whole": true: it is the whole answer; "ignore_case", "absent" likewise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tunelab.errors import needs
from tunelab.grading.result import Grade, quoted, verdict

SECONDS = 2.0
"""A pattern that takes longer on an answer is stopped: the answer is then not judged."""
_OPTIONS = ("whole", "ignore_case", "absent")


def check_regex(grader: Mapping[str, Any]) -> str | None:
    """What is wrong with the grader, or None."""
    if not isinstance(grader.get("pattern"), str) or not grader["pattern"]:
        return "`pattern` must be a regular expression"
    try:
        re.compile(grader["pattern"])
    except (re.error, RecursionError, OverflowError) as error:
        return f"`pattern` is not a regular expression: {error}"
    wrong = [key for key in _OPTIONS if not isinstance(grader.get(key, False), bool)]
    return f"`{wrong[0]}` must be true or false" if wrong else None


def grade_regex(grader: Mapping[str, Any], text: str) -> Grade:
    """Search within SECONDS. Raises TimeoutError beyond, which `grade` turns into "the grader failed"."""
    with needs("grade", "The grader `regex`"):
        import regex
    pattern = regex.compile(grader["pattern"], regex.MULTILINE | (regex.IGNORECASE if grader.get("ignore_case") else 0))
    find = pattern.fullmatch if grader.get("whole") else pattern.search
    found = find(text.strip() if grader.get("whole") else text, timeout=SECONDS)
    if grader.get("absent"):
        return verdict(found is None, "the pattern is not there" if found is None else f"found {quoted(found.group())}, which must not be there")
    return verdict(found is not None, f"found {quoted(found.group())}" if found else "the pattern is not there")
