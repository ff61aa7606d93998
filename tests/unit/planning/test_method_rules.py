"""Rules of LoRA's forms, packed weights and freezing that need the model's shapes or a saved adapter: what they say and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.facts.test_adapter import Q, write_adapter
from tests.unit.planning.cases import A100, LAPTOP, read_anything, smol_shapes

from tunelab.config.finding import Finding, Severity
from tunelab.facts.machine import Machine
from tunelab.planning.rules import check

LORA = "adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\n"
QLORA = "adapter: qlora\nload_in_4bit: true\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\n"


def found(folder: Path, text: str, machine: Machine = LAPTOP) -> dict[str, Finding]:
    """The findings of the rules on SmolLM2-135M, by code."""
    return {finding.code: finding for finding in check(read_anything(folder, text).config, machine, smol_shapes(folder))}


def test_an_adapter_to_go_on_from(tmp_path: Path) -> None:
    def with_adapter(name: str, base: str = "org/model") -> dict[str, Finding]:
        return found(tmp_path, f"base_model: {base}\nadapter: lora\nlora_model_dir: {tmp_path / name}")

    write_adapter(tmp_path / "good")
    assert not {"TL417", "TL418"} & set(with_adapter("good"))
    assert "no adapter_config.json" in with_adapter("nowhere")["TL417"].message
    renamed = with_adapter("good", "org/other")["TL417"]
    assert "was trained on org/model" in renamed.message and renamed.fix == "base_model: org/model" and "ignore TL417" in renamed.expected
    write_adapter(tmp_path / "wide", {f"{Q}.lora_A.weight": (4, 48), f"{Q}.lora_B.weight": (48, 4)})
    assert "48 inputs, the layer has 576" in with_adapter("wide")["TL417"].message
    write_adapter(tmp_path / "pissa", init_lora_weights="pissa")
    assert "changed base" in with_adapter("pissa")["TL417"].message


def test_settings_that_the_saved_adapter_overrules_are_named(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    text = f"adapter: lora\nlora_model_dir: {tmp_path / 'a'}\nlora_alpha: 8\n"
    assert "TL418" not in found(tmp_path, text + "lora_r: 4"), "the same numbers may stay"
    assert found(tmp_path, text + "lora_r: 64")["TL418"].fix == "delete `lora_r`"


def test_patterns_that_thaw_nothing_here(tmp_path: Path) -> None:
    star = found(tmp_path, "unfrozen_parameters: ['.*mlp']")["TL419"]
    assert "`.+`" in star.message and star.fix == "unfrozen_parameters: ['.+mlp']"
    assert "The head is the embedding here." in found(tmp_path, "unfrozen_parameters: [lm_head.weight]")["TL419"].message
    assert "rows up to 50,000; model.embed_tokens.weight has 49,152" in found(
        tmp_path, "unfrozen_parameters: ['model.embed_tokens.weight[:50000]']")["TL419"].message
    assert "TL419" not in found(tmp_path, "unfrozen_parameters: [model.layers.2, 'model.embed_tokens.weight$[49000:]']")


@pytest.mark.parametrize(("text", "code", "part"), [
    (LORA + "peft_layers_to_transform: [30]", "TL423", "its layers are 0 to 29"),
    (LORA + "peft_layer_replication: [[0, 31]]", "TL423", "the model has 30"),
    ("adapter: lora\nlora_target_modules: '.*q_proj'\npeft_layers_to_transform: [1]", "TL423", "a list of names"),
    (LORA.replace("16", "200") + "peft_init_lora_weights: pissa", "TL425", "Rank 200 is above"),
    (LORA + "peft_trainable_token_indices: [49152]", "TL426", "no token 49152"),
    (LORA + "peft_trainable_token_indices: {embed_tokens: [3, -4]}", "TL426", "no token -4"),
    (LORA + "load_in_8bit: true\npeft_init_lora_weights: olora", "TL416", "needs whole base weights"),
    (QLORA + "peft_init_lora_weights: loftq", "TL416", "loftq_bits: 4"),
    (QLORA + "bnb_config_kwargs: {bnb_4bit_quant_tipe: nf4}", "TL422", "Did you mean `bnb_4bit_quant_type`?")])
def test_what_does_not_fit_is_said(tmp_path: Path, text: str, code: str, part: str) -> None:
    finding = found(tmp_path, text)[code]
    assert part in finding.message + finding.expected and finding.severity in (Severity.ERROR, Severity.BLOCKED)


def test_what_fits_is_not(tmp_path: Path) -> None:
    new = LORA + "tokens: [<tool>]\npeft_trainable_token_indices: [49152]"
    assert not {"TL415", "TL416", "TL423", "TL425", "TL426"} & set(found(tmp_path, new))
    assert not {"TL407", "TL416", "TL421"} & set(found(tmp_path, QLORA + "peft_use_dora: true\npeft: {loftq_config: {loftq_bits: 4}}", A100))
    eight = LORA + "load_in_8bit: true\npeft_use_dora: true"
    assert "TL421" in found(tmp_path, eight) and "TL421" not in found(tmp_path, eight, A100)
