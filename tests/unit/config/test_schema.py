"""The JSON Schema accepts what the checker accepts and marks what it refuses, as an editor would."""

from __future__ import annotations

import re

import jsonschema
import pytest
import yaml
from tests.conftest import ROOT

from tunelab.config.catalogue import catalogue, typed_keys
from tunelab.config.schema import json_schema

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
BASE = {"base_model": "a/b", "learning_rate": 0.0002, "datasets": [{"path": "a.jsonl", "type": "alpaca"}]}


class EditorLoader(yaml.SafeLoader):
    """Reads 1e-4 as a number, as the YAML 1.2 of editors does."""


EditorLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def test_the_schema_is_a_valid_draft_7_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"].startswith("https://json.schemastore.org/")


def test_the_handout_and_every_example_of_the_catalogue_fit() -> None:
    assert list(VALIDATOR.iter_errors(yaml.load((ROOT / "examples/handout.yml").read_text(encoding="utf-8"), EditorLoader))) == []
    checked = 0
    for key in catalogue().values():
        if key.setting.example and not key.name.startswith(("datasets", "special_tokens", "test_datasets")) and "." not in key.name:
            values = yaml.load(key.setting.example, EditorLoader)
            if isinstance(values, dict):
                checked += 1
                errors = [error.message for error in VALIDATOR.iter_errors({**BASE, **values})]
                assert errors == [], (key.name, errors)
    assert checked > 300


@pytest.mark.parametrize("wrong", [
    {"learning_rat": 1}, {"learning_rate": -1}, {"micro_batch_size": 0}, {"sample_packing": "maybe"}, {"trl": {"num_generation": 3}},
    {"datasets": [{"path": "a", "sharts": 2}]}, {"lora_target_modules": 3}, {"bf16": "sometimes"},
])
def test_what_the_checker_refuses_is_marked(wrong: dict[str, object]) -> None:
    assert list(VALIDATOR.iter_errors({**BASE, **wrong}))


def test_hover_tells_the_catalogues_words_and_completion_skips_old_names() -> None:
    assert SCHEMA["properties"]["lora_r"]["description"].startswith(catalogue()["lora_r"].setting.says)
    assert SCHEMA["properties"]["sdp_attention"]["doNotSuggest"] is True
    assert "attn_implementation" in SCHEMA["properties"]["sdp_attention"]["deprecationMessage"]
    assert set(SCHEMA["properties"]) >= {key.name for key in typed_keys().values() if "." not in key.name}
