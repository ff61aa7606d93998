"""{"kind": "exact", "expected": str}: the answer is the expected text, but for space around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunelab.grading.result import Grade, quoted, verdict


def check_exact(grader: Mapping[str, Any]) -> str | None:
    """What is wrong with the grader, or None."""
    return None if isinstance(grader.get("expected"), str) else "`expected` must be a text"


def grade_exact(grader: Mapping[str, Any], text: str) -> Grade:
    """Compare after stripping."""
    expected, found = grader["expected"].strip(), text.strip()
    if found == expected:
        return verdict(True, "the answer is the expected text")
    if not found:
        return verdict(False, f"expected {quoted(expected)}, the answer is empty")
    if found.casefold() == expected.casefold():
        return verdict(False, f"expected {quoted(expected)}, found {quoted(found)}: only upper and lower case differ")
    if expected and expected in found:
        return verdict(False, f"expected {quoted(expected)} alone, found it inside {len(found)} characters")
    at = next((index for index, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other),
              min(len(expected), len(found)))
    start = max(0, at - 20) if at > 30 else 0
    before = "..." if start else ""
    return verdict(False, f"expected {before}{quoted(expected[start:])}, found {before}{quoted(found[start:])}", first_difference=at)
