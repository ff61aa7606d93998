"""Shapes of a model, from safetensors headers or computed from config.json."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.unit.planning.cases import SMOL

from tunelab.errors import ModelError
from tunelab.facts.safetensors_header import as_loaded, read_header
from tunelab.facts.shapes import LinearLayer, read_shapes

Tensors = dict[str, tuple[int, ...]]
TINY = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 32, "max_position_embeddings": 64, "tie_word_embeddings": True}


def write_safetensors(path: Path, tensors: Tensors, dtype: str = "F32") -> None:
    """A safetensors file with zeros, written by the format's own description."""
    size = {"F32": 4, "BF16": 2}[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size * math.prod(shape)]}
        end += size * math.prod(shape)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))


def write_config(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def tiny_tensors() -> Tensors:
    tensors: Tensors = {"model.embed_tokens.weight": (32, 8), "model.norm.weight": (8,)}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        tensors |= {f"{prefix}self_attn.q_proj.weight": (8, 8), f"{prefix}self_attn.k_proj.weight": (4, 8),
                    f"{prefix}self_attn.v_proj.weight": (4, 8), f"{prefix}self_attn.o_proj.weight": (8, 8),
                    f"{prefix}mlp.gate_proj.weight": (16, 8), f"{prefix}mlp.up_proj.weight": (16, 8), f"{prefix}mlp.down_proj.weight": (8, 16),
                    f"{prefix}input_layernorm.weight": (8,), f"{prefix}post_attention_layernorm.weight": (8,)}
    return tensors


def test_smollm2_has_its_134_515_008_parameters(tmp_path: Path) -> None:
    shapes = read_shapes(write_config(tmp_path, SMOL))
    assert shapes.parameters == 134_515_008 and shapes.source == "config.json"
    assert (shapes.architecture, shapes.layers, shapes.heads, shapes.kv_heads, shapes.context_length) == ("LlamaForCausalLM", 30, 9, 3, 8192)
    assert len(shapes.linear_layers) == 210 and shapes.tied_embeddings and shapes.dtype == "bfloat16"
    assert LinearLayer("model.layers.0.self_attn.k_proj", 192, 576) in shapes.linear_layers
    assert shapes.head == LinearLayer("lm_head", 49152, 576) and shapes.embedding.name == "model.embed_tokens"


def test_headers_and_config_say_the_same(tmp_path: Path) -> None:
    from_config = read_shapes(write_config(tmp_path, TINY))
    write_safetensors(tmp_path / "model.safetensors", tiny_tensors())
    from_headers = read_shapes(tmp_path)
    assert (from_config.source, from_headers.source) == ("config.json", "safetensors headers")
    assert dict(from_headers.tensors) == dict(from_config.tensors) and from_headers.parameters == from_config.parameters
    assert set(from_headers.linear_layers) == set(from_config.linear_layers)


# Published sizes (model cards and papers), computed here from the numbers in the models' config.json.
@pytest.mark.parametrize(("changes", "parameters"), [
    ({"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
      "num_key_value_heads": 8, "vocab_size": 32000, "tie_word_embeddings": False, "head_dim": None}, 7_241_732_096),
    ({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
      "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False, "head_dim": None}, 8_030_261_248),
    ({"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
      "num_key_value_heads": 2, "vocab_size": 151936, "head_dim": None}, 494_032_768),
    ({"model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
      "num_key_value_heads": 8, "vocab_size": 151936, "head_dim": 128}, 596_049_920),
    ({"model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18, "num_attention_heads": 8,
      "num_key_value_heads": 1, "vocab_size": 256000, "head_dim": 256}, 2_506_172_416),
    ({"model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
      "num_key_value_heads": 32, "vocab_size": 32064, "tie_word_embeddings": False, "head_dim": None}, 3_821_079_552)])
def test_llama_like_families_have_their_published_sizes(changes: dict[str, Any], parameters: int, tmp_path: Path) -> None:
    assert read_shapes(write_config(tmp_path, {**SMOL, **changes})).parameters == parameters


def test_headers_win_over_config(tmp_path: Path) -> None:
    write_config(tmp_path, TINY)
    write_safetensors(tmp_path / "model.safetensors", {**tiny_tensors(), "model.extra.weight": (3, 5)}, "BF16")
    shapes = read_shapes(tmp_path)
    assert shapes.source == "safetensors headers" and shapes.dtype == "bfloat16"
    assert LinearLayer("model.extra", 3, 5) in shapes.linear_layers


def test_a_tied_head_counts_once_even_when_the_file_holds_it(tmp_path: Path) -> None:
    write_config(tmp_path, TINY)
    write_safetensors(tmp_path / "model.safetensors", tiny_tensors())
    tied = read_shapes(tmp_path).parameters
    write_safetensors(tmp_path / "model.safetensors", {**tiny_tensors(), "lm_head.weight": (32, 8)})
    assert read_shapes(tmp_path).parameters == tied
    write_config(tmp_path, {**TINY, "tie_word_embeddings": False})
    untied = read_shapes(tmp_path)
    assert untied.parameters == tied + 256 and untied.head == LinearLayer("lm_head", 32, 8)
    assert all(layer.name != "lm_head" for layer in untied.linear_layers)


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    write_config(tmp_path, TINY)
    tensors = tiny_tensors()
    halves = [dict(list(tensors.items())[:9]), dict(list(tensors.items())[9:])]
    names = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        write_safetensors(tmp_path / name, half)
    index = {"weight_map": {tensor: name for name, half in zip(names, halves, strict=True) for tensor in half}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert dict(read_shapes(tmp_path).tensors) == tensors
    (tmp_path / names[1]).unlink()
    assert read_shapes(tmp_path).source == "config.json", "half of the weights say less than the config"


def test_transposed_weights_of_gpt2_are_turned(tmp_path: Path) -> None:
    write_config(tmp_path, {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 32,
                            "n_positions": 64})
    write_safetensors(tmp_path / "model.safetensors", {"wte.weight": (32, 8), "wpe.weight": (64, 8), "h.0.attn.c_attn.weight": (8, 24)})
    shapes = read_shapes(tmp_path)
    assert shapes.linear_layers == (LinearLayer("transformer.h.0.attn.c_attn", 24, 8),)
    assert (shapes.vocab_size, shapes.context_length, shapes.embedding.name, shapes.tied_embeddings) == (32, 64, "transformer.wte", True)


def damage(path: Path, what: str) -> None:
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    broken = {"empty": b"", "short": whole[:5], "cut off": whole[:-10], "longer": whole + b"x", "no JSON": whole[:8] + b"?" * length + whole[8 + length:],
              "huge header": (2**60).to_bytes(8, "little") + whole[8:], "a list": (2).to_bytes(8, "little") + b"[]",
              "a page": b"<!doctype html><html></html>", "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
              "wrong entry": (19).to_bytes(8, "little") + b'{"a": {"dtype": 1}}', "not UTF-8": (4).to_bytes(8, "little") + b"\xff\xff\xff\xff"}
    path.write_bytes(broken[what])


@pytest.mark.parametrize("what", ["empty", "short", "cut off", "longer", "no JSON", "huge header", "a list", "a page", "a pointer", "wrong entry",
                                  "not UTF-8"])
def test_a_damaged_file_is_named(what: str, tmp_path: Path) -> None:
    write_config(tmp_path, TINY)
    path = tmp_path / "model.safetensors"
    write_safetensors(path, tiny_tensors())
    damage(path, what)
    with pytest.raises(ModelError) as error:
        read_shapes(tmp_path)
    assert str(path) in str(error.value) and error.value.next_step


def test_a_deeply_nested_header_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = b"[" * 200_000
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ModelError):
        read_header(path)


@pytest.mark.parametrize(("text", "said"), [("{", "cannot be read"), ("[]", "not a mapping"), ("{}", "no whole number for hidden_size"),
                                            ('{"hidden_size": 8, "num_attention_heads": "x"}', "num_attention_heads")])
def test_a_config_json_that_is_none_is_said(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=said):
        read_shapes(tmp_path)


def test_an_unknown_family_needs_its_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be computed from config\.json alone"):
        read_shapes(write_config(tmp_path, {**TINY, "model_type": "mamba", "architectures": ["MambaForCausalLM"]}))


def test_old_spellings_and_buffers_become_what_is_loaded() -> None:
    found = as_loaded({
        "h.0.attn.bias": (1, 1, 64, 64), "h.0.attn.masked_bias": (), "h.0.attn.c_attn.bias": (24,), "wte.weight": (32, 8)}, "gpt2")
    assert found == {"transformer.h.0.attn.c_attn.bias": (24,), "transformer.wte.weight": (32, 8)}
    assert as_loaded({"embed_out.weight": (32, 8), "gpt_neox.layers.0.attention.bias": (1, 1, 64, 64),
                      "gpt_neox.layers.0.attention.rotary_emb.inv_freq": (4,)}, "gpt_neox") == {"lm_head.weight": (32, 8)}


def test_experts_of_a_file_become_one_tensor() -> None:
    mixtral = {f"model.layers.0.block_sparse_moe.experts.{expert}.{name}.weight": (16, 8) if name != "w2" else (8, 16)
               for expert in range(3) for name in ("w1", "w2", "w3")}
    qwen = {f"model.layers.0.mlp.experts.{expert}.{name}_proj.weight": (16, 8) if name != "down" else (8, 16)
            for expert in range(3) for name in ("gate", "up", "down")}
    expected = {"model.layers.0.mlp.experts.gate_up_proj": (3, 32, 8), "model.layers.0.mlp.experts.down_proj": (3, 8, 16)}
    assert as_loaded(mixtral, "mixtral") == expected == as_loaded(qwen, "qwen3_moe")
