"""K-quants as the library `gguf` reads them back: as near as the format allows, whatever the weights look like."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")

from tunelab.export.gguf_blocks import kind_of, packed  # noqa: E402


def _weights(kind: str) -> object:
    random = np.random.default_rng(3)
    return {"normal": random.normal(size=(12, 512)), "shifted": random.normal(0.5, 0.1, size=(4, 256)), "zeros": np.zeros((2, 256)),
            "constant": np.full((2, 256), -0.37), "outlier": np.where(np.arange(1024) == 77, 50.0, random.normal(size=(1, 1024))),
            "positive": random.uniform(1, 2, size=(2, 256)), "small": random.normal(size=(2, 256)) * 1e-6, "large": random.normal(size=(2, 256)) * 1e4,
            "mixed": random.normal(size=(2, 512)) * np.repeat(10.0 ** np.arange(-4, 4), 64)}[kind].astype(np.float32)


KINDS = ("normal", "shifted", "zeros", "constant", "outlier", "positive", "small", "large", "mixed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("quant", "levels", "block", "fine"), [("Q4_K", 15, 32, 63), ("Q6_K", 63, 16, 127)])
def test_each_weight_is_within_a_step_of_its_block(kind: str, quant: str, levels: int, block: int, fine: int) -> None:
    """A step of the block's own scale, and what is lost because that scale (and offset) is one of `fine` shares of the super-block's largest."""
    weights = _weights(kind)
    stored = packed(weights, quant)
    number = gguf.GGMLQuantizationType[quant]
    assert stored.dtype == np.uint8
    assert stored.shape == gguf.quants.quant_shape_to_byte_shape(weights.shape, number)
    blocks = weights.reshape(-1, block)
    back = gguf.quants.dequantize(stored, number).reshape(-1, block)
    if quant == "Q4_K":
        spread = np.maximum(blocks.max(-1), 0) - np.minimum(blocks.min(-1), 0)
    else:  # symmetric
        spread = 2 * np.abs(blocks).max(-1)
    largest = np.repeat(spread.reshape(-1, 256 // block).max(-1), 256 // block)
    assert (np.abs(back - blocks).max(-1) <= 0.75 * spread / levels + largest / fine + 1e-5).all()  # 1e-5: scales are stored in 16 bits


@pytest.mark.parametrize(("quant", "most"), [("Q4_K", 0.0055), ("Q6_K", 0.0003), ("Q8_0", 0.00005)])
def test_normal_weights_lose_little(quant: str, most: float) -> None:
    """The share of the weights' power that is lost."""
    weights = _weights("normal")
    read = gguf.quants.dequantize(packed(weights, quant), gguf.GGMLQuantizationType[quant])
    assert ((read - weights) ** 2).mean() / (weights**2).mean() < most


@pytest.mark.parametrize(("name", "shape", "quantize", "expected"), [
    ("blk.0.attn_norm.weight", (512,), "q4_k_m", "F32"), ("blk.0.attn_q.weight", (64, 512), "q4_k_m", "Q4_K"),
    ("token_embd.weight", (100, 512), "q4_k_m", "Q6_K"), ("blk.0.attn_v.weight", (64, 512), "q4_k_m", "Q6_K"),
    ("blk.5.attn_v.weight", (64, 512), "q4_k_m", "Q4_K"), ("blk.4.ffn_down.weight", (64, 512), "q4_k_m", "Q6_K"),
    ("blk.0.attn_q.weight", (64, 96), "q4_k_m", "Q5_0"), ("token_embd.weight", (100, 96), "q4_k_m", "Q8_0"),
    ("blk.0.attn_q.weight", (64, 48), "q8_0", "F16"), ("blk.0.attn_q.weight", (64, 512), "f16", "F16"), ("blk.0.attn_q.weight", (64, 512), "f32", "F32")])
def test_which_tensor_gets_which_format(name: str, shape: tuple[int, ...], quantize: str, expected: str) -> None:
    assert kind_of(name, shape, quantize, 16) == expected
