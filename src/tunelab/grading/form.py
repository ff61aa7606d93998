"""{"kind": "form", "checks": {"max_words": 30, "bullets": 3, ...}}: what can be told of an answer's form by counting, as an instruction asked for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tunelab.data.languages import language_of
from tunelab.grading.result import Grade, quoted

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]+\S", re.MULTILINE)
_SENTENCE = re.compile(r"[.!?]+(?=\s|\Z)")


def _words(text: str) -> int:
    return len(_WORD.findall(text))


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _sentences(text: str) -> int:
    return max(len(_SENTENCE.findall(text)), 1 if text.strip() else 0)


def _paragraphs(text: str) -> int:
    return len([one for one in re.split(r"\n\s*\n", text) if one.strip()])


# Name -> (type of its value, how it is checked, in words).
_CHECKS: Mapping[str, tuple[type, Callable[[str, Any], bool], str]] = {
    "min_words": (int, lambda text, n: _words(text) >= n, "at least {} words"),
    "max_words": (int, lambda text, n: 0 < _words(text) <= n, "at most {} words"),
    "words": (int, lambda text, n: _words(text) == n, "exactly {} words"),
    "lines": (int, lambda text, n: _lines(text) == n, "exactly {} lines"),
    "sentences": (int, lambda text, n: _sentences(text) == n, "exactly {} sentences"),
    "max_sentences": (int, lambda text, n: 0 < _sentences(text) <= n, "at most {} sentences"),
    "paragraphs": (int, lambda text, n: _paragraphs(text) == n, "exactly {} paragraphs"),
    "bullets": (int, lambda text, n: len(_BULLET.findall(text)) == n, "exactly {} list items"),
    "starts_with": (str, lambda text, part: text.casefold().startswith(part.casefold()), "begins with {}"),
    "ends_with": (str, lambda text, part: text.casefold().endswith(part.casefold()), "ends with {}"),
    "contains": (list, lambda text, parts: all(part.casefold() in text.casefold() for part in parts), "contains {}"),
    "without": (list, lambda text, parts: bool(text) and not any(part.casefold() in text.casefold() for part in parts), "does not contain {}"),
    "upper_case": (bool, lambda text, on: (text == text.upper() and text != text.lower()) is on, "capital letters only: {}"),
    "lower_case": (bool, lambda text, on: (text == text.lower() and text != text.upper()) is on, "small letters only: {}"),
    "language": (str, lambda text, name: language_of(text) == name, "is in {}"),
    "commas": (int, lambda text, n: bool(text) and text.count(",") == n, "exactly {} commas"),
}


def check_form(grader: Mapping[str, Any]) -> str | None:
    """What is wrong with the grader, or None."""
    checks = grader.get("checks")
    if not isinstance(checks, dict) or not checks:
        return "`checks` must be a mapping such as {\"max_words\": 30}"
    for name, value in checks.items():
        if name not in _CHECKS:
            return f"`{name}` is no check; expected some of: {', '.join(_CHECKS)}"
        kind = _CHECKS[name][0]
        if type(value) is not kind or (isinstance(value, list) and not all(isinstance(one, str) and one for one in value)) or value in ("", []):
            return f"`checks.{name}` must be {'a list of texts' if kind is list else {int: 'a whole number', str: 'a text', bool: 'true or false'}[kind]}"
    return None


def grade_form(grader: Mapping[str, Any], text: str) -> Grade:
    """Pass when every check holds; the score is the share that does."""
    stripped, checks = text.strip(), grader["checks"]
    failed = [name for name, value in checks.items() if not _CHECKS[name][1](stripped, value)]
    said = [_CHECKS[name][2].format(", ".join(map(quoted, checks[name])) if isinstance(checks[name], list) else checks[name]) for name in failed]
    facts = {"words": _words(stripped), "sentences": _sentences(stripped)}
    return Grade(not failed, 1 - len(failed) / len(checks), "not met: " + "; ".join(said) if failed else f"all {len(checks)} checks hold", facts)
