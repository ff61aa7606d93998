"""The verdict says what the numbers allow, and "cannot tell" when they do not."""

from __future__ import annotations

import pytest
from tests.unit.comparison.cases import group, record

from tunelab.comparison import GroupVerdict, Record, judge
from tunelab.grading import Grade


def _only(records: list[Record]) -> GroupVerdict:
    verdict = judge(records)
    assert len(verdict.groups) == 1
    return verdict.groups[0]


@pytest.mark.parametrize(("counts", "word", "enough"), [
    ((5, 1, 24, 10), "helped", True), ((5, 24, 1, 10), "hurt", True), ((0, 0, 6, 0), "helped", True), ((0, 0, 5, 0), "cannot tell", False),
    ((40, 0, 0, 0), "no difference seen", True), ((0, 0, 0, 40), "no difference seen", True), ((20, 0, 0, 0), "cannot tell", False),
    ((100, 10, 10, 80), "no difference seen", True), ((10, 8, 12, 10), "cannot tell", False), ((8, 0, 0, 0), "cannot tell", False),
])
def test_the_word(counts: tuple[int, int, int, int], word: str, enough: bool) -> None:
    judged = _only(group(*counts))
    assert (judged.word, judged.enough) == (word, enough)
    assert judged.sentence.lower().startswith(word)


def test_the_numbers() -> None:
    judged = _only(group(5, 1, 24, 10))
    assert (judged.n, judged.base_rate, judged.tuned_rate, judged.difference) == (40, 6 / 40, 29 / 40, 23 / 40)
    assert (len(judged.won), judged.lost, judged.tied, judged.ungraded) == (24, ("t6",), 15, 0)
    assert judged.base_interval[0] < judged.base_rate < judged.base_interval[1]
    assert judged.difference_interval[0] < judged.difference < judged.difference_interval[1]
    assert judged.sentence == ("Helped: of 40 task prompts the base model passed 6 (15 %), the tuned model 29 (72 %): +57 points "
                               "(95 % interval +37 to +71; p < 0.001); 24 won (t7, t8, t9, t10, t11, ...), 1 lost (t6).")


def test_few_general_prompts_cannot_show_no_harm_but_the_lost_are_named() -> None:
    judged = _only(group(7, 1, 0, 0, "general"))
    assert judged.word == "cannot tell" and not judged.enough and judged.lost == ("g8",)
    assert "1 lost (g8)" in judged.sentence and "8 are too few: about" in judged.sentence
    assert "no harm" not in judged.sentence and "no difference" not in judged.sentence


def test_groups_are_judged_apart_the_task_first() -> None:
    verdict = judge([*group(8, 0, 0, 0, "general"), *group(0, 0, 30, 0)])
    assert [one.group for one in verdict.groups] == ["task", "general"]
    task, general = verdict.group("task"), verdict.group("general")
    assert task and general and (task.word, general.word) == ("helped", "cannot tell")
    assert verdict.group("other") is None and judge([]).groups == ()


def test_what_is_not_graded_on_both_sides_does_not_count() -> None:
    judged = _only([record("a", None, True), record("b", True, None)])
    assert (judged.n, judged.ungraded, judged.word) == (0, 2, "cannot tell")
    assert judged.sentence == "Cannot tell: no task prompt is graded on both sides."
    assert _only([*group(0, 0, 9, 0), record("x", None, None)]).n == 9


def test_scores_with_shades_get_means_and_an_interval() -> None:
    def scored(index: int) -> Record:
        one = record(str(index), False, index % 2 == 0)
        return Record(one.prompt, one.base, one.tuned, Grade(False, 0.25, ""), Grade(index % 2 == 0, 0.5 + index % 2 / 4, ""))

    judged = _only([scored(index) for index in range(20)])
    assert judged.score_base == 0.25 and judged.score_tuned == pytest.approx(0.625)
    assert judged.score_interval and 0.25 < judged.score_interval[0] < 0.375 < judged.score_interval[1] < 0.5
    assert _only(group(1, 1, 1, 1)).score_interval is None
