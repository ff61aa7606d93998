"""Settings of datasets that nothing reads, or that nothing reads for these rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.planning.test_rules import found

from tunelab.config.finding import Severity


def entry(text: str) -> str:
    return f"datasets: [{{path: a.jsonl, {text}}}]"


def test_a_written_seed_fixes_the_part(tmp_path: Path) -> None:
    part = entry("type: alpaca, shards: 10")
    assert found(tmp_path, part)["TL391"].safe
    assert "TL391" not in found(tmp_path, f"seed: 1\n{part}")
    assert "TL391" not in found(tmp_path, entry("type: alpaca, shards: 1, weight: 1.0"))


@pytest.mark.parametrize(("text", "key"), [
    ("type: alpaca_chat, conversation: instruct", None), ("type: alpaca_chat.load_qa, conversation: instruct", "conversation"),
    ("type: messages, field_messages: turns", None), ("type: bradley_terry.chat_template, roles: {user: [human]}", None),
    ("type: bradley_terry.chat_template, train_on_eot: all", "train_on_eot"), ("type: 'gpteacher:chat', split_thinking: true", "split_thinking"),
    ("type: mine.own_strategy, train_on_eos: all", None), ("type: chat_template, logprobs_field: p", "logprobs_field")])
def test_each_type_reads_its_own_keys(text: str, key: str | None, tmp_path: Path) -> None:
    finding = found(tmp_path, entry(text)).get("TL394")
    assert (finding.key if finding else None) == (f"datasets[0].{key}" if key else None)


def test_one_rule_says_it_for_the_types_that_are_read_here(tmp_path: Path) -> None:
    findings = found(tmp_path, entry("type: alpaca, field_messages: turns"))
    assert "TL305" in findings and "TL394" not in findings


def test_only_files_have_no_hub_options(tmp_path: Path) -> None:
    options = "type: alpaca, name: clean, revision: main"
    assert "TL397" in found(tmp_path, entry(options))
    assert {"TL397", "TL398"}.isdisjoint(found(tmp_path, f"datasets: [{{path: org/rows, {options}, split: test}}]"))
    assert {"TL397", "TL398"}.isdisjoint(found(tmp_path, f"datasets: [{{path: ./data, {options}, split: test}}]"))


def test_a_slice_of_a_file_is_right_and_not_read_here(tmp_path: Path) -> None:
    assert found(tmp_path, entry("type: alpaca, split: 'train[:500]'"))["TL398"].severity is Severity.BLOCKED
    assert found(tmp_path, entry("type: alpaca, split: validation"))["TL398"].severity is Severity.ERROR


def test_a_test_dataset_needs_a_training_one_of_its_number(tmp_path: Path) -> None:
    training = "rl: dpo\ndatasets: [{path: a.jsonl, type: chat_template.default}]\n"
    test = "{path: b.jsonl, type: chat_template.default}"
    assert "TL396" not in found(tmp_path, f"{training}test_datasets: [{test}]")
    assert found(tmp_path, f"{training}test_datasets: [{test}, {test}]")["TL396"].severity is Severity.ERROR
    plain = "{path: b.jsonl, type: chatml}"
    assert "TL396" not in found(tmp_path, f"{training}test_datasets: [{plain}, {plain}]")


def test_columns_that_have_their_usual_name_are_no_finding(tmp_path: Path) -> None:
    assert "TL393" not in found(tmp_path, entry("type: chat_template, field_tools: tools, field_thinking: reasoning_content"))
    assert "TL393" in found(tmp_path, entry("type: chat_template, field_thinking: thoughts"))
