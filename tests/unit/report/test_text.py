"""Text and numbers: what is hidden becomes visible, differences point at words, and rounding does not pretend."""

from __future__ import annotations

import math

import pytest

from tunelab.report import numbers
from tunelab.report.content import Piece
from tunelab.report.text import differences, is_long, one_line, shown_pieces, visible


@pytest.mark.parametrize(("text", "shown"), [
    ("a\x1b[0m", "a␛[0m"), ("a\u202eb", "a⟨U+202E⟩b"), ("\ud800", "⟨U+D800⟩"), ("a\r\nb\rc", "a\nb␍c"), ("tab\there\n", "tab\there\n"),
    ("👩‍👧 שלום é", "👩‍👧 שלום é"), ("a\u200bb\xadc", "a⟨U+200B⟩b⟨U+00AD⟩c"), ("\U000e0041", "⟨U+E0041⟩")])
def test_hidden_characters_are_written_out_and_others_stay(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_differences_mark_words_and_lose_none_of_the_answer() -> None:
    expected, answer = '{"to": "Amara", "text": "here"}', '{"to": "Tamara", "text": "here"}\n'
    parts = differences(answer, expected)
    assert "".join(part.text for part in parts if part.mark != "missing") == answer
    assert [part.text for part in parts if part.mark == "missing"] == ["Amara"]
    assert [part.text for part in parts if part.mark == "extra"] == ["Tamara", "\n"]


@pytest.mark.parametrize(("answer", "expected"), [
    ("Sure, I can help with that!", '{"call": "light"}'), ("x y " * 5000, "x y z"), ("abc", None), ("abc", "")])
def test_answers_without_a_close_expectation_are_left_plain(answer: str, expected: str | None) -> None:
    (part,) = differences(answer, expected)
    assert part.text == answer and part.mark == "same"


def test_no_answer_has_no_stretch() -> None:
    assert differences("", "abc") == ()


def test_line_ends_tabs_and_trailing_spaces_are_shown() -> None:
    pieces = (Piece("a  ", "context"), Piece("b ", "trained"), Piece("\n", "trained"), Piece("c \n\td ", "trained"))
    assert [piece.text for piece in shown_pieces(pieces)] == ["a··", "b·", "↵\n", "c·↵\n⇥d·"]
    assert [piece.text for piece in shown_pieces((Piece("the ", "trained"), Piece("end", "trained")))] == ["the ", "end"]
    assert [piece.text for piece in shown_pieces((Piece("a   b\xa0c ", "context", (1, 2)), Piece(" d", "context")))] == ["a···b⍽c·", " d"]


def test_one_line_says_when_it_is_cut() -> None:
    assert one_line("a\n b") == "a b"
    assert one_line("x" * 200, 10) == "x" * 10 + " …"
    assert is_long("x" * 5000) and is_long("\n" * 40) and not is_long("short")


@pytest.mark.parametrize(("shown", "text"), [
    (numbers.size(1_331_439_862), "1.33 GB"), (numbers.size(999), "999 B"), (numbers.size(None), "–"), (numbers.size(999_700), "1 MB"),
    (numbers.duration(0.42), "0.42 s"), (numbers.duration(252.4), "4 min 12 s"), (numbers.duration(59.7), "1 min"),
    (numbers.duration(7500), "2 h 5 min"), (numbers.percent(0.975), "97.5 %"), (numbers.percent(1.0), "100 %"),
    (numbers.percent(0.9997), "100.0 %"), (numbers.points(0.85), "+85 points"), (numbers.points(-1 / 3), "−33.3 points"),
    (numbers.points(0.0), "0 points"), (numbers.times(1.0), "exact"), (numbers.times(1.0001), "1.000×"), (numbers.times(2.765), "2.77×"),
    (numbers.p_value(1.2e-19), "< 0.0001"), (numbers.p_value(0.034), "0.034"), (numbers.p_value(1.0), "1.00"),
    (numbers.loss(math.nan), "not a number"), (numbers.count(12345), "12,345"), (numbers.figures(0.0002), "0.0002"),
    (numbers.figures(math.inf), "inf"), (numbers.by_unit(90, "seconds"), "1 min 30 s")])
def test_numbers_read_as_people_write_them(shown: str, text: str) -> None:
    assert shown == text
