"""explain: the right keys in the right order, each with a sentence about this run that has its numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from tests.unit.planning.cases import A100, LAPTOP, read, smol_shapes

from tunelab.config.catalogue import FIRST, catalogue, typed_keys
from tunelab.errors import UsageError
from tunelab.facts.machine import Machine
from tunelab.planning.explain import Explanation, explain, explain_key
from tunelab.planning.steps import plan_steps

TEXT = """adapter: lora
lora_r: 16
lora_alpha: 32
lora_target_linear: true
sample_packing: true
sequence_len: 2048
micro_batch_size: 1
gradient_accumulation_steps: 4
num_epochs: 2
warmup_steps: 10
val_set_size: 0.1
flash_attention: true"""


def explained(folder: Path, text: str = TEXT, *keys: str, known: bool = True) -> dict[str, Explanation]:
    config = read(folder, text)
    found = explain(config, LAPTOP, smol_shapes(folder), plan_steps(config, 900, 200), keys) if known else explain(config, LAPTOP, None, None, keys)
    return {one.name: one for one in found}


def test_the_fifteen_come_first_then_what_else_is_written(tmp_path: Path) -> None:
    names = list(explained(tmp_path))
    assert tuple(names[:15]) == FIRST
    assert set(names[15:]) == {"datasets[0].path", "datasets[0].type", "val_set_size", "adapter", "lora_target_linear", "warmup_steps",
                               "flash_attention"}


def test_numbers_of_this_run(tmp_path: Path) -> None:
    about = {name: one.here for name, one in explained(tmp_path).items()}
    assert "4,884,480 trainable parameters: 3.63% of 134,515,008" in about["lora_r"]
    assert "32 / 16 = 2" in about["lora_alpha"]
    assert "210 of 210 linear layers: q_proj, k_proj" in about["lora_target_modules"]
    assert "1 x 4 x 1 device = 4 packed rows a step, about 18 samples" in about["micro_batch_size"]
    assert "50 steps an epoch" in about["gradient_accumulation_steps"]
    assert "50 + 50 = 100 steps" in about["num_epochs"]
    assert "0 at step 1, 0.0002 at step 11" in about["learning_rate"] and "at the last step (100)" in about["learning_rate"]
    assert "10 steps of 100" in about["warmup_steps"]
    assert "25% of the 8,192" in about["sequence_len"]
    assert "39.1 MB" in about["optimizer"]
    assert "100 rows are held out beside 900" in about["val_set_size"]
    assert "134,515,008 parameters in 30 layers" in about["base_model"] and "538.1 MB in 32 bits" in about["base_model"]
    assert about["flash_attention"] == "Not acted on in this version."


def test_a_run_on_several_devices_is_said_to_be_one(tmp_path: Path) -> None:
    def rows(more: str, machine: Machine = LAPTOP) -> str:
        config = read(tmp_path, f"{TEXT}\n{more}")
        return explain(config, machine, smol_shapes(tmp_path), None, ["micro_batch_size"])[0].here

    four = replace(A100, gpus=A100.gpus * 4)
    assert rows("fsdp_config: {reshard_after_forward: true}", four).endswith("1 x 4 x 4 devices = 16 packed rows a step.")
    assert "4 devices" in rows("deepspeed: zero2.json", four) and "1 device " in rows("", four)
    assert "x 1 device = 4 packed rows a step, and N times as many with `tunelab train --nproc N`" in rows("deepspeed: zero2.json")
    assert "3 devices = 12" in rows("use_ray: true\nray_num_workers: 3")


def test_defaults_are_told_from_written_values(tmp_path: Path) -> None:
    found = explained(tmp_path)
    assert found["lora_r"].written and found["lora_r"].line == 5 and found["lora_r"].shown == "16"
    assert not found["lora_dropout"].written and found["lora_dropout"].line is None and found["lora_dropout"].shown == "0"
    assert found["datasets"].value == [{"path": "data/train.jsonl", "type": "chat_template"}]


def test_nothing_known_is_no_failure(tmp_path: Path) -> None:
    found = explained(tmp_path, "base_model: org/Model-7B\n" + TEXT, known=False)
    assert "7 billion parameters, read off its name" in found["base_model"].here
    assert found["lora_r"].here == "" and "1 x 4 x 1 device" in found["micro_batch_size"].here


def test_lora_settings_without_an_adapter_say_that_they_do_nothing(tmp_path: Path) -> None:
    assert explained(tmp_path, "lora_r: 16")["lora_r"].here == "No effect: there is no adapter."


def test_single_keys_are_explained_where_they_stand(tmp_path: Path) -> None:
    text = "datasets: [{path: a.jsonl, type: alpaca}, {path: b.jsonl, type: alpaca, shards: 4}]"
    assert list(explained(tmp_path, text, "learning_rate", "seed")) == ["learning_rate", "seed"]
    assert list(explained(tmp_path, text, "shards")) == ["datasets[1].shards"]
    assert list(explained(tmp_path, text, "datasets[].type")) == ["datasets[0].type", "datasets[1].type"]
    assert "One row in 4" in explained(tmp_path, text, "shards")["datasets[1].shards"].here


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_key_is_explained_without_a_config(name: str) -> None:
    found = explain_key(name)
    assert found.name == name and found.says and found.takes and found.here == "" and found.line is None


@pytest.mark.parametrize(("name", "closest"), [("lora_rr", "lora_r"), ("learningrate", "learning_rate"), ("datasets[].typ", "datasets[].type")])
def test_an_unknown_key_names_the_closest(name: str, closest: str) -> None:
    with pytest.raises(UsageError) as error:
        explain_key(name)
    assert error.value.next_step == f"Did you mean: tunelab explain {closest}"


def test_every_written_key_can_be_explained(tmp_path: Path) -> None:
    """A config that writes every optional key with its example: none may fail, with or without model and data."""
    keys = [key for key in typed_keys().values() if key.setting.example and "." not in key.name and key.name not in {"base_model", "datasets"}]
    written: dict[str, object] = {}
    for key in keys:
        written.update({name: value for name, value in yaml.safe_load(key.setting.example).items() if name not in written})
    text = "\n".join(f"{name}: {json.dumps(value)}" for name, value in written.items())
    for known in (True, False):
        found = explained(tmp_path, text, known=known)
        assert {key.name for key in keys} <= set(found)
        json.dumps([asdict(one) for one in found.values()])
