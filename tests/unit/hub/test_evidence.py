"""Candidates for a field: the same value joined, witnesses counted, the surest first."""

from __future__ import annotations

from tunelab.hub.evidence import NOT_STATED, QUOTE, Candidate, Evidence, ranked

META, TEXT, TAG = (Evidence(kind, "x", "README.md", 3) for kind in ("card metadata", "card text", "tag"))


def test_independent_witnesses_make_a_value_surer() -> None:
    answer = ranked([Candidate("Org/X", 0.8, (META,)), Candidate("org/x", 0.6, (TEXT,)), Candidate("other", 0.85, (TAG,))])
    assert [one.value for one in answer.candidates] == ["Org/X", "other"]
    best = answer.candidates[0]
    assert best.confidence == 0.86  # 1 - 0.2 * (1 - 0.6 / 2)
    assert best.evidence == (META, TEXT)


def test_the_same_source_twice_is_one_witness() -> None:
    twice = ranked([Candidate("x", 0.6, (TEXT,)), Candidate("x", 0.6, (Evidence("card text", "again", "README.md", 9),))])
    assert twice.candidates[0].confidence == 0.6 and len(twice.candidates[0].evidence) == 2


def test_a_hint_is_not_stated() -> None:
    assert ranked([Candidate("x", 0.4, (TEXT,))]).value is None
    assert NOT_STATED.values == ()


def test_one_value_or_many() -> None:
    two = [Candidate("a", 0.9, (TEXT,)), Candidate("b", 0.7, (TEXT,)), Candidate("c", 0.2, (TEXT,))]
    assert ranked(two).values == ("a",)
    assert ranked(two, many=True).values == ("a", "b")


def test_quotes_are_one_line_and_bounded() -> None:
    assert Evidence("card text", "a\n  b" + "c" * 999).quote.startswith("a b") and len(Evidence("card text", "c" * 999).quote) == QUOTE
