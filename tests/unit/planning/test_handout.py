"""The course lab's config: kept whole in examples/, and everything there is to say about it is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.conftest import ROOT, SHARED
from tests.unit.planning.cases import A100, LAPTOP

from tunelab.config import Severity, read_config
from tunelab.config.finding import stops_of
from tunelab.config.source import read_source
from tunelab.planning.explain import explain
from tunelab.planning.rules import check

HANDOUT = ROOT / "examples" / "handout.yml"


def test_the_example_holds_every_key_and_value_of_the_handout(tmp_path: Path) -> None:
    page = SHARED / "lab-handout.md"
    if not page.is_file():
        pytest.skip("the course lab's page (../shared/lab-handout.md) is not here")
    block = re.search(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    assert block is not None
    original = tmp_path / "original.yml"
    original.write_text("\n".join(line[4:] for line in block.group(1).splitlines()), encoding="utf-8")
    assert read_source(HANDOUT)[1] == read_source(original)[1]


def test_what_check_says_about_the_handout_on_a_laptop() -> None:
    reading = read_config(HANDOUT)
    assert reading.config is not None and reading.findings == ()
    findings = check(reading.config, LAPTOP, None)
    assert [(one.code, one.key) for one in findings] == [
        ("TL607", "base_model"), ("TL204", "model_type"), ("TL391", "datasets"), ("TL302", "datasets[0].type"), ("TL303", "datasets[0].shards"),
        ("TL306", "val_set_size"), ("TL410", "output_dir"), ("TL345", "sample_packing"), ("TL309", "pad_to_sequence_len"), ("TL414", "adapter"),
        ("TL501", "optimizer"), ("TL602", "fp16")]
    assert [one.code for one in findings if one.severity is Severity.ERROR] == []
    assert [one.code for one in findings if one.severity is Severity.BLOCKED] == ["TL501", "TL602"]
    assert all(one.fix for one in stops_of(findings))


def test_on_a_gpu_fewer_things_stand_in_the_way() -> None:
    config = read_config(HANDOUT).config
    assert config is not None
    assert [one.code for one in check(config, A100, None)] == ["TL204", "TL391", "TL302", "TL303", "TL306", "TL410", "TL345", "TL414", "TL620"]


def test_every_key_of_the_handout_is_explained() -> None:
    config = read_config(HANDOUT).config
    assert config is not None
    explained = {one.name for one in explain(config, LAPTOP, None)}
    assert {str(path[0]) for path in config.source.positions} <= explained
