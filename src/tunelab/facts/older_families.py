"""The tensors of the families before Llama: GPT-2, GPT-NeoX (Pythia), Phi-1 and 2, Falcon, OPT, BLOOM, StarCoder.

Layer norms with biases, MLPs of two matrices; several have one fused matrix for q, k, v. Sources: GPT-2 (Radford et al. 2019), GPT-NeoX
(arXiv:2204.06745), Phi (arXiv:2306.11644), Falcon (arXiv:2311.16867), OPT (arXiv:2205.01068), BLOOM (arXiv:2211.05100), StarCoder
(arXiv:2305.06161), and their config.json files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunelab.facts.families import ModelNumbers

Shape = tuple[int, ...]
Part = tuple[str, Shape, bool]
"""(module name, shape of its weight, whether it has a bias)."""
OLDER = frozenset({"gpt2", "gpt_bigcode", "gpt_neox", "phi", "falcon", "opt", "bloom"})


def older_tensors(config: Mapping[str, Any], size: ModelNumbers, tied: bool) -> dict[str, Shape]:
    """Tensor name -> shape in memory."""
    before, prefix, after = _FRAMES[size.model_type](config, size)
    layer = _LAYERS[size.model_type](config, size)
    parts = [*before, *((f"{prefix}.{index}.{name}", shape, biased) for index in range(size.layers) for name, shape, biased in layer), *after]
    if not tied:
        parts.append(("lm_head", (size.vocab_size, size.hidden_size), size.model_type == "phi"))
    return _tensors(parts, turned=size.model_type in ("gpt2",))


def _tensors(parts: Iterable[Part], *, turned: bool) -> dict[str, Shape]:
    """Weights and biases; a bias is as long as its layer's output, which comes second where matrices are stored (in, out)."""
    found: dict[str, Shape] = {}
    for name, shape, biased in parts:
        found[f"{name}.weight"] = shape
        if biased:
            found[f"{name}.bias"] = (shape[1] if turned and len(shape) == 2 else shape[0],)
    return found


def _norm(name: str, size: ModelNumbers) -> Part:
    return name, (size.hidden_size,), True


Frame = tuple[list[Part], str, list[Part]]


def _gpt2_frame(_: Mapping[str, Any], size: ModelNumbers) -> Frame:
    before: list[Part] = [("transformer.wte", (size.vocab_size, size.hidden_size), False),
                          ("transformer.wpe", (size.context_length, size.hidden_size), False)]
    return before, "transformer.h", [_norm("transformer.ln_f", size)]


def _neox_frame(_: Mapping[str, Any], size: ModelNumbers) -> Frame:
    return [("gpt_neox.embed_in", (size.vocab_size, size.hidden_size), False)], "gpt_neox.layers", [_norm("gpt_neox.final_layer_norm", size)]


def _phi_frame(_: Mapping[str, Any], size: ModelNumbers) -> Frame:
    return [("model.embed_tokens", (size.vocab_size, size.hidden_size), False)], "model.layers", [_norm("model.final_layernorm", size)]


def _falcon_frame(_: Mapping[str, Any], size: ModelNumbers) -> Frame:
    return [("transformer.word_embeddings", (size.vocab_size, size.hidden_size), False)], "transformer.h", [_norm("transformer.ln_f", size)]


def _bloom_frame(config: Mapping[str, Any], size: ModelNumbers) -> Frame:
    before, prefix, after = _falcon_frame(config, size)
    return [*before, _norm("transformer.word_embeddings_layernorm", size)], prefix, after


def _opt_frame(config: Mapping[str, Any], size: ModelNumbers) -> Frame:
    inner = int(config.get("word_embed_proj_dim") or size.hidden_size)
    before: list[Part] = [("model.decoder.embed_tokens", (size.vocab_size, inner), False),
                          ("model.decoder.embed_positions", (size.context_length + 2, size.hidden_size), False)]
    after = [_norm("model.decoder.final_layer_norm", size)] if config.get("do_layer_norm_before", True) \
        and not config.get("_remove_final_layer_norm", False) else []
    if inner != size.hidden_size:
        before += [("model.decoder.project_in", (size.hidden_size, inner), False), ("model.decoder.project_out", (inner, size.hidden_size), False)]
    return before, "model.decoder.layers", after


def _gpt2_layer(_: Mapping[str, Any], size: ModelNumbers) -> list[Part]:
    hidden, inner = size.hidden_size, size.intermediate_size
    return [_norm("ln_1", size), ("attn.c_attn", (hidden, 3 * hidden), True), ("attn.c_proj", (hidden, hidden), True), _norm("ln_2", size),
            ("mlp.c_fc", (hidden, inner), True), ("mlp.c_proj", (inner, hidden), True)]


def _bigcode_layer(_: Mapping[str, Any], size: ModelNumbers) -> list[Part]:
    hidden, inner = size.hidden_size, size.intermediate_size
    keys = size.kv_heads * size.head_dim
    return [_norm("ln_1", size), ("attn.c_attn", (hidden + 2 * keys, hidden), True), ("attn.c_proj", (hidden, hidden), True),
            _norm("ln_2", size), ("mlp.c_fc", (inner, hidden), True), ("mlp.c_proj", (hidden, inner), True)]


def _neox_layer(config: Mapping[str, Any], size: ModelNumbers) -> list[Part]:
    hidden, inner, biased = size.hidden_size, size.intermediate_size, bool(config.get("attention_bias", True))
    return [_norm("input_layernorm", size), _norm("post_attention_layernorm", size),
            ("attention.query_key_value", (3 * hidden, hidden), biased), ("attention.dense", (hidden, hidden), biased),
            ("mlp.dense_h_to_4h", (inner, hidden), True), ("mlp.dense_4h_to_h", (hidden, inner), True)]


def _phi_layer(config: Mapping[str, Any], size: ModelNumbers) -> list[Part]:
    hidden, inner, keys = size.hidden_size, size.intermediate_size, size.kv_heads * size.head_dim
    found: list[Part] = [("self_attn.q_proj", (hidden, hidden), True), ("self_attn.k_proj", (keys, hidden), True),
                         ("self_attn.v_proj", (keys, hidden), True), ("self_attn.dense", (hidden, hidden), True)]
    if config.get("qk_layernorm", False):
        found += [(f"self_attn.{name}_layernorm", (size.head_dim,), True) for name in "qk"]
    return [*found, ("mlp.fc1", (inner, hidden), True), ("mlp.fc2", (hidden, inner), True), _norm("input_layernorm", size)]


def _falcon_layer(config: Mapping[str, Any], size: ModelNumbers) -> list[Part]:
    """Falcon-7B has one norm a layer; the later ones two, one for each of the parallel branches."""
    hidden, inner, biased = size.hidden_size, size.intermediate_size, bool(config.get("bias", False))
    new = bool(config.get("new_decoder_architecture", False))
    keys = size.kv_heads * size.head_dim
    parallel = bool(config.get("parallel_attn", True))
    two = new and int(config.get("num_ln_in_parallel_attn") or 2) == 2
    norms = [_norm("ln_attn", size), _norm("ln_mlp", size)] if two else \
        [_norm("input_layernorm", size)] + ([] if parallel else [_norm("post_attention_layernorm", size)])
    return [("self_attention.query_key_value", (hidden + 2 * keys, hidden), biased), ("self_attention.dense", (hidden, hidden), biased),
            ("mlp.dense_h_to_4h", (inner, hidden), biased), ("mlp.dense_4h_to_h", (hidden, inner), biased), *norms]


def _bloom_layer(_: Mapping[str, Any], size: ModelNumbers) -> list[Part]:
    hidden = size.hidden_size
    return [_norm("input_layernorm", size), ("self_attention.query_key_value", (3 * hidden, hidden), True),
            ("self_attention.dense", (hidden, hidden), True), _norm("post_attention_layernorm", size),
            ("mlp.dense_h_to_4h", (4 * hidden, hidden), True), ("mlp.dense_4h_to_h", (hidden, 4 * hidden), True)]


def _opt_layer(config: Mapping[str, Any], size: ModelNumbers) -> list[Part]:
    hidden, inner, biased = size.hidden_size, size.intermediate_size, bool(config.get("enable_bias", True))
    return [*((f"self_attn.{name}_proj", (hidden, hidden), biased) for name in ("k", "v", "q", "out")), _norm("self_attn_layer_norm", size),
            ("fc1", (inner, hidden), biased), ("fc2", (hidden, inner), biased), _norm("final_layer_norm", size)]


_FRAMES = {"gpt2": _gpt2_frame, "gpt_bigcode": _gpt2_frame, "gpt_neox": _neox_frame, "phi": _phi_frame, "falcon": _falcon_frame,
           "opt": _opt_frame, "bloom": _bloom_frame}
_LAYERS = {"gpt2": _gpt2_layer, "gpt_bigcode": _bigcode_layer, "gpt_neox": _neox_layer, "phi": _phi_layer, "falcon": _falcon_layer,
           "opt": _opt_layer, "bloom": _bloom_layer}
