"""`--fix` keeps every comment, the order and the quotes, and changes only what the finding is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunelab.config.finding import Finding, Severity
from tunelab.config.mend import mend
from tunelab.config.source import parse_source

TEXT = """\
# my run
base_model: some/model  # the base
sdp_attention: true   # fast
evaluation_strategy: "steps" # old name
datasets:
  # the data
  - path: a.jsonl   # here
    message_field_role: from
    type: chat_template
  - message_field_content: value
    path: b.jsonl
  - {path: c.jsonl, type: alpaca, shards: 1}
gc_steps:
lora_target_modules:
  - q_proj
  # a comment inside
  - v_proj
seed: 3
"""


def fixed(key: str, fix: str, text: str = TEXT, *, safe: bool = True) -> str:
    source, _ = parse_source(Path("c.yml"), text)
    return mend(source, [Finding("TL999", Severity.WARNING, "x.", key, fix=fix, safe=safe)]).text


@pytest.mark.parametrize(("key", "fix", "before", "after"), [
    ("sdp_attention", "attn_implementation: sdpa\ndelete `sdp_attention`", "sdp_attention: true   # fast", "attn_implementation: sdpa   # fast"),
    ("evaluation_strategy", "rename `evaluation_strategy` to `eval_strategy`", "evaluation_strategy: ", "eval_strategy: "),
    ("evaluation_strategy", "evaluation_strategy: 'no'", '"steps"', "'no'"),
    ("datasets[0].message_field_role", "message_property_mappings: {role: from}\ndelete `message_field_role`",
     "message_field_role: from", "message_property_mappings: {role: from}"),
    ("datasets[0].type", "field_messages: x\ntype: y", "    type: chat_template\n", "    field_messages: x\n    type: y\n"),
    ("datasets[1].message_field_content", "delete `message_field_content`", "  - message_field_content: value\n    path", "  - path"),
    ("datasets[2].shards", "delete `shards`", ", shards: 1", ""),
    ("datasets[2].path", "delete `path`", "path: c.jsonl, ", ""),
    ("datasets[2].type", "ds_type: json\ntype: x", "type: alpaca", "ds_type: json, type: x"),
    ("gc_steps", "delete `gc_steps`", "gc_steps:\n", ""),
    ("gc_steps", "gc_steps: 5", "gc_steps:", "gc_steps: 5"),
    ("lora_target_modules", "delete `lora_target_modules`", TEXT[TEXT.index("lora_target"):TEXT.index("seed")], ""),
    ("lora_target_modules", "lora_target_modules: [k_proj]", "lora_target_modules:\n  - q_proj\n  # a comment inside\n  - v_proj",
     "lora_target_modules: [k_proj]"),
])
def test_one_edit_changes_one_place(key: str, fix: str, before: str, after: str) -> None:
    assert TEXT.count(before) == 1
    assert fixed(key, fix) == TEXT.replace(before, after)


@pytest.mark.parametrize("fix", ["Delete one of the two lines.", "rename `nothing` to `seed`", "seed: ...", "write a.b + c"])
def test_advice_is_not_applied(fix: str) -> None:
    assert fixed("seed", fix) == TEXT


def test_an_edit_that_is_not_safe_waits_for_permission() -> None:
    assert fixed("seed", "seed: 4", safe=False) == TEXT
    source, _ = parse_source(Path("c.yml"), TEXT)
    finding = Finding("TL999", Severity.WARNING, "x.", "seed", fix="seed: 4")
    assert mend(source, [finding], unsafe=True).text == TEXT.replace("seed: 3", "seed: 4")


def test_two_edits_of_one_place_are_not_both_made() -> None:
    source, _ = parse_source(Path("c.yml"), TEXT)
    findings = [Finding("TL1", Severity.NOTE, "x.", "seed", fix=f"seed: {n}", safe=True) for n in (7, 8)]
    mended = mend(source, findings)
    assert mended.text == TEXT.replace("seed: 3", "seed: 7") and len(mended.applied) == 1


def test_windows_line_ends_and_unicode_stay() -> None:
    text = "# h\u00e4\u00df\u00b2 \U0001f600\r\nbase_model: \U0001f600/m\r\nsdp_attention: true # x\r\nseed: 1\r\n"
    assert fixed("sdp_attention", "attn_implementation: sdpa\ndelete `sdp_attention`", text) == text.replace(
        "sdp_attention: true", "attn_implementation: sdpa")
    assert fixed("seed", "delete `seed`", text) == text.replace("seed: 1\r\n", "")
