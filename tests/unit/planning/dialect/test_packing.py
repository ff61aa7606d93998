"""What packing and padding mean depends on the machine and on what else is written."""

from __future__ import annotations

from pathlib import Path

from tests.unit.planning.cases import A100, LAPTOP, T4
from tests.unit.planning.test_rules import found

from tunelab.config.finding import Severity
from tunelab.facts.machine import Gpu, Machine

H100 = Machine("Linux", 8, 64_000_000_000, 60_000_000_000, (Gpu("NVIDIA H100", 80_000_000_000, 9.0),), bf16_fast=True)


def test_unpadded_packs_are_right_on_a_cpu_and_a_risk_on_a_gpu(tmp_path: Path) -> None:
    text = "sample_packing: true\npad_to_sequence_len: false"
    here, there = found(tmp_path, text, LAPTOP)["TL346"], found(tmp_path, text, A100)["TL346"]
    assert here.severity is Severity.NOTE and not here.fix
    assert there.severity is Severity.WARNING and there.fix == "pad_to_sequence_len: true"


def test_a_native_diffusion_model_needs_no_mask_between_packed_rows(tmp_path: Path) -> None:
    assert "TL345" not in found(tmp_path, "sample_packing: true\ndiffusion_lm: {eps: 0.01}")
    assert "TL345" in found(tmp_path, "sample_packing: true\ndiffusion_lm: {from_causal_lm: true}")


def test_an_old_flag_and_a_pinned_kernel_keep_rows_apart_too(tmp_path: Path) -> None:
    assert "TL345" not in found(tmp_path, "sample_packing: true\nflash_attention: true")
    assert "TL345" not in found(tmp_path, "sample_packing: true\nattn_implementation: kernels-community/flash-attn3@v2")


def test_packed_sdpa_is_safe_from_hopper_on_and_without_bf16(tmp_path: Path) -> None:
    text = "sample_packing: true\nattn_implementation: sdpa"
    assert "TL639" in found(tmp_path, text, T4)
    assert "TL639" not in found(tmp_path, text, H100)
    assert "TL639" not in found(tmp_path, f"{text}\nbf16: false")


def test_eight_bit_attention_is_judged_by_the_gpu(tmp_path: Path) -> None:
    assert "TL640" not in found(tmp_path, "attn_implementation: sage", A100)
    assert "TL640" in found(tmp_path, "attn_implementation: fp8", A100)
    assert "TL640" not in found(tmp_path, "attn_implementation: fp8", H100)
    assert "TL650" not in found(tmp_path, "fp8: true", H100)
