"""Reading a config: positions, types, every problem at once, and no key passed over in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tunelab.config import Severity, read_config
from tunelab.config.catalogue import FIRST, catalogue, section_of, typed_keys
from tunelab.config.known import children, known_keys
from tunelab.errors import ConfigError

GOOD = "base_model: some/model\nlearning_rate: 2e-4\ndatasets:\n  - path: a.jsonl\n    type: alpaca\n"


def read(folder: Path, text: str):  # type: ignore[no-untyped-def]
    (folder / "c.yml").write_text(text, encoding="utf-8")
    return read_config(folder / "c.yml")


def test_values_are_typed_and_defaults_filled_in(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD + "fp16: no\nval_set_size: 0.05\nlora_target_modules:\n").config_or_raise()
    assert config.optimisation.learning_rate == 2e-4  # YAML 1.1 reads 2e-4 as text; the type makes it a number
    assert config.hardware.fp16 is False
    assert config.data.datasets[0].path == "a.jsonl"
    assert config.optimisation.micro_batch_size == 1
    assert config.adapter.lora_target_modules is None


def test_sections_are_frozen(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD).config_or_raise()
    with pytest.raises(ValidationError, match="frozen"):
        config.optimisation.learning_rate = 1.0  # type: ignore[misc]


def test_every_problem_is_found_at_once_on_its_line(tmp_path: Path) -> None:
    reading = read(tmp_path, GOOD + "    shards: ten\n    sharts: 2\nmicro_batch_size: 0\nlora_dropout: 1.5\nlearning_rat: 3\nbf16: maybe\n")
    found = {(one.line, one.code) for one in reading.findings if one.severity is Severity.ERROR}
    assert found == {(6, "TL102"), (7, "TL101"), (8, "TL102"), (9, "TL102"), (10, "TL101"), (11, "TL102")}
    by_line = {one.line: one for one in reading.findings}
    assert by_line[7].message.endswith("Did you mean `shards`?")
    assert by_line[9].expected == "a number of at least 0 and below 1"
    assert reading.config.data.datasets[0].path == "a.jsonl"  # what can be read is there, so that rules can look at it


def test_required_keys_are_asked_for_together(tmp_path: Path) -> None:
    reading = read(tmp_path, "sequence_len: 512\n")
    assert {one.key for one in reading.findings if one.code == "TL103"} == {"base_model", "learning_rate", "datasets"}


@pytest.mark.parametrize(("line", "code", "severity"), [
    ("gradio_title: x", "TL105", Severity.NOTE),
    ("relora: true", "TL106", Severity.BLOCKED),
    ("trl: {num_generations: 4}", "TL106", Severity.BLOCKED),
    ("rl: dpoo", "TL102", Severity.ERROR),
    ("trl: {num_generation: 4}", "TL101", Severity.ERROR),
    ("trl: {num_generations: four}", "TL102", Severity.ERROR),
    ("num_generations: 4", "TL108", Severity.ERROR),
    ("adapter: mora", "TL107", Severity.BLOCKED),
    ("lr_scheduler: cosin", "TL102", Severity.ERROR),
    ("learning_rate: -1", "TL110", Severity.ERROR),
    ("lora_r: 0", "TL102", Severity.ERROR),
    ("val_set_size: -0.1", "TL102", Severity.ERROR),
    ("max_packed_sequence_len: 3", "TL104", Severity.ERROR),
    ("flux_capacitor: 3", "TL101", Severity.ERROR),
    ("flash_attention: true", "TL109", Severity.WARNING),
    ("output_dir: ${HOME}/x", "TL112", Severity.WARNING),
    ("hub_model_id: hf_abcdefghijklmnopqrstuvwxyz012345", "TL113", Severity.WARNING),
    ("eval_strategy: no", "TL102", Severity.ERROR),
])
def test_each_key_is_judged_by_itself(tmp_path: Path, line: str, code: str, severity: Severity) -> None:
    finding = next(one for one in read(tmp_path, GOOD + line + "\n").findings if one.line == 6)
    assert (finding.code, finding.severity) == (code, severity)


def test_a_name_of_another_tool_is_not_taken_for_a_misspelling(tmp_path: Path) -> None:
    finding = next(one for one in read(tmp_path, GOOD + "label_smoothing_factor: 0.1\n").findings if one.line == 6)
    assert finding.code == "TL101" and finding.fix == "delete `label_smoothing_factor`"
    assert "transformers' Trainer" in finding.message and "Did you mean" not in finding.message and "dpo_label_smoothing" in finding.message


def test_a_secret_is_not_repeated_in_what_is_said_about_it(tmp_path: Path) -> None:
    findings = read(tmp_path, GOOD + "hub_model_id: hf_abcdefghijklmnopqrstuvwxyz012345\n").findings
    assert findings and not any("hf_abc" in text for one in findings for text in (one.message, one.expected, one.fix))


def test_a_bare_no_gets_its_quotes(tmp_path: Path) -> None:
    finding = next(one for one in read(tmp_path, GOOD + "eval_strategy: no\n").findings if one.line == 6)
    assert finding.fix == "eval_strategy: 'no'" and finding.safe


def test_every_key_of_the_dialect_is_either_ours_or_said_aloud(tmp_path: Path) -> None:
    names = [name for name in known_keys() if name.isidentifier() and section_of(name) is None]
    assert len(names) > 300
    odd = {"int": 3, "float": 0.37, "str": "x", "bool": True}
    for name in names:
        kind = known_keys()[name].type.split(" |")[0]
        if name in children() or f"{name}[]" in children() or kind not in odd:
            continue
        value = odd[kind] if odd[kind] != known_keys()[name].default else None
        if value is None:
            continue
        findings = [one for one in read(tmp_path, GOOD + f"{name}: {str(value).lower()}\n").findings if one.key == name]
        assert findings and {one.code for one in findings} & {"TL102", "TL104", "TL105", "TL106", "TL109"}, name


def test_our_keys_are_keys_of_the_dialect() -> None:
    # model_type is read there under another name of its own (type_of_model) before its schema sees it.
    assert [name for name in typed_keys() if name not in known_keys() and name != "model_type"] == []


def test_every_setting_is_explained_and_names_keys_that_exist() -> None:
    for key in catalogue().values():
        assert key.setting.says.endswith((".", ":")) and key.setting.effect, key.name
        for other in key.setting.interacts:
            assert other in catalogue() or f"datasets[].{other}" in catalogue(), f"{key.name} -> {other}"
    assert set(FIRST) <= set(typed_keys()) and len(FIRST) == 15


def test_merged_keys_and_anchors_are_read(tmp_path: Path) -> None:
    config = read(tmp_path, "base_model: some/model\nlearning_rate: 0.1\ndatasets:\n  - &one\n    path: a.jsonl\n    type: alpaca\n"
                            "  - <<: *one\n    path: b.jsonl\n").config_or_raise()
    assert [(one.path, one.type) for one in config.data.datasets] == [("a.jsonl", "alpaca"), ("b.jsonl", "alpaca")]


def test_an_alias_bomb_is_bounded(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="not a config"):
        read(tmp_path, "\n".join(lines))


def test_bytes_that_are_no_text_and_a_file_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_bytes(b"base_model: x\nname: \xff\xfe\n")
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        read_config(tmp_path / "c.yml")
    assert str(caught.value.where).endswith("c.yml:2")
    (tmp_path / "c.yml").write_bytes(b"#" * 2_100_000)
    with pytest.raises(ConfigError, match="2,000,000"):
        read_config(tmp_path / "c.yml")


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode() + b"bogus_key: 1\r\n")
    reading = read_config(tmp_path / "c.yml")
    assert [(one.key, one.line) for one in reading.findings] == [("bogus_key", 6)]
