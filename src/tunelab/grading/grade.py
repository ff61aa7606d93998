"""`grade`: one answer and its grader -> a Grade. The table of graders is here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tunelab.errors import MissingPartError, UsageError
from tunelab.grading.code_runs import check_code_runs, grade_code_runs
from tunelab.grading.contains import check_contains, grade_contains
from tunelab.grading.exact import check_exact, grade_exact
from tunelab.grading.form import check_form, grade_form
from tunelab.grading.json_call import check_json, grade_json
from tunelab.grading.label import check_label, grade_label
from tunelab.grading.measures import measure
from tunelab.grading.regex_match import check_regex, grade_regex
from tunelab.grading.result import Grade, inert
from tunelab.grading.similarity import check_similarity, grade_similarity

_Check = Callable[[Mapping[str, Any]], str | None]
_Grader = Callable[[Mapping[str, Any], str], Grade]
_GRADERS: Mapping[str, tuple[_Check, _Grader]] = {
    "exact": (check_exact, grade_exact),
    "json": (check_json, grade_json),
    "contains": (check_contains, grade_contains),
    "regex": (check_regex, grade_regex),
    "label": (check_label, grade_label),
    "form": (check_form, grade_form),
    "similarity": (check_similarity, grade_similarity),
    "code-runs": (check_code_runs, grade_code_runs),
}


def kinds() -> tuple[str, ...]:
    """The kinds of grader that there are."""
    return tuple(_GRADERS)


def check_grader(grader: Mapping[str, Any], prompt_id: str) -> None:
    """Raise UsageError, naming the prompt, when the grader is of no known kind or lacks what its kind needs."""
    kind = grader.get("kind") if isinstance(grader, Mapping) else None
    if not isinstance(kind, str) or kind not in _GRADERS:
        raise UsageError(f"The grader's kind is {kind!r}; expected one of: {', '.join(_GRADERS)}.", where=f"prompt {prompt_id!r}")
    problem = _GRADERS[kind][0](grader)
    if problem:
        raise UsageError(f"The grader of kind {kind!r} is malformed: {problem}.", where=f"prompt {prompt_id!r}")


def grade(grader: Mapping[str, Any] | None, prompt_id: str, answer_text: str, stop: str) -> Grade:
    """Judge one answer; the same answer gets the same grade. `stop` is how it ended ("end", "length", "error").

    Without a grader, and for an answer that is an error, only facts are given. A grader that crashes is contained: `passed` is None
    and the reason says so. Raises UsageError for a grader that is malformed.
    """
    facts = measure(answer_text, stop)
    if grader is None:
        return Grade(None, None, "no grader", facts)
    check_grader(grader, prompt_id)
    if stop == "error":
        return Grade(None, None, "there is no answer to judge", facts)
    try:
        judged = _GRADERS[grader["kind"]][1](grader, answer_text)
    except MissingPartError:
        raise
    except Exception as error:  # an answer must not be able to stop the comparison
        return Grade(None, None, f"the grader failed: {type(error).__name__}: {inert(str(error))[:200]}", facts)
    return dataclasses.replace(judged, facts={**facts, **judged.facts})
