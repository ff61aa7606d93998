"""Every form of LoRA and of packed weights: as many parameters as planned, exact resume, and what peft itself makes of the saved adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.tiny import write_config, write_data, write_model
from torch.nn import functional

from tunelab.config import Config, read_config
from tunelab.errors import ModelError
from tunelab.facts.shapes import read_shapes
from tunelab.planning.lora import trainable_parameters
from tunelab.planning.vocabulary import with_vocabulary
from tunelab.runners.local import LocalModel
from tunelab.runners.prompt import Prompt, Sampling
from tunelab.runs.events import steps
from tunelab.training.adapters import load_adapter, save_adapter
from tunelab.training.base_weights import packing
from tunelab.training.model import build_model, trainable
from tunelab.workflow.train import train

IDS = torch.tensor([[7, 30, 12, 99, 5, 61, 8, 77, 20, 3, 41, 18]])
FOUR: dict[str, object] = {"adapter": "qlora", "load_in_4bit": True}
FORMS: dict[str, dict[str, object]] = {
    "DoRA": {"peft_use_dora": True},
    "rsLoRA": {"peft_use_rslora": True},
    "gaussian": {"peft_init_lora_weights": "gaussian"},
    "orthogonal": {"peft_init_lora_weights": "orthogonal"},
    "PiSSA": {"peft_init_lora_weights": "pissa"},
    "PiSSA, fast": {"peft_init_lora_weights": "pissa_niter_4"},
    "OLoRA": {"peft_init_lora_weights": "olora"},
    "PiSSA with all the rest": {"peft_init_lora_weights": "pissa", "peft_use_dora": True, "peft_use_rslora": True,
                                "lora_rank_pattern": {"q_proj": 2}, "lora_alpha_pattern": {"v_proj": 3}},
    "one layer": {"peft_layers_to_transform": [1]},
    "one layer and the head": {"peft_layers_to_transform": [1], "lora_target_linear": None, "lora_target_modules": ["q_proj", "lm_head"]},
    "all linear layers and the head": {"lora_target_modules": ["lm_head"]},
    "layers twice": {"peft_layer_replication": [[0, 2], [1, 2]]},
    "tokens": {"peft_trainable_token_indices": [5, 7]},
    "embedding and head": {"lora_modules_to_save": ["embed_tokens", "lm_head"]},
    "embedding and head as one": {"lora_modules_to_save": ["embed_tokens", "lm_head"], "peft_ensure_weight_tying": True},
    "DoRA on the embedding": {"lora_target_linear": None, "lora_target_modules": ["embed_tokens", "q_proj"], "peft_use_dora": True},
    "QLoRA": FOUR,
    "QLoRA, FP4, single quantisation": {**FOUR, "bnb_config_kwargs": {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False}},
    "QDoRA": {**FOUR, "peft_use_dora": True},
    "LoftQ": {**FOUR, "peft": {"loftq_config": {"loftq_bits": 4}}},
    "8 bits": {"load_in_8bit": True},
}


def _config(folder: Path, model: Path, **changes: object) -> Config:
    path = write_config(folder / "config.yml", model, folder / "data.jsonl", folder / "run", **{"lora_dropout": 0, **changes})
    return read_config(path).config


def _build(config: Config, model: Path, vocabulary: int | None = None) -> torch.nn.Module:
    torch.manual_seed(7)
    return build_model(config, model, "fp32", vocabulary or json.loads((model / "config.json").read_text())["vocab_size"])


def _logits(model: Any, **options: object) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS, **options).logits
    return found


def _ours(model: Any) -> torch.Tensor:
    return _logits(model, segment_borders=(0, IDS.shape[1]), use_cache=False)


def _a_few_steps(model: Any) -> list[float]:
    optimizer = torch.optim.AdamW([parameter for _, parameter in trainable(model)], lr=0.01)
    losses = []
    for _ in range(3):
        logits = model.train()(input_ids=IDS, segment_borders=(0, IDS.shape[1]), use_cache=False).logits
        loss = functional.cross_entropy(logits[0, :-1], IDS[0, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_counted_right_trains_resumes_exactly_and_fits_the_original_base(tiny_model: Path, tmp_path: Path, form: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = _config(tmp_path, tiny_model, **FORMS[form])
    model = _build(config, tiny_model)
    assert sum(parameter.numel() for _, parameter in trainable(model)) == trainable_parameters(config, read_shapes(tiny_model)) > 0
    losses = _a_few_steps(model)
    assert losses[-1] < losses[0]
    save_adapter(model, tmp_path / "adapter")
    tuned = _ours(model)
    again = _build(config, tiny_model)
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(_ours(again), tuned), "resuming goes on from the same numbers, bit for bit"
    original = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32, quantization_config=packing(config, torch.float32))
    assert torch.allclose(_logits(PeftModel.from_pretrained(original, tmp_path / "adapter")), tuned, atol=2e-6)


def test_a_start_that_comes_out_differently_elsewhere_is_taken_from_the_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    config = _config(tmp_path, tiny_model, peft_init_lora_weights="pissa_niter_1")
    model = _build(config, tiny_model)
    _a_few_steps(model)
    save_adapter(model, tmp_path / "adapter")
    torch.manual_seed(8)  # the fast decomposition is random: another seed stands for another machine
    other = build_model(config, tiny_model, "fp32", 319)
    load_adapter(other, tmp_path / "adapter")
    assert torch.allclose(_ours(other), _ours(model), atol=2e-6)


def test_loftq_begins_closer_to_the_original_than_plain_packing(tiny_model: Path, tmp_path: Path) -> None:
    whole = _ours(_build(_config(tmp_path, tiny_model), tiny_model))
    packed = _ours(_build(_config(tmp_path, tiny_model, **FOUR), tiny_model))
    loftq = _ours(_build(_config(tmp_path, tiny_model, **{**FORMS["LoftQ"], "lora_r": 16}), tiny_model))
    assert (loftq - whole).norm() < 0.8 * (packed - whole).norm()


def test_experts_get_their_matrices_by_the_names_of_their_tensors(tmp_path: Path) -> None:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    shape = Qwen3MoeConfig(vocab_size=160, hidden_size=32, intermediate_size=64, moe_intermediate_size=16, num_hidden_layers=2, head_dim=8,
                           num_attention_heads=4, num_key_value_heads=2, num_experts=4, num_experts_per_tok=2, max_position_embeddings=64)
    Qwen3MoeForCausalLM(shape).save_pretrained(tmp_path / "experts")
    config = _config(tmp_path, tmp_path / "experts", lora_target_linear=None, lora_target_modules=["q_proj"],
                     lora_target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])
    model = _build(config, tmp_path / "experts", 160)
    assert sum(parameter.numel() for _, parameter in trainable(model)) == trainable_parameters(config, read_shapes(tmp_path / "experts"))
    losses = _a_few_steps(model)
    assert losses[-1] < losses[0]


def test_a_run_on_packed_weights_resumes_exactly(tiny_model: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.jsonl")
    changes = {**FOUR, "lora_dropout": 0.1, "peft_init_lora_weights": None}
    whole = train(str(write_config(tmp_path / "whole.yml", tiny_model, data, tmp_path / "whole", **changes)))
    train(str(write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", **changes)))
    named = write_config(tmp_path / "config.yml", tiny_model, data, tmp_path / "run", **changes,
                         resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    resumed = train(str(named))
    assert (resumed.folder / "adapter_model.safetensors").read_bytes() == (whole.folder / "adapter_model.safetensors").read_bytes()
    assert resumed.manifest["plan"]["trainable"] == resumed.manifest["measured"]["trainable_parameters"]


def test_going_on_from_an_adapter(tiny_model: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.jsonl")
    first = train(str(write_config(tmp_path / "a.yml", tiny_model, data, tmp_path / "a", peft_init_lora_weights="pissa")))
    bare = {"lora_r": None, "lora_alpha": None, "lora_target_linear": None}
    second = train(str(write_config(tmp_path / "b.yml", tiny_model, data, tmp_path / "b", **bare, lora_model_dir=str(tmp_path / "a"), warmup_steps=0)))
    assert second.manifest["plan"]["trainable"] == second.manifest["measured"]["trainable_parameters"]
    before, after = ([event["loss"] for event in steps(one.folder / "events.jsonl")] for one in (first, second))
    assert after[0] < before[0], "it starts where the first one ended"


def test_new_tokens_get_rows_and_an_adapter_that_brings_its_embedding(tiny_model: Path, tmp_path: Path) -> None:
    config = _config(tmp_path, tiny_model, resize_token_embeddings_to_32x=True, lora_modules_to_save=["embed_tokens"])
    model = _build(config, tiny_model, 321)
    assert model.get_input_embeddings().weight.shape[0] == 352  # type: ignore[operator, union-attr]
    planned = trainable_parameters(config, with_vocabulary(config, read_shapes(tiny_model), 321))
    assert sum(parameter.numel() for _, parameter in trainable(model)) == planned
    _a_few_steps(model)
    save_adapter(model, tmp_path / "adapter")
    again = _build(config, tiny_model, 321)
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(_ours(again), _ours(model))
    small = _build(_config(tmp_path, tiny_model, adapter=None, shrink_embeddings=True), tiny_model, 300)
    assert small.get_input_embeddings().weight.shape[0] == 300  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("changes", [FORMS["DoRA"], FORMS["PiSSA"], FORMS["layers twice"], FORMS["tokens"],
                                     {"resize_token_embeddings_to_32x": True, "lora_modules_to_save": ["embed_tokens"]},
                                     {"resize_token_embeddings_to_32x": True}])
def test_the_local_runner_answers_as_the_trained_model(tiny_model: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    model: Any = _build(_config(tmp_path, tiny_model, **changes), tiny_model, 321)
    _a_few_steps(model)
    save_adapter(model.eval(), tmp_path / "adapter")
    ids = IDS.tolist()[0]
    with torch.no_grad():
        for _ in range(6):
            ids.append(int(model(input_ids=torch.tensor([ids]), segment_borders=(0, len(ids)), use_cache=False).logits[0, -1].argmax()))
    local = LocalModel(tiny_model, adapter=tmp_path / "adapter", render=lambda messages: ("", IDS.tolist()[0]),
                       decode=lambda tokens: " ".join(map(str, tokens)), eos_ids=(), pad_id=0)
    answer = next(iter(local.tuned_runner().answer([Prompt("one", ({"role": "user", "content": "x"},))], Sampling(max_new_tokens=6))))
    assert answer.text == " ".join(map(str, ids[-6:]))


def test_mean_resizing_starts_new_rows_near_the_others(tiny_model: Path, tmp_path: Path) -> None:
    rows = [_build(_config(tmp_path, tiny_model, mean_resizing_embeddings=mean), tiny_model, 400).get_input_embeddings().weight  # type: ignore[operator]
            for mean in (True, False)]
    middle = rows[0][:319].mean(0)
    near, far = ((one[319:] - middle).norm(dim=1).mean() for one in rows)
    assert near < far


def test_random_weights_are_drawn_with_the_seed(tiny_model: Path, tmp_path: Path) -> None:
    config = _config(tmp_path, tiny_model, adapter=None, reinit_weights=True)
    first, second = _build(config, tiny_model), _build(config, tiny_model)
    assert torch.equal(_ours(first), _ours(second))
    assert not torch.equal(_ours(first), _ours(_build(_config(tmp_path, tiny_model, adapter=None), tiny_model)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("changes", [{}, FOUR, {"load_in_8bit": True}], ids=["whole", "4 bits", "8 bits"])
def test_a_weight_that_is_no_number_is_named_before_the_first_step(tmp_path: Path, value: float, changes: dict[str, object]) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_model(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.up_proj\.weight.*(NaN|infinite)"):
        _build(_config(tmp_path, folder, **changes), folder)


def test_a_folder_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_model(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"would be random, the first is 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        _build(_config(tmp_path, folder), folder)
