"""What config.json says in numbers, and the tensors that the known families are made of, computed from those numbers.

Names and shapes are those of the model in memory (transformers 5: the experts of a mixture are one tensor). Sources: the models' papers
and config.json files. Llama (arXiv:2302.13971, 2307.09288, 2407.21783), Mistral 7B (arXiv:2310.06825), Mixtral (arXiv:2401.04088), Qwen2
(arXiv:2407.10671), Qwen3 (arXiv:2505.09388), Gemma (arXiv:2403.08295, 2408.00118, 2503.19786), Phi-3 (arXiv:2404.14219), StableLM 2
(arXiv:2402.17834), OLMo (arXiv:2402.00838, 2501.00656), SmolLM3, Granite, Command R; families before Llama: `facts.older_families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tunelab.errors import ModelError
from tunelab.facts.older_families import OLDER, Shape, older_tensors

_PRE = ("input_layernorm", "post_attention_layernorm")
_FOUR = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
_POST = ("post_attention_layernorm", "post_feedforward_layernorm")


@dataclass(frozen=True, slots=True)
class Style:
    """How a Llama-like family differs from Llama.

    `norms`: of one layer. `norm_bias`: they have biases. `fused`: one matrix for q, k, v and one for gate and up. `qkv_bias`: q, k and v
    always have biases. `bias_key`: whether `attention_bias` in config.json gives q, k, v and o biases. `mlp_bias_key`: the same for
    `mlp_bias`. `qk_norm`: q and k are normalised per head, or over all heads ("whole"). `experts`: how config.json names their number.
    """

    norms: tuple[str, ...] = _PRE
    norm_bias: bool = False
    final_norm: bool = True
    fused: bool = False
    qkv_bias: bool = False
    bias_key: bool = True
    mlp_bias_key: bool = False
    qk_norm: str = ""
    experts: str = ""


STYLES: Mapping[str, Style] = MappingProxyType({
    "llama": Style(mlp_bias_key=True), "mistral": Style(bias_key=False), "smollm3": Style(mlp_bias_key=True),
    "granite": Style(mlp_bias_key=True), "qwen2": Style(qkv_bias=True, bias_key=False), "qwen3": Style(qk_norm="head"),
    "gemma": Style(), "gemma2": Style(_FOUR), "gemma3_text": Style(_FOUR, qk_norm="head"), "phi3": Style(fused=True, bias_key=False),
    "stablelm": Style(norm_bias=True, bias_key=False), "olmo": Style((), final_norm=False), "olmo2": Style(_POST, qk_norm="whole"),
    "olmo3": Style(_POST, qk_norm="whole"), "cohere": Style(("input_layernorm",)),
    "mixtral": Style(bias_key=False, experts="num_local_experts"), "qwen3_moe": Style(qk_norm="head", experts="num_experts"),
    "qwen2_moe": Style(qkv_bias=True, bias_key=False, experts="num_experts"),
})
KNOWN = frozenset(STYLES) | OLDER
"""The values of `model_type` whose tensors are computed."""
_TIED_BY_DEFAULT = frozenset({"gemma", "gemma2", "gemma3", "gemma3_text", "gpt2", "gpt_bigcode", "opt", "bloom", "falcon", "smollm3", "cohere"})
_EXPERT_DEFAULTS = {"mixtral": (8, 2, 0), "qwen3_moe": (128, 8, 768), "qwen2_moe": (60, 4, 1408)}  # experts, active ones, inner size


@dataclass(frozen=True, slots=True)
class ModelNumbers:
    """The sizes that config.json names; `architecture` is a transformers class name, `model_type` its family.

    `experts`: of a mixture (0: none), of which a token visits `active_experts`, each `expert_size` wide.
    """

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
    experts: int = 0
    active_experts: int = 0
    expert_size: int = 0


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
    model_type = str(inner.get("model_type") or config.get("model_type") or "")
    hidden, heads = number("hidden_size", "n_embd", "d_model"), number("num_attention_heads", "n_head")
    experts, active, width = _EXPERT_DEFAULTS.get(model_type, (0, 0, 0))
    size = number("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", default=4 * hidden)
    return ModelNumbers(
        architecture, model_type, hidden, number("num_hidden_layers", "n_layer"), heads, _kv_heads(inner, model_type, heads, number),
        number("head_dim", default=hidden // max(1, heads)), size, number("vocab_size"),
        number("max_position_embeddings", "n_positions", "seq_length", default=0),
        number("num_local_experts", "num_experts", "n_routed_experts", default=experts), number("num_experts_per_tok", default=active),
        number("moe_intermediate_size", default=width or size))


def _kv_heads(config: Mapping[str, Any], model_type: str, heads: int, number: Any) -> int:
    """Heads of keys and values; the older families say in other words that all queries share one."""
    if model_type == "gpt_bigcode" or (model_type == "falcon" and not config.get("new_decoder_architecture", False)):
        return 1 if config.get("multi_query", True) else heads
    return int(number("num_key_value_heads", "num_kv_heads", default=heads))


def family_tensors(config: Mapping[str, Any], size: ModelNumbers) -> dict[str, Shape] | None:
    """Tensor name -> shape of a model's parameters in memory, a head only where it is not tied; None for a family not known here."""
    if "text_config" in config or size.model_type not in KNOWN:
        return None
    tied = bool(config.get("tie_word_embeddings", default_tied(size.model_type)))
    if size.model_type in OLDER:
        return older_tensors(config, size, tied)
    style, hidden = STYLES[size.model_type], size.hidden_size
    tensors: dict[str, Shape] = {"model.embed_tokens.weight": (size.vocab_size, hidden)}
    for layer in range(size.layers):
        prefix = f"model.layers.{layer}."
        for name, shape in (*_attention(config, size, style), *_mlp(config, size, style, layer), *_norms(config, size, style)):
            tensors[prefix + name] = shape
    if style.final_norm:
        tensors |= _norm("model.norm", hidden, style.norm_bias)
    if not tied:
        tensors["lm_head.weight"] = (size.vocab_size, hidden)
    return tensors


def is_sparse(config: Mapping[str, Any], size: ModelNumbers, layer: int) -> bool:
    """Whether a layer of this model holds experts instead of one MLP."""
    if not size.experts:
        return False
    dense = config.get("mlp_only_layers") or ()
    return layer not in dense and (layer + 1) % max(1, int(config.get("decoder_sparse_step") or 1)) == 0


def _attention(config: Mapping[str, Any], size: ModelNumbers, style: Style) -> list[tuple[str, Shape]]:
    hidden, queries, keys = size.hidden_size, size.heads * size.head_dim, size.kv_heads * size.head_dim
    if style.fused:
        return [("self_attn.qkv_proj.weight", (queries + 2 * keys, hidden)), ("self_attn.o_proj.weight", (hidden, queries))]
    found: list[tuple[str, Shape]] = []
    biased = style.bias_key and bool(config.get("attention_bias", False))
    inner = (style.qkv_bias and bool(config.get("qkv_bias", True))) or bool(size.model_type == "stablelm" and config.get("use_qkv_bias", False))
    for name, rows, columns in (("q", queries, hidden), ("k", keys, hidden), ("v", keys, hidden), ("o", hidden, queries)):
        found.append((f"self_attn.{name}_proj.weight", (rows, columns)))
        if biased or (inner and name != "o"):
            found.append((f"self_attn.{name}_proj.bias", (rows,)))
    return found + _qk_norms(config, size, style)


def _qk_norms(config: Mapping[str, Any], size: ModelNumbers, style: Style) -> list[tuple[str, Shape]]:
    if style.qk_norm == "head":
        return [(f"self_attn.{name}_norm.weight", (size.head_dim,)) for name in "qk"]
    if style.qk_norm == "whole":
        return [("self_attn.q_norm.weight", (size.heads * size.head_dim,)), ("self_attn.k_norm.weight", (size.kv_heads * size.head_dim,))]
    if size.model_type == "cohere" and config.get("use_qk_norm", False):
        return [("self_attn.q_norm.weight", (size.heads, size.head_dim)), ("self_attn.k_norm.weight", (size.kv_heads, size.head_dim))]
    if size.model_type == "stablelm" and config.get("qk_layernorm", False):
        return [(f"self_attn.{name}_layernorm.norms.{head}.weight", (size.head_dim,))
                for name, heads in (("q", size.heads), ("k", size.kv_heads)) for head in range(heads)]
    return []


def _mlp(config: Mapping[str, Any], size: ModelNumbers, style: Style, layer: int) -> list[tuple[str, Shape]]:
    hidden, inner = size.hidden_size, size.intermediate_size
    if style.experts and is_sparse(config, size, layer):
        found: list[tuple[str, Shape]] = [
            ("mlp.gate.weight", (size.experts, hidden)), ("mlp.experts.gate_up_proj", (size.experts, 2 * size.expert_size, hidden)),
            ("mlp.experts.down_proj", (size.experts, hidden, size.expert_size))]
        if size.model_type == "qwen2_moe":
            shared = int(config.get("shared_expert_intermediate_size", 5632))
            found += [*_gated("mlp.shared_expert.", hidden, shared), ("mlp.shared_expert_gate.weight", (1, hidden))]
        return found
    if style.fused:
        return [("mlp.gate_up_proj.weight", (2 * inner, hidden)), ("mlp.down_proj.weight", (hidden, inner))]
    return _gated("mlp.", hidden, inner, biased=style.mlp_bias_key and bool(config.get("mlp_bias", False)))


def _gated(prefix: str, hidden: int, inner: int, *, biased: bool = False) -> list[tuple[str, Shape]]:
    """Shazeer 2020 (arXiv:2002.05202): gate, up and down."""
    found: list[tuple[str, Shape]] = []
    for name, rows, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
        found.append((f"{prefix}{name}_proj.weight", (rows, columns)))
        if biased:
            found.append((f"{prefix}{name}_proj.bias", (rows,)))
    return found


def _norms(config: Mapping[str, Any], size: ModelNumbers, style: Style) -> list[tuple[str, Shape]]:
    names = style.norms[:1] if size.model_type == "stablelm" and config.get("use_parallel_residual", False) else style.norms
    return [item for name in names for item in _norm(name, size.hidden_size, style.norm_bias).items()]


def _norm(name: str, width: int, biased: bool) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), **({f"{name}.bias": (width,)} if biased else {})}
