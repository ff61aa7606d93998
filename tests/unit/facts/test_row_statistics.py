"""Row lengths from characters."""

from __future__ import annotations

import pytest

from tunelab.facts.row_statistics import row_length


def test_a_conversation_s_answers_carry_loss() -> None:
    row = {"messages": [{"role": "user", "content": "a" * 400}, {"role": "assistant", "content": "b" * 200}]}
    length = row_length(row, "chat_template", False)
    assert length.tokens == pytest.approx(160, abs=2) and length.supervised == pytest.approx(51, abs=1)
    assert row_length(row, "chat_template", True).supervised == length.tokens - 1
    sharegpt = {"conversations": [{"from": "human", "value": "a" * 400}, {"from": "gpt", "value": "b" * 200}]}
    assert row_length(sharegpt, "chat_template", False) == length


def test_columns_with_an_output() -> None:
    length = row_length({"instruction": "a" * 400, "input": "", "output": "b" * 80}, "alpaca", False)
    assert length.supervised == 20 and length.tokens == pytest.approx(155, abs=1)


def test_plain_text_is_trained_on_whole() -> None:
    assert row_length({"text": "word " * 80}, "completion", False) == row_length({"text": "word " * 80}, "", False)
    assert row_length({"text": "word " * 80}, "completion", False).supervised == 99


def test_other_scripts_take_more_tokens_and_odd_values_none() -> None:
    assert row_length({"text": "水" * 100}, "completion", False).tokens == 60
    assert row_length({"text": None, "n": 5, "deep": [[[[[[[["x" * 400]]]]]]]]}, "completion", False).tokens == 1
    assert row_length({}, "alpaca", False).tokens == 1
