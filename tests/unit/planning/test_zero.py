"""What `deepspeed` asks for is read from a mapping, a file or a name; where it and the YAML disagree, and what is not acted on, is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.planning.cases import FAST_CPU, LAPTOP, T4, read

from tunelab.config.finding import Finding, Severity
from tunelab.errors import ConfigError
from tunelab.facts.machine import Machine
from tunelab.planning.rules import check, zero
from tunelab.planning.zero import for_deepspeed, read_settings, read_zero

# As Axolotl ships it, but for comments.
ZERO3 = {"zero_force_ds_cpu_optimizer": False, "zero_allow_untested_optimizer": True, "bf16": {"enabled": "auto"},
         "zero_optimization": {"stage": 3, "overlap_comm": True, "contiguous_gradients": True, "sub_group_size": 0, "reduce_bucket_size": "auto",
                               "stage3_prefetch_bucket_size": "auto", "stage3_param_persistence_threshold": "auto", "stage3_max_live_parameters": 0,
                               "stage3_max_reuse_distance": 0, "stage3_gather_16bit_weights_on_model_save": True},
         "fp16": {"enabled": "auto", "loss_scale": 0}, "gradient_accumulation_steps": "auto", "gradient_clipping": "auto", "train_batch_size": "auto",
         "train_micro_batch_size_per_gpu": "auto", "wall_clock_breakdown": False,
         "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}}}


def findings(folder: Path, settings: Any, yaml: str = "", machine: Machine = LAPTOP) -> list[Finding]:
    text = f"{yaml}\ndeepspeed: {json.dumps(settings)}"
    return [one for one in check(read(folder, text), machine, None) if one.code in ("TL610", "TL611", "TL612", "TL613")]


def test_a_file_beside_the_config_a_mapping_and_a_name_are_read(tmp_path: Path) -> None:
    (tmp_path / "z.json").write_text(json.dumps(ZERO3), encoding="utf-8")
    found = read_zero(read(tmp_path, "deepspeed: z.json"))
    assert found is not None and (found.stage, found.guessed, Path(found.file).name) == (3, False, "z.json")
    assert read_settings({"zero_optimization": {"stage": 1}}, tmp_path).stage == 1
    named = read_settings("deepspeed_configs/zero3_bf16_cpuoffload_all.json", tmp_path)
    assert (named.stage, named.guessed, named.offloaded("param"), named.offloaded("optimizer")) == (3, True, "cpu", "cpu")
    assert read_zero(read(tmp_path, "")) is None


@pytest.mark.parametrize(("text", "said"), [("{", "JSON"), ("[1]", "object"), ("[" * 50_000, "JSON"), (" " * 1_000_001, "too large")])
def test_a_file_that_cannot_be_read_is_a_sentence(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "z.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        read_settings("z.json", tmp_path)
    assert [one.code for one in findings(tmp_path, "z.json")] == ["TL613"]


def test_the_files_that_axolotl_ships_have_no_findings(tmp_path: Path) -> None:
    assert findings(tmp_path, ZERO3) == []


def test_auto_is_filled_from_the_model_and_buckets_hold_no_more_than_there_is(tmp_path: Path) -> None:
    given = for_deepspeed(read_settings(ZERO3, tmp_path), width=64, trained=3000)
    assert given["reduce_bucket_size"] == given["allgather_bucket_size"] == 3000
    assert (given["stage3_prefetch_bucket_size"], given["stage3_param_persistence_threshold"], given["overlap_comm"]) == (3686, 640, True)
    assert "stage3_gather_16bit_weights_on_model_save" not in given and "auto" not in given.values()


@pytest.mark.parametrize(("settings", "yaml", "fix"), [
    ({"gradient_clipping": 0.3}, "", "max_grad_norm: 0.3"), ({"gradient_clipping": 1.0}, "max_grad_norm: 0.5", "max_grad_norm: 1"),
    ({"train_micro_batch_size_per_gpu": 4}, "", "micro_batch_size: 4"), ({"train_batch_size": 7}, "gradient_accumulation_steps: 2", ""),
    ({"bf16": {"enabled": True}}, "bf16: false", "bf16: true"), ({"optimizer": {"type": "Lamb"}}, "", ""),
    ({"optimizer": {"type": "AdamW", "params": {"lr": 5}}}, "", ""), ({"scheduler": {"type": "OneCycle"}}, "", ""),
    ({"gradient_accumulation_steps": [2]}, "", ""),
    ({"scheduler": {"type": "WarmupDecayLR", "params": {"warmup_num_steps": 9}}}, "lr_scheduler: linear", "")])
def test_what_contradicts_the_yaml_is_an_error_with_the_edit(settings: dict[str, Any], yaml: str, fix: str, tmp_path: Path) -> None:
    found = findings(tmp_path, {"zero_optimization": {"stage": 2}, **settings}, yaml)
    assert [(one.code, one.severity, one.fix) for one in found] == [("TL611", Severity.ERROR, fix)]
    assert "auto" in found[0].expected


def test_what_says_the_same_is_none(tmp_path: Path) -> None:
    same = {"gradient_accumulation_steps": 2, "train_batch_size": 8, "gradient_clipping": 0.5, "train_micro_batch_size_per_gpu": 1,
            "bf16": {"enabled": False}, "scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": "auto"}}}
    yaml = "gradient_accumulation_steps: 2\nmax_grad_norm: 0.5\nmicro_batch_size: 1\nlr_scheduler: linear"
    assert findings(tmp_path, {"zero_optimization": {"stage": 1}, **same}, yaml) == []


def test_keys_that_are_not_acted_on_are_named(tmp_path: Path) -> None:
    found = findings(tmp_path, {"zero_optimization": {"stage": 2, "elastic_checkpoint": True}, "flops_profiler": {"enabled": True}})
    assert [one.code for one in found] == ["TL612"] and "flops_profiler" in found[0].message and "zero_optimization.elastic_checkpoint" in found[0].message
    assert "splits nothing" in findings(tmp_path, {"zero_optimization": {}})[0].message
    assert "stay in 32" in findings(tmp_path, {"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}}, machine=FAST_CPU)[0].message


@pytest.mark.parametrize(("settings", "yaml", "key"), [
    ({}, "adapter: lora\nlora_r: 4\nlora_alpha: 8\npeft_init_lora_weights: pissa", "peft_init_lora_weights"),
    ({}, "unfrozen_parameters: ['^lm_head.weight$[:4]']", "unfrozen_parameters"), ({}, "optimizer: adagrad", "optimizer"),
    ({"offload_optimizer": {"device": "nvme"}}, "", "deepspeed"), ({"zero_hpz_partition_size": 8}, "", "deepspeed"),
    ({"mics_shard_size": 2}, "", "deepspeed")])
def test_what_deepspeed_does_not_go_with_is_blocked(settings: dict[str, Any], yaml: str, key: str, tmp_path: Path) -> None:
    found = findings(tmp_path, {"zero_optimization": {"stage": 3, **settings}}, yaml)
    assert [(one.code, one.key) for one in found] == [("TL610", key)]


def test_float16_that_the_machine_chooses_is_blocked_too(tmp_path: Path) -> None:
    assert [one.key for one in findings(tmp_path, {"zero_optimization": {"stage": 2}}, machine=T4)] == ["fp16"]


def test_a_name_is_told_as_what_it_is_taken_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero, "is_installed", lambda package: True)
    found = [one for one in check(read(tmp_path, "deepspeed: deepspeed_configs/zero3_bf16_cpuoffload_all.json"), LAPTOP, None) if one.key == "deepspeed"]
    assert [(one.code, one.severity) for one in found] == [("TL613", Severity.NOTE)]
    assert "stage 3, offloaded weights, offloaded optimizer state" in found[0].message
