"""Records made by hand for the tests of this room."""

from __future__ import annotations

from tunelab.comparison import Record
from tunelab.grading import Grade
from tunelab.runners import Answer, Prompt


def record(prompt_id: str, base: bool | None, tuned: bool | None, group: str = "task", texts: tuple[str, str] = ("a", "b")) -> Record:
    """A record whose two answers have passed, failed or (None) not been judged."""
    prompt = Prompt(prompt_id, ({"role": "user", "content": prompt_id},), None, group)
    grades = [Grade(passed, None if passed is None else float(passed), "by hand") for passed in (base, tuned)]
    return Record(prompt, Answer(prompt_id, texts[0], "end"), Answer(prompt_id, texts[1], "end"), grades[0], grades[1])


def group(both: int, only_base: int, only_tuned: int, neither: int, name: str = "task") -> list[Record]:
    """Records with these counts of outcomes."""
    outcomes = [(True, True)] * both + [(True, False)] * only_base + [(False, True)] * only_tuned + [(False, False)] * neither
    return [record(f"{name[0]}{index}", base, tuned, name) for index, (base, tuned) in enumerate(outcomes, start=1)]
