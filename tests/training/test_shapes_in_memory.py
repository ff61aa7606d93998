"""The tensors computed from config.json are those that transformers builds, name by name; what is counted as trained is what PEFT trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunelab.facts.families import KNOWN, family_tensors, read_numbers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                        "num_key_value_heads": 2, "vocab_size": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_NO_INTERMEDIATE = {"gpt2", "gpt_bigcode", "falcon", "opt", "bloom"}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}), ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}), ("llama", {"head_dim": 16}),
    ("mistral", {}), ("mistral", {"head_dim": 16}), ("smollm3", {}), ("smollm3", {"attention_bias": True, "tie_word_embeddings": False}),
    ("granite", {}), ("granite", {"attention_bias": True, "mlp_bias": True}), ("qwen2", {}), ("qwen3", {"head_dim": 16}),
    ("qwen3", {"attention_bias": True}), ("gemma", {"head_dim": 16}), ("gemma", {"attention_bias": True, "tie_word_embeddings": False}),
    ("gemma2", {"head_dim": 16}), ("gemma3_text", {"head_dim": 16}), ("phi3", {}), ("stablelm", {}),
    ("stablelm", {"use_qkv_bias": True, "qk_layernorm": True}), ("stablelm", {"use_parallel_residual": True}), ("olmo", {}),
    ("olmo", {"attention_bias": True}), ("olmo2", {}), ("olmo2", {"attention_bias": True}), ("olmo3", {}), ("cohere", {}),
    ("cohere", {"use_qk_norm": True}), ("mixtral", {"num_local_experts": 3}), ("qwen3_moe", {"num_experts": 3, "moe_intermediate_size": 24}),
    ("qwen3_moe", {"num_experts": 3, "mlp_only_layers": [0]}), ("qwen2_moe", {"num_experts": 3, "shared_expert_intermediate_size": 40}),
    ("gpt2", {}), ("gpt2", {"n_inner": 56, "tie_word_embeddings": False}), ("gpt_bigcode", {}), ("gpt_bigcode", {"multi_query": False}),
    ("gpt_neox", {}), ("gpt_neox", {"attention_bias": False, "tie_word_embeddings": True}), ("phi", {}), ("phi", {"qk_layernorm": True}),
    ("falcon", {}), ("falcon", {"multi_query": False, "bias": True, "parallel_attn": False}),
    ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}), ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2,
                                                                                  "num_ln_in_parallel_attn": 1}),
    ("opt", {"ffn_dim": 48}), ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False}), ("bloom", {})]


def built(model_type: str, changes: dict[str, Any]) -> Any:
    """The model that transformers makes of a tiny config, without memory for its weights."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[model_type](**{**_tiny(model_type), **changes})
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def _tiny(model_type: str) -> dict[str, Any]:
    """GPT-2 and its kin name the width of their MLP otherwise, or not at all."""
    return {key: value for key, value in TINY.items() if key != "intermediate_size" or model_type not in _NO_INTERMEDIATE}


def written(model: Any) -> dict[str, Any]:
    """config.json as save_pretrained would write it."""
    return {**json.loads(model.config.to_json_string(use_diff=True)), "architectures": [type(model).__name__]}


@pytest.mark.parametrize(("model_type", "changes"), VARIANTS)
def test_tensors_computed_are_tensors_built(model_type: str, changes: dict[str, Any]) -> None:
    model = built(model_type, changes)
    config = {**_tiny(model_type), **written(model)}
    computed = family_tensors(config, read_numbers(config, "config.json"))
    assert computed == {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def test_every_known_family_is_held_against_the_real_one() -> None:
    assert {model_type for model_type, _ in VARIANTS} == set(KNOWN)


ADAPTERS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # model_type, changes, settings of our config, the same for PEFT
    ("llama", {}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("llama", {}, {}, {}),
    ("llama", {}, {"lora_target_modules": ["q_proj", "down_proj"], "peft_use_dora": True}, {"target_modules": ["q_proj", "down_proj"], "use_dora": True}),
    ("llama", {}, {"lora_target_modules": ["q_proj"], "peft_use_rslora": True}, {"target_modules": ["q_proj"], "use_rslora": True}),
    ("llama", {}, {"lora_target_modules": ["q_proj", "embed_tokens"], "peft_use_dora": True},
     {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True}),
    ("llama", {}, {"lora_target_modules": ["q_proj", "lm_head"]}, {"target_modules": ["q_proj", "lm_head"]}),
    ("llama", {}, {"lora_target_modules": ["v_proj"], "lora_modules_to_save": ["embed_tokens", "lm_head"]},
     {"target_modules": ["v_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}),
    ("llama", {}, {"lora_target_modules": r".*layers\.1\..*_proj"}, {"target_modules": r".*layers\.1\..*_proj"}),
    ("llama", {}, {"lora_target_modules": ["q_proj", "up_proj"], "lora_rank_pattern": {"layers.0.self_attn.q_proj": 2}},
     {"target_modules": ["q_proj", "up_proj"], "rank_pattern": {"layers.0.self_attn.q_proj": 2}}),
    ("llama", {}, {"lora_target_modules": ["q_proj"], "peft_layers_to_transform": [1]}, {"target_modules": ["q_proj"], "layers_to_transform": [1]}),
    ("llama", {}, {"lora_target_modules": ["q_proj"], "peft_trainable_token_indices": [3, 4, 5]},
     {"target_modules": ["q_proj"], "trainable_token_indices": [3, 4, 5]}),
    ("llama", {"tie_word_embeddings": True}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("qwen2", {}, {"lora_target_linear": True, "peft_use_dora": True}, {"target_modules": "all-linear", "use_dora": True}),
    ("qwen3", {"head_dim": 16}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("gemma2", {"head_dim": 16}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("phi3", {}, {"lora_target_modules": ["qkv_proj", "gate_up_proj"]}, {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    ("phi", {}, {}, {}), ("phi", {}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("gpt2", {}, {}, {}), ("gpt2", {}, {"lora_target_linear": True, "peft_use_dora": True}, {"target_modules": "all-linear", "use_dora": True}),
    ("gpt_neox", {}, {}, {}), ("gpt_neox", {}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("falcon", {}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 16}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("bloom", {}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("stablelm", {"use_qkv_bias": True}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("olmo2", {}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("cohere", {"use_qk_norm": True}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("mixtral", {"num_local_experts": 3}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("mixtral", {"num_local_experts": 3}, {"lora_target_modules": ["q_proj", "w1", "w2", "w3"]}, {"target_modules": ["q_proj", "w1", "w2", "w3"]}),
    ("qwen3_moe", {"num_experts": 3, "moe_intermediate_size": 24}, {"lora_target_linear": True}, {"target_modules": "all-linear"}),
    ("qwen3_moe", {"num_experts": 3, "moe_intermediate_size": 24}, {"lora_target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
     {"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]}),
    ("qwen3_moe", {"num_experts": 3, "moe_intermediate_size": 24},
     {"lora_target_modules": ["q_proj"], "lora_target_parameters": ["mlp.experts.gate_up_proj"]},
     {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}),
    ("qwen2_moe", {"num_experts": 3, "shared_expert_intermediate_size": 40}, {"lora_target_linear": True}, {"target_modules": "all-linear"})]


@pytest.mark.parametrize(("model_type", "changes", "ours", "theirs"), ADAPTERS)
def test_what_is_counted_as_trained_is_what_peft_trains(model_type: str, changes: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any],
                                                        tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from tunelab.config import read_config
    from tunelab.facts.shapes import shapes_from_config
    from tunelab.planning.lora import trainable_parameters

    config = CONFIG_MAPPING[model_type](**{**_tiny(model_type), **changes})
    model = transformers.AutoModelForCausalLM.from_config(config)
    shapes = shapes_from_config({**_tiny(model_type), **written(model)}, "config.json")
    assert shapes.parameters == sum(parameter.numel() for parameter in model.parameters())
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, **theirs))
    path = tmp_path / "config.yml"
    path.write_text(json.dumps({"base_model": "org/model", "datasets": [{"path": "data.jsonl", "type": "alpaca"}], "learning_rate": 1e-4,
                                "adapter": "lora", "lora_r": 4, "lora_alpha": 8, **ours}), encoding="utf-8")
    counted = trainable_parameters(read_config(path).config, shapes)
    assert counted == sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)


def test_every_known_model_has_the_tensors_that_transformers_builds() -> None:
    """With two of its layers: all layers of these families are alike."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from tunelab.facts.known_models import known_models

    checked = 0
    for model in known_models().values():
        settings = {key: value for key, value in model.config.items() if key not in ("model_type", "architectures", "dtype")}
        for key in ("intermediate_size", "head_dim", "num_key_value_heads") if model.config["model_type"] in _NO_INTERMEDIATE else ():
            settings.pop(key)
        config = {**model.config, "num_hidden_layers": 2}
        with torch.device("meta"):
            built_model = transformers.AutoModelForCausalLM.from_config(CONFIG_MAPPING[model.config["model_type"]](**{
                **settings, "num_hidden_layers": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
                **({"ffn_dim": model.config["intermediate_size"]} if model.config["model_type"] == "opt" else {})}))
        built_tensors = {name: tuple(parameter.shape) for name, parameter in built_model.named_parameters()}
        assert family_tensors(config, read_numbers(config, model.name)) == built_tensors, model.name
        checked += 1
    assert checked >= 60


def test_every_optimizer_that_transformers_names_has_its_state_in_the_table() -> None:
    from transformers.training_args import OptimizerNames

    from tunelab.planning.optimizers import optimizer_state

    assert [one.value for one in OptimizerNames if not optimizer_state(one.value).known] == []


def test_a_mixture_s_files_give_the_same_tensors_as_its_model(tmp_path: Path) -> None:
    """Written as its family does (an expert is a tensor), read from the headers as transformers loads it (experts are one)."""
    from tunelab.facts.shapes import read_shapes

    for model_type, changes in (("mixtral", {"num_local_experts": 3}), ("qwen3_moe", {"num_experts": 3, "moe_intermediate_size": 24}),
                                ("gpt_neox", {}), ("gpt2", {})):
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        folder = tmp_path / model_type
        model = transformers.AutoModelForCausalLM.from_config(CONFIG_MAPPING[model_type](**{**_tiny(model_type), **changes}))
        model.save_pretrained(folder)
        shapes = read_shapes(folder)
        assert shapes.source == "safetensors headers"
        assert dict(shapes.tensors) == {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
