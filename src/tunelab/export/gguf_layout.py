"""What a Hugging Face model's tensors and sizes are called in GGUF, for the Llama-like families that llama.cpp runs.

Names and keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and the tables of the library `gguf`. What llama.cpp expects beside
names: its rotary embedding pairs neighbouring values for the architecture `llama` (so the rows of q and k change places), and Gemma's norms
hold 1 + weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from tunelab.errors import ModelError
from tunelab.export.gguf_check import THEIRS
from tunelab.facts.shapes import read_model_config


@dataclass(frozen=True, slots=True)
class Family:
    """How a model_type is written: llama.cpp's architecture, whether q and k are permuted, whether norms hold 1 + weight."""

    architecture: str
    permuted: bool = False
    norm_plus_one: bool = False


FAMILIES: Mapping[str, Family] = MappingProxyType({
    "llama": Family("llama", permuted=True), "mistral": Family("llama", permuted=True), "granite": Family("granite", permuted=True),
    "qwen2": Family("qwen2"), "qwen3": Family("qwen3"), "gemma": Family("gemma", norm_plus_one=True), "gemma2": Family("gemma2", norm_plus_one=True),
    "gemma3_text": Family("gemma3", norm_plus_one=True), "smollm3": Family("smollm3", permuted=True), "olmo2": Family("olmo2"), "phi3": Family("phi3"),
})
"""model_type -> how it is written."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A model as GGUF sees it. `names`: of a Hugging Face tensor its name in GGUF."""

    family: Family
    config: Mapping[str, Any]
    names: Any

    @property
    def heads(self) -> int:
        """Attention heads."""
        return int(self.config["num_attention_heads"])

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return int(self.config.get("num_key_value_heads") or self.heads)

    @property
    def head_dim(self) -> int:
        """Numbers per head."""
        return int(self.config.get("head_dim") or self.config["hidden_size"] // self.heads)

    def name(self, tensor: str) -> str | None:
        """The GGUF name of a tensor; None for one that is not stored (a buffer)."""
        found: str | None = self.names.get_name(tensor, try_suffixes=(".weight", ".bias"))
        return found

    def value(self, tensor: str, value: torch.Tensor) -> torch.Tensor:
        """The numbers as llama.cpp wants them."""
        if self.family.permuted and tensor.rpartition(".")[0].endswith(("self_attn.q_proj", "self_attn.k_proj")):
            heads = self.heads if "q_proj" in tensor else self.kv_heads
            return permuted(value, heads)
        if self.family.norm_plus_one and tensor.endswith("norm.weight"):
            return value.float() + 1.0
        return value


def permuted(value: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows of each head from two halves (x0..., y0...) to neighbours (x0, y0, x1, y1, ...), as llama.cpp's rotary embedding pairs them."""
    return value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def layout_of(folder: Path) -> Layout:
    """How the model in a folder is written; its sizes as transformers reads them, so that what config.json leaves out has its value. Raises
    ModelError for a model that llama.cpp would not run as transformers does."""
    import gguf
    from transformers import AutoConfig

    kind, where = str(read_model_config(folder).get("model_type", "")), str(folder)
    family = FAMILIES.get(kind)
    if family is None:
        raise ModelError(f"Models of the type {kind!r} are not written as GGUF here; the types are {', '.join(FAMILIES)}.", where=where, next_step=THEIRS)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).to_dict()
    except Exception as error:  # transformers' checks raise what they like
        raise ModelError(f"transformers cannot read the model's config.json: {' '.join(str(error).split())[:200]}", where=where,
                         next_step="Download the model again.") from error
    wrong = _peculiarity(config, family.architecture)
    if wrong is not None:
        raise ModelError(f"llama.cpp would not run this model as transformers does: {wrong}.", where=where, next_step=THEIRS)
    number = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == family.architecture)
    return Layout(family, config, gguf.get_tensor_name_map(number, int(config["num_hidden_layers"])))


def _peculiarity(config: Mapping[str, Any], architecture: str) -> str | None:
    """What llama.cpp has no key for and takes for given, where this model has it otherwise; in a few words, or None."""
    layers, kind = int(config["num_hidden_layers"]), rope(config).get("rope_type")
    if kind not in ("default", "linear", "llama3"):
        return f"its rope scaling is {kind!r}, and default, linear and llama3 are written here"
    every = {"gemma2": 2, "gemma3": 6}.get(architecture)
    if every is not None and config["layer_types"] != ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)]:
        return f"not every layer but each {every}th has a sliding window"
    if architecture == "smollm3" and config["no_rope_layers"] != [int((layer + 1) % 4 != 0) for layer in range(layers)]:
        return "other layers than each 4th are without rotary embedding"
    if every is not None:
        large = {"gemma2": 46, "gemma3": 62}[architecture] == layers  # the 27B of both
        scale = config["hidden_size"] // config["num_attention_heads"] if large else config["head_dim"]
        if config["query_pre_attn_scalar"] != scale:
            return f"its attention is scaled by {config['query_pre_attn_scalar']} (query_pre_attn_scalar), and not by {scale}"
    if architecture == "gemma2" and None in (config["attn_logit_softcapping"], config["final_logit_softcapping"]):
        return "its logits are not capped"
    return None


def rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rotary embedding's settings; `local_theta`: that of layers with a sliding window, where it is another."""
    found = config.get("rope_parameters") or {}
    if "full_attention" in found:  # one entry per kind of layer: Gemma 3
        return {**found["full_attention"], "local_theta": found["sliding_attention"]["rope_theta"]}
    return found


def context(layout: Layout) -> int:
    """Tokens up to which llama.cpp does what transformers does: beyond a sliding window it does not, but for Gemma."""
    window, longest = layout.config.get("sliding_window"), int(layout.config["max_position_embeddings"])
    return min(longest, int(window)) if window and layout.family.architecture not in ("gemma2", "gemma3") else longest


def write_sizes(writer: Any, layout: Layout) -> None:
    """The model's sizes as keys of the header."""
    import gguf

    config, scaling = layout.config, rope(layout.config)
    writer.add_context_length(context(layout))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(layout.heads)
    writer.add_head_count_kv(layout.kv_heads)
    writer.add_key_length(layout.head_dim)
    writer.add_value_length(layout.head_dim)
    writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", 1e-6)))
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_rope_freq_base(float(scaling["rope_theta"]))
    writer.add_rope_dimension_count(int(layout.head_dim * float(config.get("partial_rotary_factor") or scaling.get("partial_rotary_factor") or 1.0)))
    if scaling["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(scaling["factor"]))
    _write_peculiar(writer, layout)


def rope_factors(layout: Layout) -> torch.Tensor | None:
    """Llama 3.1's stretching of low frequencies as the factors that llama.cpp reads from a tensor (arXiv:2407.21783); None for others."""
    scaling = rope(layout.config)
    if scaling["rope_type"] != "llama3":
        return None
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    old = float(scaling["original_max_position_embeddings"])
    factors = []
    for index in range(0, layout.head_dim, 2):
        wave = 2 * math.pi * float(scaling["rope_theta"]) ** (index / layout.head_dim)
        if wave < old / high:
            factors.append(1.0)
        elif wave > old / low:
            factors.append(float(scaling["factor"]))
        else:
            smooth = (old / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / float(scaling["factor"]) + smooth))
    return torch.tensor(factors, dtype=torch.float32)


def _write_peculiar(writer: Any, layout: Layout) -> None:
    """What only some families have."""
    config, kind = layout.config, layout.family.architecture
    if kind in ("gemma2", "gemma3") and config.get("sliding_window"):
        writer.add_sliding_window(int(config["sliding_window"]))
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(float(config["attn_logit_softcapping"]))
        writer.add_final_logit_softcapping(float(config["final_logit_softcapping"]))
    if kind == "gemma3" and rope(config).get("local_theta"):
        writer.add_rope_freq_base_swa(float(rope(config)["local_theta"]))
    if kind == "granite":
        writer.add_attention_scale(float(config["attention_multiplier"]))
        writer.add_embedding_scale(float(config["embedding_multiplier"]))
        writer.add_residual_scale(float(config["residual_multiplier"]))
        writer.add_logit_scale(float(config["logits_scaling"]))
