"""Each grader: what passes, what fails, and that the reason says what was expected and what was found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunelab.errors import UsageError
from tunelab.grading import Grade, check_grader, grade, kinds


def _grade(text: str, **grader: Any) -> Grade:
    return grade(grader, "p1", text, "end")


def test_kinds() -> None:
    assert kinds() == ("exact", "json", "contains", "code-runs")


@pytest.mark.parametrize(("text", "passed", "reason"), [
    (" Paris\n", True, "the answer is the expected text"),
    ("paris", False, "expected 'Paris', found 'paris': only upper and lower case differ"),
    ("It is Paris.", False, "expected 'Paris' alone, found it inside 12 characters"),
    ("London", False, "expected 'Paris', found 'London'"),
    ("", False, "expected 'Paris', the answer is empty"),
])
def test_exact(text: str, passed: bool, reason: str) -> None:
    judged = _grade(text, kind="exact", expected="Paris")
    assert (judged.passed, judged.score, judged.reason) == (passed, float(passed), reason)


def test_exact_shows_where_long_texts_part() -> None:
    judged = _grade("x" * 100 + "NO", kind="exact", expected="x" * 100 + "yes")
    assert judged.facts["first_difference"] == 100 and "NO'" in judged.reason and len(judged.reason) < 120


CALL = {"call": "book", "room": "blue", "days": 3}


@pytest.mark.parametrize(("text", "passed", "score", "reason"), [
    (json.dumps(CALL), True, 1.0, "the answer is the expected JSON value"),
    ('{"days":3,"room":"blue","call":"book"}', True, 1.0, "the answer is the expected JSON value, written differently"),
    ('{"call": "book", "room": "blue", "days": 3.0}', True, 1.0, "the answer is the expected JSON value, written differently"),
    ('{"call": "book", "room": "blue"}', False, 2 / 3, "expected 3 keys, found 2: 'days' is missing"),
    ('{"call": "book", "room": "blue", "days": 4}', False, 2 / 3, "expected 3 at days, found 4"),
    ('{"call": "book", "room": "blue", "days": "3"}', False, 2 / 3, "expected a number at days, found a text"),
    ('{"call": "book", "room": "blue", "days": true}', False, 2 / 3, "expected a number at days, found true or false"),
    ('{"call": "book", "room": "blue", "days": 3, "x": 1}', False, 2.5 / 3, "expected 3 keys, found 4: 'x' is too much"),
    ("[1]", False, 0.0, "expected an object, found a list"),
    ("", False, 0.0, "the answer is empty, expected JSON"),
    ('```json\n{"call": 1}\n```', False, 0.0, "the answer is not JSON alone: the JSON stands inside a code fence"),
    ('{"call": 1} Enjoy!', False, 0.0, "the answer is not JSON alone: after the JSON comes 'Enjoy!'"),
    ('{"call": ', False, 0.0, "not JSON at character 10: expecting value"),
    ('{"call": NaN}', False, 0.0, "not JSON: NaN is not a JSON value"),
])
@pytest.mark.parametrize("expected", [CALL, json.dumps(CALL)], ids=["value", "text"])
def test_json_with_expected(text: str, passed: bool, score: float, reason: str, expected: object) -> None:
    judged = _grade(text, kind="json", expected=expected)
    assert (judged.passed, judged.score, judged.reason) == (passed, pytest.approx(score), reason)


def test_json_reports_the_strict_string_and_the_value() -> None:
    loose = _grade('{"a":1}', kind="json", expected='{"a": 1}')
    assert (loose.passed, loose.facts["exact_text"], loose.facts["equal_value"]) == (True, False, True)
    strict = _grade('{"a": 1}\n', kind="json", expected='{"a": 1}')
    assert (strict.facts["exact_text"], strict.facts["equal_value"]) == (True, True)


def test_json_inside_lists_and_objects() -> None:
    assert _grade('{"a": [1, {"b": 2}]}', kind="json", expected={"a": [1, {"b": 3}]}).reason == "expected 3 at a[1].b, found 2"
    assert _grade('{"a": [1]}', kind="json", expected={"a": [1, 2]}).reason == "expected 2 items at a, found 1"


def test_json_alone_means_that_it_parses() -> None:
    assert _grade("[1, 2]", kind="json").passed is True
    assert _grade("hello", kind="json").passed is False


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 100_000, '{"a":' * 50_000])
def test_json_that_attacks_the_parser_only_fails(text: str) -> None:
    assert _grade(text, kind="json").passed is False


@pytest.mark.parametrize(("grader", "passed", "score"), [
    ({"any": ["berlin", "Paris"]}, True, 1.0), ({"any": ["rome"]}, False, 0.0),
    ({"all": ["paris", "FRANCE"]}, True, 1.0), ({"all": ["paris", "rome", "bern", "oslo"]}, False, 0.25),
])
def test_contains(grader: dict[str, Any], passed: bool, score: float) -> None:
    judged = _grade("Paris is in France.", kind="contains", **grader)
    assert (judged.passed, judged.score) == (passed, score)


def test_contains_names_what_is_missing() -> None:
    assert _grade("a", kind="contains", all=["a", "b"]).reason == "missing: 'b'"
    assert _grade("a", kind="contains", any=["b", "c"]).reason == "found none of 'b', 'c'"


@pytest.mark.parametrize("grader", [
    {}, {"kind": "vibes"}, {"kind": ["exact"]}, {"kind": "exact"}, {"kind": "exact", "expected": 3}, {"kind": "contains"},
    {"kind": "contains", "any": []}, {"kind": "contains", "any": ["a"], "all": ["b"]}, {"kind": "contains", "all": "abc"},
    {"kind": "json", "schema": {}}, {"kind": "code-runs"}, {"kind": "code-runs", "tests": "assert ("},
    {"kind": "code-runs", "tests": "assert 1", "seconds": 0},
])
def test_a_malformed_grader_names_its_prompt(grader: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="'p7'"):
        check_grader(grader, "p7")
    with pytest.raises(UsageError, match="'p7'"):
        grade(grader, "p7", "text", "end")


def test_no_grader_and_no_answer_are_not_judged() -> None:
    assert grade(None, "p1", "text", "end").passed is None
    judged = grade({"kind": "exact", "expected": ""}, "p1", "", "error")
    assert (judged.passed, judged.score, judged.reason) == (None, None, "there is no answer to judge")


def test_a_grader_that_crashes_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunelab.grading import grade as module_function
    from tunelab.grading.exact import check_exact

    def broken(grader: object, text: str) -> Grade:
        raise RuntimeError("\x1b[31mred")

    table = module_function.__globals__["_GRADERS"]
    monkeypatch.setitem(table, "exact", (check_exact, broken))
    judged = _grade("text", kind="exact", expected="text")
    assert (judged.passed, judged.score) == (None, None)
    assert judged.reason == r"the grader failed: RuntimeError: \x1b[31mred" and judged.facts["characters"] == 4


def test_escape_codes_stay_inert_in_reasons() -> None:
    hostile = "\x1b]0;owned\x07\u202e\r\ud800"
    for grader in ({"kind": "exact", "expected": "a"}, {"kind": "json"}, {"kind": "json", "expected": {"k": "v"}}):
        for text in (hostile, json.dumps({hostile: 1}), json.dumps({"k": hostile}), "1 " + hostile):
            assert grade(grader, "p1", text, "end").reason.isprintable()
