"""What went wrong with single answers is said once for each side and kind."""

from tunelab.comparison.oddities import oddities
from tunelab.comparison.record import Record
from tunelab.grading import Grade
from tunelab.runners.prompt import Answer, Prompt


def record(name: str, **details: object) -> Record:
    prompt = Prompt(name, ({"role": "user", "content": "hi"},))
    grade = Grade(None, None, "")
    return Record(prompt, Answer(name, "a", "end"), Answer(name, "b", "end", details=dict(details)), grade, grade)


def test_nothing_odd_says_nothing() -> None:
    assert oddities([record("a"), Record(Prompt("b", ()))]) == ()


def test_each_kind_is_said_with_how_many_the_first_and_why() -> None:
    found = oddities([record("a", truncated="150 tokens of 600"), record("b", truncated="x"), record("c", error="the prompt is empty"),
                      record("d", truncated=True)])
    assert found == ("The tuned model got only a part of 3 prompts, the first is 'a': 150 tokens of 600.",
                     "The tuned model gave no answer to the prompt 'c': the prompt is empty.")
