"""Weights in GGUF's block formats. The plain ones (F32, F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0) are the library's; Q4_K and Q6_K, which it
only reads, are here.

Formats: ggml's block layouts (ggml-common.h). A super-block has 256 weights. Q4_K: 8 blocks of 32, w = d * s * q - dmin * m with 4-bit q and 6-bit
s, m. Q6_K: 16 blocks of 16, w = d * s * (q - 32) with 6-bit q and 8-bit s. Scales are searched for: the one with the least squared error of a few.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SUPER = 256
_CHOICES = {"q5_1": ("Q5_1", "Q8_0"), "q5_0": ("Q5_0", "Q8_0"), "q4_1": ("Q4_1", "Q6_K"), "q4_0": ("Q4_0", "Q6_K"), "q4_k_m": ("Q4_K", "Q6_K"),
            "q6_k": ("Q6_K", "Q6_K"), "q8_0": ("Q8_0", "Q8_0")}
_FALLBACK = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}

Array = np.ndarray[Any, Any]


def kind_of(name: str, shape: tuple[int, ...], quantize: str, layers: int) -> str:
    """The format of one tensor: norms and biases stay F32; the embedding, the head and (in q4_k_m) half of the value and down projections get
    the finer of a choice's two; rows that do not divide by 256 fall back as llama.cpp does (Q4_K to Q5_0, Q6_K to Q8_0)."""
    if len(shape) < 2 or quantize == "f32":
        return "F32"
    if quantize in ("f16", "bf16"):
        return quantize.upper()
    usual, finer = _CHOICES[quantize]
    kind = finer if name in ("token_embd.weight", "output.weight") or (quantize == "q4_k_m" and _matters(name, layers)) else usual
    if shape[-1] % SUPER and kind in _FALLBACK:
        kind = _FALLBACK[kind]
    return kind if shape[-1] % 32 == 0 else "F16"


def packed(values: Array, kind: str) -> Array:
    """Float32 weights (rows, columns) as the bytes of a format, or as numbers for F32 and F16."""
    import gguf

    if kind == "F32":
        return values.astype(np.float32)
    if kind == "Q4_K":
        return _q4_k(values)
    if kind == "Q6_K":
        return _q6_k(values)
    return gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])


def _matters(name: str, layers: int) -> bool:
    """llama.cpp's choice for the M mixes: value and down projections of the first and last eighth of the layers, and every third between."""
    if not name.endswith(("attn_v.weight", "ffn_down.weight")):
        return False
    layer = int(name.split(".")[1])
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _q4_k(values: Array) -> Array:
    """(rows, columns) -> (rows, columns / 256 * 144) bytes."""
    blocks = values.reshape(-1, 8, 32).astype(np.float32)
    scale, least = _affine(blocks, 15)
    d = scale.max(axis=1) / 63
    m = least.max(axis=1) / 63
    d16, m16 = d.astype(np.float16), m.astype(np.float16)
    s6 = _levels(scale, d16.astype(np.float32)[:, None], 63)
    m6 = _levels(least, m16.astype(np.float32)[:, None], 63)
    step = d16.astype(np.float32)[:, None] * s6
    offset = m16.astype(np.float32)[:, None] * m6
    quants = np.clip(np.rint((blocks + offset[..., None]) / np.where(step == 0, 1, step)[..., None]), 0, 15).astype(np.uint8)
    quants[np.broadcast_to((step == 0)[..., None], quants.shape)] = 0
    scales = np.zeros((len(blocks), 12), np.uint8)
    s6, m6 = s6.astype(np.uint8), m6.astype(np.uint8)
    scales[:, 0:4] = s6[:, 0:4] | (s6[:, 4:8] >> 4 << 6)
    scales[:, 4:8] = m6[:, 0:4] | (m6[:, 4:8] >> 4 << 6)
    scales[:, 8:12] = (s6[:, 4:8] & 15) | ((m6[:, 4:8] & 15) << 4)
    pairs = quants.reshape(-1, 4, 2, 32)
    nibbles = (pairs[:, :, 0] | (pairs[:, :, 1] << 4)).reshape(-1, 128)
    whole = np.concatenate([d16[:, None].view(np.uint8), m16[:, None].view(np.uint8), scales, nibbles], axis=1)
    return whole.reshape(values.shape[0], -1)


def _q6_k(values: Array) -> Array:
    """(rows, columns) -> (rows, columns / 256 * 210) bytes."""
    blocks = values.reshape(-1, 16, 16).astype(np.float32)
    scale = _symmetric(blocks, 32)
    largest = np.abs(scale).max(axis=1)
    d16 = (largest / 127).astype(np.float16)
    d = d16.astype(np.float32)[:, None]
    s8 = np.clip(np.rint(scale / np.where(d == 0, 1, d)), -128, 127)
    s8[np.broadcast_to(d == 0, s8.shape)] = 0
    step = d * s8
    quants = np.clip(np.rint(blocks / np.where(step == 0, 1, step)[..., None]), -32, 31)
    quants[np.broadcast_to((step == 0)[..., None], quants.shape)] = 0
    level = (quants + 32).astype(np.uint8).reshape(-1, 2, 4, 32)  # half, quarter of it, place
    low = np.concatenate([(level[:, :, 0] & 15) | ((level[:, :, 2] & 15) << 4), (level[:, :, 1] & 15) | ((level[:, :, 3] & 15) << 4)], axis=2)
    high = ((level[:, :, 0] >> 4) | (level[:, :, 1] >> 4 << 2) | (level[:, :, 2] >> 4 << 4) | (level[:, :, 3] >> 4 << 6)).reshape(-1, 64)
    whole = np.concatenate([low.reshape(-1, 128), high, s8.astype(np.int8).view(np.uint8), d16[:, None].view(np.uint8)], axis=1)
    return whole.reshape(values.shape[0], -1)


def _affine(blocks: Array, top: int) -> tuple[Array, Array]:
    """(scale, -least) of each block for w = scale * q - least' with q in 0..top, both not negative: of a few spans the one with the least error,
    its scale and offset then solved for by least squares."""
    low = np.minimum(blocks.min(axis=-1), 0)
    high = blocks.max(axis=-1)
    best_scale, best_low = (high - low) / top, low
    best = _error(blocks, best_scale, best_low, top)
    weight = np.abs(blocks) + np.sqrt((blocks**2).mean(axis=-1, keepdims=True))
    for shrink in np.linspace(0.7, 1.05, 9, dtype=np.float32):
        scale = (high - low) / top * shrink
        level = np.clip(np.rint((blocks - low[..., None]) / np.where(scale == 0, 1, scale)[..., None]), 0, top)
        scale, least = _solved(blocks, level, weight)
        error = _error(blocks, scale, least, top)
        better = (error < best) & (scale > 0) & (least <= 0)
        best_scale, best_low, best = np.where(better, scale, best_scale), np.where(better, least, best_low), np.where(better, error, best)
    return best_scale, -best_low


def _solved(blocks: Array, level: Array, weight: Array) -> tuple[Array, Array]:
    """The scale and offset that fit the blocks best at these levels."""
    total, first, second = weight.sum(-1), (weight * level).sum(-1), (weight * level**2).sum(-1)
    mixed, plain = (weight * level * blocks).sum(-1), (weight * blocks).sum(-1)
    determinant = total * second - first**2
    safe = np.where(determinant == 0, 1, determinant)
    scale, least = (total * mixed - first * plain) / safe, (second * plain - first * mixed) / safe
    above = least > 0  # the format only takes away: then the line goes through 0
    scale = np.where(above, mixed / np.where(second == 0, 1, second), scale)
    return np.where(determinant == 0, 0, scale), np.where(above, 0, least)


def _symmetric(blocks: Array, top: int) -> Array:
    """The scale of each block for w = scale * q, q in -top..top - 1: of a few the one with the least error."""
    peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1, keepdims=True), axis=-1)[..., 0]
    best = -peak / top
    error = _symmetric_error(blocks, best, top)
    for shift in np.linspace(-0.9, 0.9, 9, dtype=np.float32):
        scale = -peak / (top + shift)
        level = np.clip(np.rint(blocks / np.where(scale == 0, 1, scale)[..., None]), -top, top - 1)
        scale = (level * blocks).sum(-1) / np.where((level**2).sum(-1) == 0, 1, (level**2).sum(-1))
        now = _symmetric_error(blocks, scale, top)
        best, error = np.where(now < error, scale, best), np.minimum(now, error)
    return best


def _error(blocks: Array, scale: Array, least: Array, top: int) -> Array:
    level = np.clip(np.rint((blocks - least[..., None]) / np.where(scale == 0, 1, scale)[..., None]), 0, top)
    return ((scale[..., None] * level + least[..., None] - blocks) ** 2).sum(-1)


def _symmetric_error(blocks: Array, scale: Array, top: int) -> Array:
    level = np.clip(np.rint(blocks / np.where(scale == 0, 1, scale)[..., None]), -top, top - 1)
    return ((scale[..., None] * level - blocks) ** 2).sum(-1)


def _levels(values: Array, step: Array, top: int) -> Array:
    return np.clip(np.rint(values / np.where(step == 0, 1, step)), 0, top)
