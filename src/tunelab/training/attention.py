"""Attention for packed rows: samples laid end to end, each of which sees only itself.

A batch is one long row of segments. Instead of a square mask over the whole row (memory and time grow with its square), each segment is
attended to by itself, so separation holds by construction and costs nothing: one by one with torch's kernels, or on CUDA all at once with
its kernel for segments of differing lengths (Dao 2023, arXiv:2307.08691). Registered with transformers under NAME; segment borders travel
as `segment_borders`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from tunelab.errors import ModelError

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # an older torch
    varlen_attn = None

NAME = "tunelab_segments"
_LAYERS = {"full_attention", "sliding_attention"}


def register() -> None:
    """Make NAME known to transformers; may be called more than once."""
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def require_separation(model: Any) -> None:
    """Raises ModelError for an architecture that does not ask for attention by name, or carries another state along the row beside it."""
    others = {*(getattr(model.config, "layer_types", None) or ())} - _LAYERS
    if others or not getattr(type(model), "_supports_attention_backend", False):
        raise _inseparable(type(model).__name__)


def _inseparable(name: str) -> ModelError:
    return ModelError(f"{name} carries something along the row in a way of its own, so packed samples cannot be kept apart.", where="base_model",
                      next_step="Take a model of a family such as Llama, Qwen 2 or 3, Gemma, Mistral, Phi or OLMo.")


def segment_attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                      attention_mask: torch.Tensor | None, **options: Any) -> tuple[torch.Tensor, None]:
    """Causal attention within each segment.

    query: (1, heads, tokens, head size); key, value: (1, key-value heads, tokens, head size); `segment_borders`: ascending token offsets
    from 0 to `tokens`; `softcap`: scores are bent to stay below it (Gemma 2); `s_aux`: a score per head that takes a share of the attention
    and gives nothing (gpt-oss). Returns (1, tokens, heads, head size).
    """
    borders = options.get("segment_borders")
    if borders is None:
        raise _inseparable(type(module).__name__)
    dropout = options.get("dropout", 0.0) if module.training else 0.0
    plain = options.get("softcap") is None and options.get("s_aux") is None
    if plain and dropout == 0.0 and _has_kernel(query, value):
        return _all_at_once(query, key, value, tuple(borders), options), None
    one = _kernel if plain else _explicit
    parts = [one(query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], dropout, options) for start, end in pairwise(borders)]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _has_kernel(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether CUDA's kernel for segments takes these: 16 bits, heads of one size that it was compiled for."""
    return (varlen_attn is not None and query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] == value.shape[-1]
            and query.shape[-1] % 8 == 0 and query.shape[-1] <= 256 and torch.cuda.get_device_capability(query.device)[0] >= 8)


def _all_at_once(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, borders: tuple[int, ...], options: dict[str, Any]) -> torch.Tensor:
    """Every segment in one call; a window of n tokens is one that looks back over n - 1. Returns (1, tokens, heads, head size)."""
    window = options.get("sliding_window")
    offsets, longest = _offsets(borders, query.device), max(end - start for start, end in pairwise(borders))
    rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    out = varlen_attn(*rows, offsets, offsets, longest, longest, scale=options.get("scaling"),
                      window_size=(-1 if window is None else window - 1, 0), enable_gqa=query.shape[1] != key.shape[1])
    assert isinstance(out, torch.Tensor)
    return out[None]


@lru_cache(maxsize=4)
def _offsets(borders: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """On the device, once for all layers of a pass and its backward pass."""
    return torch.tensor(borders, dtype=torch.int32, device=device)


def _kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, options: dict[str, Any]) -> torch.Tensor:
    """One segment with torch's kernels, which keep no square of scores."""
    length, window = query.shape[2], options.get("sliding_window")
    mask = _sees(length, window, query.device) if window is not None and length > window else None
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=mask is None,
                                                   scale=options.get("scaling"), enable_gqa=query.shape[1] != key.shape[1])


def _explicit(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, options: dict[str, Any]) -> torch.Tensor:
    """One segment with its square of scores written out, for what no kernel of torch does."""
    groups, scaling, cap, sink = query.shape[1] // key.shape[1], options.get("scaling"), options.get("softcap"), options.get("s_aux")
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    scores = scores.float().masked_fill(~_sees(query.shape[2], options.get("sliding_window"), query.device), float("-inf"))
    if sink is not None:
        scores = torch.cat([scores, sink.float().reshape(1, -1, 1, 1).expand(1, -1, scores.shape[2], 1)], dim=-1)
    shares = scores.softmax(-1)[..., : key.shape[2]].to(query.dtype)
    return functional.dropout(shares, dropout) @ value


def _sees(length: int, window: int | None, device: torch.device) -> torch.Tensor:
    """(length, length): which earlier tokens a token attends to, itself included."""
    index = torch.arange(length, device=device)
    distance = index[:, None] - index[None, :]
    return (distance >= 0) & (distance < window) if window is not None else distance >= 0


def _no_mask(*_arguments: Any, **_options: Any) -> None:
    """No mask is needed: segments are attended to one by one."""
