"""The scripted runner answers as written, and says so where nothing is written."""

from __future__ import annotations

import pytest

from tunelab.errors import RunnerError
from tunelab.runners import Prompt, Runner, Sampling, ScriptedRunner


def _prompt(prompt_id: str, text: str = "hello") -> Prompt:
    return Prompt(prompt_id, ({"role": "user", "content": text},))


def test_answers_from_a_mapping_in_order() -> None:
    runner: Runner = ScriptedRunner("double", {"a": "one", "b": "two words"})
    answers = list(runner.answer([_prompt("b"), _prompt("a")], Sampling()))
    assert [(answer.prompt_id, answer.text, answer.stop) for answer in answers] == [("b", "two words", "end"), ("a", "one", "end")]
    assert answers[0].prompt_text == "user: hello" and answers[0].new_tokens == 2


def test_answers_from_a_function() -> None:
    runner = ScriptedRunner("echo", lambda prompt: prompt.messages[-1]["content"].upper())
    assert next(runner.answer([_prompt("a", "quiet")], Sampling())).text == "QUIET"


def test_a_long_answer_is_cut_like_a_models() -> None:
    answer = next(ScriptedRunner("long", {"a": "one two three"}).answer([_prompt("a")], Sampling(max_new_tokens=2)))
    assert (answer.text, answer.stop) == ("one two", "length")


def test_a_prompt_without_an_answer_names_itself() -> None:
    with pytest.raises(RunnerError, match="'missing'"):
        list(ScriptedRunner("double", {}).answer([_prompt("missing")], Sampling()))
