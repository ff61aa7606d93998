"""Facts measured of every answer."""

from __future__ import annotations

import random

import pytest

from tunelab.data.languages import UNSURE
from tunelab.grading import grade
from tunelab.grading.measures import is_repeated, measure


def test_length_and_form() -> None:
    assert measure("  one\ntwo \n", "end") == {"characters": 7, "lines": 2, "starts_with_code": False, "is_json": False,
                                               "cut_by_length": False, "repeated": False, "refusal": False, "empty": False,
                                               "language": UNSURE}
    assert measure("", "end")["lines"] == 0
    assert measure("abc", "length")["cut_by_length"] is True


@pytest.mark.parametrize("text", ["```python\nx\n```", "def f(x):\n  return x", "import os\n", "from a.b import c", "#!/bin/sh",
                                  "class A: pass", "SELECT * FROM t", "function go() {"])
def test_code_from_the_start(text: str) -> None:
    assert measure(text, "end")["starts_with_code"] is True


@pytest.mark.parametrize("text", ["Here is the code:\n```\nx\n```", "Import taxes are high.", "from here on", "classes begin at nine"])
def test_prose_is_not_code(text: str) -> None:
    assert measure(text, "end")["starts_with_code"] is False


@pytest.mark.parametrize(("text", "expected"), [('{"a": 1}', True), (" [1]\n", True), ("42", False), ('{"a": 1} ok', False),
                                                ("[" * 9999, False)])
def test_json(text: str, expected: bool) -> None:
    assert measure(text, "end")["is_json"] is expected


def test_repeated_words() -> None:
    sentence = "the quick brown fox jumps over the lazy dog. "
    assert is_repeated(f"{sentence}And {sentence}but {sentence}") is True
    assert is_repeated(f"{sentence}And {sentence}") is False


def test_a_loop_at_the_end() -> None:
    assert is_repeated("Something first. " + "ab" * 200) is True
    assert is_repeated("x" * 199) is False
    words = random.Random(0)
    assert is_repeated("".join(words.choice("abcdefgh ") for _ in range(2000))) is False


def test_every_grade_has_the_facts() -> None:
    judged = grade({"kind": "contains", "any": ["a"]}, "p1", "a", "length")
    assert judged.facts["cut_by_length"] is True and judged.facts["found"] == ["a"]


@pytest.mark.parametrize(("text", "refuses"), [
    ("I'm sorry, but I can't help with that.", True), ("As an AI language model, I have no opinions.", True), ("I cannot do this.", True),
    ("Es tut mir leid, das geht nicht.", True), ("抱歉,我不能。", True), ("I can do this: first ...", False), ("She is sorry.", False), ("", False)])
def test_refusals(text: str, refuses: bool) -> None:
    assert measure(text, "end")["refusal"] is refuses


def test_the_language_of_an_answer() -> None:
    assert measure("Die Fähre fährt heute nicht, weil das Wetter schlecht ist und der Wind zu stark.", "end")["language"] == "German"
    assert measure("", "end")["empty"] is True
