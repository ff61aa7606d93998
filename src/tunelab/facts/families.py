"""What config.json says in numbers, and the tensors that the Llama-like families are made of, computed from those numbers.

Sources: the models' papers and config.json files. Llama 2 (arXiv:2307.09288), Mistral 7B (arXiv:2310.06825), Qwen2 (arXiv:2407.10671),
Qwen3 (arXiv:2505.09388), Gemma (arXiv:2403.08295), Phi-3 (arXiv:2404.14219), SmolLM3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunelab.errors import ModelError

LLAMA_LIKE = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "phi3", "smollm3"})
_TIED_BY_DEFAULT = frozenset({"gemma", "gemma2", "gemma3", "gemma3_text", "gpt2", "opt", "bloom", "smollm3"})


@dataclass(frozen=True, slots=True)
class ModelNumbers:
    """The sizes that config.json names; `architecture` is a transformers class name, `model_type` its family."""

    architecture: str
    model_type: str
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    context_length: int


def default_tied(model_type: str) -> bool:
    """Whether a family ties its output head to its embedding when config.json does not say."""
    return model_type in _TIED_BY_DEFAULT


def read_numbers(config: Mapping[str, Any], where: str) -> ModelNumbers:
    """The sizes in a config.json, GPT-2's older names included. `where` names the file. Raises ModelError when one is missing."""
    text = config.get("text_config")
    inner = text if isinstance(text, Mapping) and "hidden_size" not in config else config

    def number(*names: str, default: int | None = None) -> int:
        value = next((inner[name] for name in names if inner.get(name) is not None), default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ModelError(f"config.json has no whole number for {names[0]}.", where=where,
                             next_step="Is this the config.json of a language model?")
        return value

    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else "an unnamed architecture"
    hidden, heads = number("hidden_size", "n_embd", "d_model"), number("num_attention_heads", "n_head")
    return ModelNumbers(
        architecture, str(inner.get("model_type") or config.get("model_type") or ""), hidden,
        number("num_hidden_layers", "n_layer"), heads, number("num_key_value_heads", default=heads),
        number("head_dim", default=hidden // max(1, heads)), number("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden),
        number("vocab_size"), number("max_position_embeddings", "n_positions", default=0))


def family_tensors(config: Mapping[str, Any], size: ModelNumbers) -> dict[str, tuple[int, ...]] | None:
    """Tensor name -> shape, as the family's safetensors files would have them; None for a family that is not known here."""
    if size.model_type not in LLAMA_LIKE or "text_config" in config:
        return None
    hidden = size.hidden_size
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (size.vocab_size, hidden)}
    for layer in range(size.layers):
        prefix = f"model.layers.{layer}."
        for name, shape in (*_attention(config, size), *_mlp(config, size)):
            tensors[prefix + name] = shape
        tensors[prefix + "input_layernorm.weight"] = (hidden,)
        tensors[prefix + "post_attention_layernorm.weight"] = (hidden,)
    tensors["model.norm.weight"] = (hidden,)
    if not config.get("tie_word_embeddings", default_tied(size.model_type)):
        tensors["lm_head.weight"] = (size.vocab_size, hidden)
    return tensors


def _attention(config: Mapping[str, Any], size: ModelNumbers) -> list[tuple[str, tuple[int, ...]]]:
    hidden, queries, keys = size.hidden_size, size.heads * size.head_dim, size.kv_heads * size.head_dim
    if size.model_type == "phi3":
        return [("self_attn.qkv_proj.weight", (queries + 2 * keys, hidden)), ("self_attn.o_proj.weight", (hidden, queries))]
    found: list[tuple[str, tuple[int, ...]]] = []
    biased = bool(config.get("attention_bias", False))
    for name, rows, columns in (("q", queries, hidden), ("k", keys, hidden), ("v", keys, hidden), ("o", hidden, queries)):
        found.append((f"self_attn.{name}_proj.weight", (rows, columns)))
        if biased or (size.model_type == "qwen2" and name != "o"):  # Qwen2 always has them on q, k, v and never on o
            found.append((f"self_attn.{name}_proj.bias", (rows,)))
    if size.model_type == "qwen3":
        found += [("self_attn.q_norm.weight", (size.head_dim,)), ("self_attn.k_norm.weight", (size.head_dim,))]
    return found


def _mlp(config: Mapping[str, Any], size: ModelNumbers) -> list[tuple[str, tuple[int, ...]]]:
    hidden, inner = size.hidden_size, size.intermediate_size
    if size.model_type == "phi3":
        return [("mlp.gate_up_proj.weight", (2 * inner, hidden)), ("mlp.down_proj.weight", (hidden, inner))]
    found: list[tuple[str, tuple[int, ...]]] = []
    for name, rows, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
        found.append((f"mlp.{name}_proj.weight", (rows, columns)))
        if config.get("mlp_bias", False):
            found.append((f"mlp.{name}_proj.bias", (rows,)))
    return found
