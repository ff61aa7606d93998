"""Observations say what was measured, with the prompts that show it, and nothing where nothing differs."""

from __future__ import annotations

from tests.unit.comparison.cases import record

from tunelab.comparison import Observation, Record, observe
from tunelab.runners import Answer, Prompt


def _texts(*observed: Observation) -> list[str]:
    return [one.text for one in observed]


def test_length_and_json_and_what_was_won() -> None:
    records = [record(f"p{index}", False, True, texts=("Certainly! Here is what you asked for.", '{"a": 1}')) for index in range(3)]
    records.append(record("p3", True, False, "general", ("{}", "{}")))
    observed = {one.text: one.prompt_ids for one in observe(records)}
    assert observed == {
        "Both models gave the same text to 1 of 4 prompts.": ("p3",),
        "The tuned model's answers are shorter: the median is 8 characters, the base model's 38; 3 of 4 prompts show it.":
            ("p0", "p1", "p2"),
        "Answers that are JSON and nothing else: 4 of 4 from the tuned model, 1 of 4 from the base.": ("p0", "p1", "p2"),
        "Only the tuned model passed 3 task prompts: p0, p1, p2.": ("p0", "p1", "p2"),
        "Only the base model passed 1 general prompt: p3.": ("p3",),
    }


def test_cut_and_repeating_answers_are_said_even_where_both_sides_have_them() -> None:
    prompt = Prompt("p1", ({"role": "user", "content": "go"},))
    loop = "round and " * 50
    observed = observe([Record(prompt, Answer("p1", loop, "length"), Answer("p1", loop + "and", "length"))])
    assert _texts(*observed) == ["Answers that are cut off at the token limit: 1 of 1 from the tuned model, 1 of 1 from the base.",
                                 "Answers that are repeating themselves: 1 of 1 from the tuned model, 1 of 1 from the base."]
    assert all(one.prompt_ids == ("p1",) for one in observed)


def test_nothing_is_said_without_answers_or_differences() -> None:
    prompt = Prompt("p1", ({"role": "user", "content": "go"},))
    assert observe([]) == ()
    assert observe([Record(prompt, Answer("p1", "a", "end"), None)]) == ()
    assert observe([Record(prompt, Answer("p1", "", "error"), Answer("p1", "a", "end"))]) == ()
    assert observe([Record(prompt, Answer("p1", "abc", "end"), Answer("p1", "abd", "end"))]) == ()
