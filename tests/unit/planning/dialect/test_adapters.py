"""Adapters that a plugin brings, and what else hangs on the model."""

from __future__ import annotations

from pathlib import Path

from tests.unit.planning.test_rules import found


def test_only_the_right_plugin_brings_an_adapter(tmp_path: Path) -> None:
    assert "TL434" in found(tmp_path, "adapter: mora\nplugins: [axolotl.integrations.mixlora.MixLoraPlugin]")
    assert "TL434" not in found(tmp_path, "adapter: mora\nplugins: [axolotl.integrations.mora.MoraPlugin]")
    assert "TL434" not in found(tmp_path, "adapter: mine\nplugins: [my_package.MyPlugin]"), "a stranger's plugin may bring anything"


def test_a_family_with_attention_of_its_own_may_use_the_kernels(tmp_path: Path) -> None:
    text = "adapter: lora\ntrust_remote_code: true\nlora_o_kernel: true"
    assert "TL448" in found(tmp_path, text)
    assert "TL448" not in found(tmp_path, f"base_model: nvidia/Nemotron-Labs-Diffusion-8B\n{text}")


def test_dropout_of_zero_is_no_dropout(tmp_path: Path) -> None:
    assert "TL436" not in found(tmp_path, "adapter: lora\nlora_target_parameters: [a]\nlora_dropout: 0")


def test_a_whole_batch_says_how_much_is_left_unread(tmp_path: Path) -> None:
    finding = found(tmp_path, "micro_batch_size: 2\nbatch_size: 8")["TL530"]
    assert "only 25% of the rows" in finding.message and finding.fix == "gradient_accumulation_steps: 4\ndelete `batch_size`"


def test_an_old_flag_beside_the_same_name_is_safe_to_drop(tmp_path: Path) -> None:
    assert found(tmp_path, "attn_implementation: sdpa\nsdp_attention: true")["TL632"].safe
    assert not found(tmp_path, "attn_implementation: eager\nsdp_attention: true")["TL632"].safe
