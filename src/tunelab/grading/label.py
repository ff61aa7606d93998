"""{"kind": "label", "expected": "positive", "labels": ["positive", "negative"]}: the answer names that label and no other one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunelab.grading.result import Grade, quoted, verdict


def check_label(grader: Mapping[str, Any]) -> str | None:
    """What is wrong with the grader, or None."""
    labels = grader.get("labels")
    if not isinstance(labels, list) or len(labels) < 2 or not all(isinstance(one, str) and one.strip() for one in labels):
        return "`labels` must be a list of two texts or more"
    return None if grader.get("expected") in labels else "`expected` must be one of `labels`"


def grade_label(grader: Mapping[str, Any], text: str) -> Grade:
    """Facts: `label`, the one that the answer names, "" for none or several: what a confusion table is made from."""
    found = named_labels(text, grader["labels"])
    said = found[0] if len(found) == 1 else ""
    if said:
        reason = f"the answer is {quoted(said)}" if said == grader["expected"] else f"expected {quoted(grader['expected'])}, the answer is {quoted(said)}"
    else:
        reason = "the answer names none of the labels" if not found else "the answer names " + " and ".join(quoted(one) for one in found)
    return verdict(said == grader["expected"], reason, label=said, expected_label=grader["expected"])


def named_labels(text: str, labels: Sequence[str]) -> list[str]:
    """The labels that stand in a text as words of their own, capitals aside; one inside a longer one ("positive" in "very positive") not."""
    folded, taken, found = text.casefold(), [False] * (len(text.casefold()) + 1), []
    for label in sorted(labels, key=len, reverse=True):
        for match in re.finditer(rf"(?<!\w){re.escape(label.casefold())}(?!\w)", folded):
            if not taken[match.start()]:
                taken[match.start():match.end()] = [True] * (match.end() - match.start())
                found.append(label)
    return [label for label in labels if label in found]
