"""{"kind": "contains", "any": [...]} or {"kind": "contains", "all": [...]}: texts that must stand in the answer, in any case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunelab.grading.result import Grade, quoted, verdict


def check_contains(grader: Mapping[str, Any]) -> str | None:
    """What is wrong with the grader, or None."""
    given = [key for key in ("any", "all") if key in grader]
    if len(given) != 1:
        return "expected either `any` or `all`"
    wanted = grader[given[0]]
    if not isinstance(wanted, list) or not wanted or not all(isinstance(one, str) and one for one in wanted):
        return f"`{given[0]}` must be a list of texts"
    return None


def grade_contains(grader: Mapping[str, Any], text: str) -> Grade:
    """Pass when one of `any`, or each of `all`, is found."""
    folded = text.casefold()
    wanted: list[str] = grader.get("any") or grader["all"]
    found = [one for one in wanted if one.casefold() in folded]
    missing = [one for one in wanted if one not in found]
    if "any" in grader:
        reason = f"found {quoted(found[0])}" if found else "found none of " + ", ".join(quoted(one) for one in wanted)
        return verdict(bool(found), reason, found=found)
    reason = f"found all {len(wanted)}" if not missing else "missing: " + ", ".join(quoted(one) for one in missing)
    return Grade(not missing, len(found) / len(wanted), reason, {"found": found})
