"""Attention for packed rows: samples laid end to end, each of which sees only itself.

A batch is one long row of segments. Instead of a square mask over the whole row (memory and time grow with its square),
each segment is attended to by itself, so separation holds by construction and costs nothing. Works on CPU and CUDA with
torch's own kernels. Registered with transformers under NAME; segment borders travel as `segment_borders`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME = "tunelab_segments"


def register() -> None:
    """Make NAME known to transformers; may be called more than once."""
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def segment_attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                      attention_mask: torch.Tensor | None, **options: Any) -> tuple[torch.Tensor, None]:
    """Causal attention within each segment.

    query: (1, heads, tokens, head size); key, value: (1, key-value heads, tokens, head size);
    `segment_borders`: ascending token offsets from 0 to `tokens`. Returns (1, tokens, heads, head size).
    """
    borders = options.get("segment_borders")
    if borders is None:
        raise NotImplementedError(f"{type(module).__name__} does not pass attention arguments on, so packed samples cannot be kept apart")
    if options.get("softcap") is not None:
        raise NotImplementedError(f"{type(module).__name__} caps its attention scores, which packed attention does not do")
    dropout = options.get("dropout", 0.0) if module.training else 0.0
    window = options.get("sliding_window")
    parts = []
    for start, end in pairwise(borders):
        mask = _window_mask(end - start, window, query.device) if window is not None and end - start > window else None
        parts.append(functional.scaled_dot_product_attention(
            query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], attn_mask=mask, dropout_p=dropout,
            is_causal=mask is None, scale=options.get("scaling"), enable_gqa=query.shape[1] != key.shape[1]))
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _window_mask(length: int, window: int, device: torch.device) -> torch.Tensor:
    index = torch.arange(length, device=device)
    distance = index[:, None] - index[None, :]
    return (distance >= 0) & (distance < window)


def _no_mask(*_arguments: Any, **_options: Any) -> None:
    """No mask is needed: segments are attended to one by one."""
