"""Which entries of datasets a rule is about."""

from __future__ import annotations

from pathlib import Path

from tests.unit.planning.test_rules import found


def test_rows_of_preferences_are_not_read_as_prompts_and_answers(tmp_path: Path) -> None:
    dataset = "datasets: [{path: a.jsonl, type: chat_template, chat_template_jinja: mine.jinja}]"
    assert "TL332" in found(tmp_path, dataset)
    assert "TL332" not in found(tmp_path, f"rl: dpo\n{dataset}")


def test_the_same_field_under_both_spellings_is_no_conflict(tmp_path: Path) -> None:
    assert "TL331" not in found(tmp_path, "datasets: [{path: a.jsonl, type: chat_template, message_field_role: from, "
                                          "message_property_mappings: {role: from, content: value}}]")


def test_one_made_up_turn_may_be_long_as_the_row_is(tmp_path: Path) -> None:
    assert "TL333" not in found(tmp_path, "datasets: [{path: synthetic, type: _synthetic, sequence_length: 8}]")
    assert "TL333" in found(tmp_path, "datasets: [{path: synthetic, type: _synthetic, sequence_length: 8, input_fraction: 0.5}]")


def test_translation_scores_follow_packing_unless_a_table_is_written(tmp_path: Path) -> None:
    assert "TL733" in found(tmp_path, "do_causal_lm_eval: true\nsample_packing: true")
    assert "TL733" not in found(tmp_path, "do_causal_lm_eval: true\nsample_packing: false")
