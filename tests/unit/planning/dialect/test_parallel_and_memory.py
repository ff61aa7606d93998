"""Rules on sharding, checkpointing and packed weights: the cases that one example cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.planning.cases import LAPTOP, read

from tunelab.config.finding import Finding, Severity
from tunelab.facts.machine import Gpu, Machine
from tunelab.planning.rules import check

CHECKPOINTED = "adapter: lora\ngradient_checkpointing: true\n"
SHARDED = "adapter: qlora\nload_in_4bit: true\nfsdp_config: {cpu_ram_efficient_loading: true}\n"
TWO_GPUS = Machine("Linux", 16, 64_000_000_000, 60_000_000_000, (Gpu("NVIDIA A100", 42_949_672_960, 8.0),) * 2, bf16_fast=True)


def found(folder: Path, text: str, machine: Machine = LAPTOP) -> dict[str, Finding]:
    """code -> finding."""
    return {finding.code: finding for finding in check(read(folder, text), machine, None)}


def test_old_flags_name_an_attention_too(tmp_path: Path) -> None:
    assert "TL360" not in found(tmp_path, "flash_attention: true\nbatch_flattening: true")
    assert "`sdpa` does not" in found(tmp_path, "sdp_attention: true\nbatch_flattening: true")["TL360"].message
    assert "is on" in found(tmp_path, "flex_attention: true\nbatch_flattening: auto\nmicro_batch_size: 2")["TL363"].message


@pytest.mark.parametrize("off", ["rl: orpo", "trust_remote_code: true", "lora_embedding_kernel: false", "load_in_8bit: true"])
def test_fused_kernels_that_nobody_wrote_are_on_only_where_axolotl_turns_them_on(off: str, tmp_path: Path) -> None:
    kept = f"{CHECKPOINTED}selective_checkpointing: {{save: [mm], save_modules: [down_proj]}}"
    assert {"TL677", "TL678"} <= set(found(tmp_path, kept))
    assert not {"TL677", "TL678"} & set(found(tmp_path, f"{kept}\n{off}"))


def test_offloading_in_its_old_spelling_counts(tmp_path: Path) -> None:
    old = found(tmp_path, "gradient_checkpointing: offload\nselective_checkpointing: true")
    assert old["TL676"].key == "gradient_checkpointing" and "TL675" not in old
    assert old["TL674"].fix == "gradient_checkpointing: true\nactivation_offloading: true"


def test_expert_parallelism_by_auto_depends_on_the_machine(tmp_path: Path) -> None:
    text = "expert_parallel_size: 2\ngradient_checkpointing: true\nactivation_offloading: true\nexpert_parallel_dispatch_chunks: 2"
    auto, by_torch = found(tmp_path, text), found(tmp_path, f"{text}\nexpert_parallel_backend: torch")
    assert auto["TL668"].severity is Severity.WARNING and auto["TL669"].severity is Severity.NOTE
    assert by_torch["TL668"].severity is Severity.ERROR and "TL669" not in by_torch


def test_settings_of_fsdp_under_their_prefix_count(tmp_path: Path) -> None:
    finding = found(tmp_path, "fsdp_config: {fsdp_cpu_offload_pin_memory: false}")["TL661"]
    assert finding.key == "fsdp_config.fsdp_cpu_offload_pin_memory"
    assert "TL661" not in found(tmp_path, "fsdp_config: {fsdp_cpu_offload_pin_memory: false, fsdp_offload_params: true}")
    gradients_only = found(tmp_path, "fsdp_config: {fsdp_sharding_strategy: SHARD_GRAD_OP}")["TL660"]
    assert gradients_only.fix == "reshard_after_forward: false\ndelete `fsdp_sharding_strategy`"


def test_context_parallelism_is_known_by_three_names(tmp_path: Path) -> None:
    for text in ("context_parallel: {size: 4}", "context_parallel_size: 4", "sequence_parallel_degree: 4"):
        assert "4 parts" in found(tmp_path, text)["TL671"].message
        assert "TL570" in found(tmp_path, f"{text}\nuse_eaft: true")


def test_glm_kernels_count_only_with_their_plugin(tmp_path: Path) -> None:
    text = "context_parallel_size: 2\nuse_glm_dsa_kernels: true\nattn_implementation: eager\nsample_packing: true"
    assert found(tmp_path, text)["TL670"].key == "attn_implementation"
    on = found(tmp_path, f"{text}\nplugins: [axolotl.integrations.kernels.KernelsPlugin]")
    assert on["TL670"].key == "sample_packing"


def test_four_bit_weights_in_parts_are_checked_only_where_they_are_loaded_so(tmp_path: Path) -> None:
    assert "TL468" in found(tmp_path, f"{SHARDED}peft_use_dora: true")
    assert "TL468" not in found(tmp_path, "adapter: qlora\nload_in_4bit: true\npeft_use_dora: true")
    inert = found(tmp_path, "adapter: qlora\nload_in_4bit: true\nqlora_sharded_model_loading: true\npeft_use_dora: true")
    assert "TL466" in inert and "TL468" not in inert
    assert "TL463" not in found(tmp_path, f"{SHARDED}qlora_sharded_model_loading: true")


def test_reentrant_qlora_with_rl_is_stopped_where_there_are_two_gpus(tmp_path: Path) -> None:
    text = ("rl: dpo\nadapter: qlora\nload_in_4bit: true\ngradient_checkpointing: true\n"
            "gradient_checkpointing_kwargs: {use_reentrant: true}")
    assert found(tmp_path, text)["TL980"].severity is Severity.NOTE
    assert found(tmp_path, text, TWO_GPUS)["TL980"].severity is Severity.BLOCKED


def test_gemma_4_is_told_what_is_switched(tmp_path: Path) -> None:
    ddp = found(tmp_path, "base_model: google/gemma-4-E2B-it\nddp: true")["TL673"]
    assert ddp.key == "ddp" and ddp.fix == "ddp_find_unused_parameters: true"
    assert "TL673" not in found(tmp_path, "base_model: google/gemma-3-1b-it\nddp: true")
