"""Which layers get LoRA matrices, and how many parameters are trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.planning.cases import read, read_anything, smol_shapes

from tunelab.config import Config
from tunelab.facts.lookup import table_shapes
from tunelab.planning.lora import target_layers, trainable_parameters

ALL = "lora_target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]"
LORA = "adapter: lora\nlora_r: 16\nlora_alpha: 32\n"


@pytest.mark.parametrize(("targets", "layers", "parameters"), [
    (ALL, 210, 4_884_480),
    ("lora_target_linear: true", 210, 4_884_480),
    ("lora_target_modules: all-linear", 210, 4_884_480),
    ("", 60, 921_600),  # PEFT's default for Llama: q_proj and v_proj
    ("lora_target_modules: [q_proj, v_proj]", 60, 921_600),
    ("lora_target_modules: [self_attn.q_proj]", 30, 552_960),
    ("lora_target_modules: [proj]", 0, 0),  # whole parts of a name, not its letters
    ("lora_target_modules: '.*layers\\.[0-4]\\..*q_proj'", 5, 92_160),
    ("lora_target_modules: q_proj", 0, 0),  # a text is a pattern for the whole name
    ("lora_target_modules: '*'", 0, 0),  # and one that is none matches nothing
    ("lora_target_modules: [lm_head]", 1, 16 * (49152 + 576)),
    ("lora_target_modules: [embed_tokens]", 1, 16 * (49152 + 576)),
    ("lora_target_linear: true\nlora_target_modules: [lm_head]", 211, 4_884_480 + 16 * (49152 + 576))])
def test_targets(targets: str, layers: int, parameters: int, tmp_path: Path) -> None:
    config, shapes = read(tmp_path, LORA + targets), smol_shapes(tmp_path)
    assert len(target_layers(config, shapes)) == layers
    assert trainable_parameters(config, shapes) == parameters


def test_without_an_adapter_everything_is_trained(tmp_path: Path) -> None:
    config, shapes = read(tmp_path, ""), smol_shapes(tmp_path)
    assert target_layers(config, shapes) == () and trainable_parameters(config, shapes) == 134_515_008


def test_rank_patterns_change_single_layers(tmp_path: Path) -> None:
    config = read(tmp_path, LORA + "lora_target_modules: [q_proj]\nlora_rank_pattern: {'layers.0.self_attn.q_proj': 4}")
    assert trainable_parameters(config, smol_shapes(tmp_path)) == (29 * 16 + 4) * (576 + 576)


def test_modules_to_save_are_trained_in_full_and_get_no_matrices(tmp_path: Path) -> None:
    shapes = smol_shapes(tmp_path)
    embedding = 49152 * 576
    both = read(tmp_path, LORA + "lora_target_modules: [q_proj, embed_tokens]\nlora_modules_to_save: [embed_tokens, lm_head]")
    assert trainable_parameters(both, shapes) == 552_960 + 2 * embedding, "a tied head gets a copy of its own"
    norms = read(tmp_path, LORA + "lora_target_modules: [q_proj]\nlora_modules_to_save: [input_layernorm]")
    assert trainable_parameters(norms, shapes) == 552_960 + 30 * 576


def test_the_default_rank_is_peft_s(tmp_path: Path) -> None:
    config = read(tmp_path, "adapter: lora\nlora_target_modules: [q_proj]")
    assert trainable_parameters(config, smol_shapes(tmp_path)) == 30 * 8 * (576 + 576)


def anything(folder: Path, text: str) -> Config:
    """A config with keys that this version may not act on: they are counted all the same."""
    return read_anything(folder, text).config


def test_dora_adds_a_magnitude_per_output_and_rslora_nothing(tmp_path: Path) -> None:
    shapes, target = smol_shapes(tmp_path), LORA + "lora_target_modules: [q_proj, down_proj]\n"
    plain = trainable_parameters(anything(tmp_path, target), shapes)
    assert trainable_parameters(anything(tmp_path, target + "peft_use_dora: true"), shapes) == plain + 30 * (576 + 576)
    assert trainable_parameters(anything(tmp_path, target + "peft_use_rslora: true"), shapes) == plain


def test_some_layers_only(tmp_path: Path) -> None:
    shapes, target = smol_shapes(tmp_path), LORA + "lora_target_modules: [q_proj]\n"
    assert trainable_parameters(anything(tmp_path, target + "peft_layers_to_transform: [0, 29]"), shapes) == 2 * 16 * (576 + 576)
    assert trainable_parameters(anything(tmp_path, target + "peft_layers_to_transform: [0]\npeft_layers_pattern: [layers]"), shapes) == 16 * 1152
    assert trainable_parameters(anything(tmp_path, target + "peft_trainable_token_indices: [1, 2]"), shapes) == 552_960 + 2 * 576


def test_what_is_unfrozen_is_trained(tmp_path: Path) -> None:
    shapes = smol_shapes(tmp_path)
    head = "unfrozen_parameters:\n  - ^model.embed_tokens.weight$[:32000]\n  - model.layers.2[7-9]+.mlp.down_proj\n"
    assert trainable_parameters(anything(tmp_path, head), shapes) == 49152 * 576 + 3 * 576 * 1536, "the whole tensor; a range only masks gradients"
    assert trainable_parameters(anything(tmp_path, "unfrozen_parameters: ['(']"), shapes) == 0


def test_experts_have_the_rank_each(tmp_path: Path) -> None:
    shapes = table_shapes("Qwen/Qwen3-30B-A3B")
    assert shapes is not None
    attention = 48 * 16 * ((2048 + 4096) + 2 * (2048 + 512) + (4096 + 2048))
    only_attention = anything(tmp_path, LORA + "lora_target_modules: [q_proj, k_proj, v_proj, o_proj]")
    assert trainable_parameters(only_attention, shapes) == attention
    experts = 48 * 128 * (2 * 16 * (2048 + 2 * 768) + 16 * (768 + 2048))
    every = anything(tmp_path, LORA + "lora_target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]")
    assert trainable_parameters(every, shapes) == attention + experts
    assert trainable_parameters(anything(tmp_path, LORA + "lora_target_linear: true"), shapes) == attention + experts + 48 * 16 * (2048 + 128)
    by_name = anything(tmp_path, LORA + "lora_target_modules: [q_proj]\nlora_target_parameters: [mlp.experts.down_proj]")
    assert trainable_parameters(by_name, shapes) == 48 * 16 * (2048 + 4096) + 48 * 128 * 16 * (768 + 2048)
