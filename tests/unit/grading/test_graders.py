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
    assert kinds() == ("exact", "json", "contains", "regex", "label", "form", "similarity", "code-runs")


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
    {"kind": "json", "schema": {}, "expected": 1}, {"kind": "json", "schema": {"type": "nonsense"}}, {"kind": "json", "schema": 3},
    {"kind": "regex"}, {"kind": "regex", "pattern": "("}, {"kind": "regex", "pattern": "a", "whole": 1},
    {"kind": "label", "labels": ["a"], "expected": "a"}, {"kind": "label", "labels": ["a", "b"], "expected": "c"},
    {"kind": "form", "checks": {}}, {"kind": "form", "checks": {"vibes": 1}}, {"kind": "form", "checks": {"words": True}},
    {"kind": "form", "checks": {"contains": "x"}}, {"kind": "similarity", "metric": "bert", "references": ["a"]},
    {"kind": "similarity", "metric": "chrf", "references": [], "at_least": 0.5},
    {"kind": "similarity", "metric": "chrf", "references": ["a"], "at_least": 3}, {"kind": "code-runs"},
    {"kind": "code-runs", "tests": "assert ("}, {"kind": "code-runs", "tests": "assert 1", "seconds": 0},
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


def test_json_that_fits_a_schema() -> None:
    schema = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    assert _grade('{"name": "Ida", "age": 3}', kind="json", schema=schema).passed is True
    wrong = _grade('{"name": "Ida", "age": "three"}', kind="json", schema=schema)
    assert (wrong.passed, wrong.score) == (False, 0.5) and "at age" in wrong.reason
    assert _grade("name: Ida", kind="json", schema=schema).score == 0
    fetching = _grade("{}", kind="json", schema={"$ref": "http://127.0.0.1:9/schema.json"})
    assert fetching.passed is None and "failed" in fetching.reason


@pytest.mark.parametrize(("grader", "passed"), [
    ({"pattern": r"\b42\b"}, True), ({"pattern": r"\b4\b"}, False), ({"pattern": "it is", "ignore_case": True}, True), ({"pattern": "it is"}, False),
    ({"pattern": r"It is 42\.", "whole": True}, True), ({"pattern": "42", "whole": True}, False), ({"pattern": "43", "absent": True}, True)])
def test_regex(grader: dict[str, Any], passed: bool) -> None:
    assert _grade("It is 42.\n", kind="regex", **grader).passed is passed


def test_a_pattern_that_would_take_for_ever_is_stopped() -> None:
    judged = _grade("a" * 5000 + "!", kind="regex", pattern="(a|aa)+$")
    assert judged.passed in (None, False)


@pytest.mark.parametrize(("text", "said"), [
    ("Positive.", "positive"), ("The sentiment is **negative**", "negative"), ("positive or negative?", ""), ("dunno", ""), ("unpositive", ""),
    ("very positive", "very positive")])
def test_label(text: str, said: str) -> None:
    judged = _grade(text, kind="label", labels=["positive", "negative", "very positive"], expected="positive")
    assert judged.facts["label"] == said and judged.passed is (said == "positive")


@pytest.mark.parametrize(("checks", "passed"), [
    ({"max_words": 9, "sentences": 2}, True), ({"max_words": 3}, False), ({"words": 9}, True), ({"starts_with": "the ferry", "ends_with": "noon."}, True),
    ({"contains": ["ferry", "NOON"]}, True), ({"without": ["train"], "commas": 0}, True), ({"without": ["Ferry"]}, False), ({"bullets": 2}, False),
    ({"lower_case": True}, False), ({"upper_case": False}, True), ({"paragraphs": 1, "lines": 1}, True), ({"min_words": 10}, False)])
def test_form(checks: dict[str, Any], passed: bool) -> None:
    assert _grade("The ferry is late. It leaves only at noon.", kind="form", checks=checks).passed is passed


def test_form_of_lists_and_shades() -> None:
    judged = _grade("- one\n* two\n3. three\n", kind="form", checks={"bullets": 3, "lines": 3, "contains": ["four"]})
    assert judged.score == pytest.approx(2 / 3) and judged.reason == "not met: contains 'four'"
    assert _grade("", kind="form", checks={"max_words": 3, "without": ["x"]}).passed is False


@pytest.mark.parametrize("metric", ["rouge-1", "rouge-2", "rouge-l", "chrf", "bleu"])
def test_similarity(metric: str) -> None:
    grader = {"kind": "similarity", "metric": metric, "references": ["nothing like it", "the ferry to the island leaves at noon"], "at_least": 0.9}
    same = grade(grader, "p", "the ferry to the island leaves at noon", "end")
    other = grade(grader, "p", "bananas", "end")
    assert same.passed and same.score == 1.0
    assert other.score is not None and other.score < 0.3 and not other.passed
    assert grade(grader, "p", "", "end").score == 0.0
