"""`read_gguf`: the header of a GGUF file (metadata and tensor shapes), read within bounds; `gguf_shapes`: the model that it describes.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian). Of long arrays, such as a vocabulary,
only the length is kept. A file is untrusted: every count is held against what the file has left, and the header may not be endless.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tunelab.errors import ModelError
from tunelab.facts.shapes import ModelShapes, shapes_from_config

_MAX_HEADER = 128 * 2**20
_MAX_ITEMS = 4_000_000  # strings of one array; the largest vocabularies have a quarter of a million, their merges twice that
_MAX_KEPT = 1_000  # an array up to this length is kept
_MAX_DEPTH = 4
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
# GGUF's numbers of tensor types, and bits per weight with their scales (ggml's block layouts).
_TYPES = {0: ("F32", 32.0), 1: ("F16", 16.0), 2: ("Q4_0", 4.5), 3: ("Q4_1", 5.0), 6: ("Q5_0", 5.5), 7: ("Q5_1", 6.0), 8: ("Q8_0", 8.5),
          9: ("Q8_1", 9.0), 10: ("Q2_K", 2.625), 11: ("Q3_K", 3.4375), 12: ("Q4_K", 4.5), 13: ("Q5_K", 5.5), 14: ("Q6_K", 6.5625),
          15: ("Q8_K", 9.125), 16: ("IQ2_XXS", 2.0625), 17: ("IQ2_XS", 2.3125), 18: ("IQ3_XXS", 3.0625), 19: ("IQ1_S", 1.5625),
          20: ("IQ4_NL", 4.5), 21: ("IQ3_S", 3.4375), 22: ("IQ2_S", 2.5625), 23: ("IQ4_XS", 4.25), 24: ("I8", 8.0), 25: ("I16", 16.0),
          26: ("I32", 32.0), 27: ("I64", 64.0), 28: ("F64", 64.0), 29: ("IQ1_M", 1.75), 30: ("BF16", 16.0)}
# general.architecture -> model_type; Mistral and Mixtral call themselves llama.
_FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen2moe": "qwen2_moe", "qwen3": "qwen3", "qwen3moe": "qwen3_moe", "gemma": "gemma",
             "gemma2": "gemma2", "gemma3": "gemma3_text", "phi2": "phi", "phi3": "phi3", "gpt2": "gpt2", "gptneox": "gpt_neox", "falcon": "falcon",
             "stablelm": "stablelm", "smollm3": "smollm3", "olmo2": "olmo2", "granite": "granite", "command-r": "cohere", "bloom": "bloom",
             "starcoder": "gpt_bigcode"}
_NOT_WEIGHTS = ("rope_freqs", "rope_factors", "token_types")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor's shape as torch would have it (GGUF's own order is the reverse), its type's name and its bytes in the file."""

    shape: tuple[int, ...]
    kind: str
    bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands before the weights. A long array's value is its length."""

    version: int
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]

    @property
    def parameters(self) -> int:
        """Weights in the file; tables that are computed from the config are left out."""
        return sum(math.prod(one.shape) for name, one in self.tensors.items() if not name.split(".")[0].startswith(_NOT_WEIGHTS))


def read_gguf(path: Path) -> GgufHeader:
    """Read a header. Raises ModelError when the file is none, is damaged, or has more header than any model needs."""
    try:
        with path.open("rb") as file:
            return _read(_Reader(file, path.stat().st_size))
    except (ValueError, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise ModelError(f"{path.name} is not a readable GGUF file: {error}.", where=str(path), next_step="Download it again.") from None
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}.", where=str(path)) from error


def gguf_shapes(path: Path) -> ModelShapes:
    """The shapes of the model in a GGUF file. Raises ModelError for an architecture whose tensors are not known here."""
    header = read_gguf(path)
    config = gguf_config(header, path)
    shapes = shapes_from_config(config, str(path), "the GGUF file's header")
    if shapes.parameters != header.parameters:
        raise ModelError(f"{path.name} holds {header.parameters:,} weights; a {config['model_type']} model of its sizes has {shapes.parameters:,}.",
                         where=str(path), next_step="Give the folder of the model's safetensors files.")
    return shapes


def gguf_config(header: GgufHeader, path: Path) -> dict[str, Any]:
    """The metadata in config.json's words. Raises ModelError when the architecture is not known here or a number is missing."""
    found = header.metadata
    name = str(found.get("general.architecture", ""))
    model_type = _FAMILIES.get(name)
    if model_type is None:
        raise ModelError(f"{path.name} is of the architecture {name or 'without a name'!r}, whose tensors are not known here.", where=str(path),
                         next_step="Give the folder of the model's safetensors files.")

    def number(key: str) -> int | None:
        value = found.get(f"{name}.{key}")
        value = max(value) if isinstance(value, list) and value and all(isinstance(one, int) for one in value) else value
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    embedding = header.tensors.get("token_embd.weight")
    if model_type == "llama" and number("expert_count"):
        model_type = "mixtral"
    config = {
        "model_type": model_type, "architectures": [f"{model_type} (GGUF)"], "hidden_size": number("embedding_length"),
        "num_hidden_layers": number("block_count"), "num_attention_heads": number("attention.head_count"),
        "num_key_value_heads": number("attention.head_count_kv"), "head_dim": number("attention.key_length"),
        "intermediate_size": number("feed_forward_length"), "max_position_embeddings": number("context_length"),
        "vocab_size": embedding.shape[0] if embedding is not None and embedding.shape else number("vocab_size"),
        "num_experts": number("expert_count"), "num_experts_per_tok": number("expert_used_count"),
        "moe_intermediate_size": number("expert_feed_forward_length"), "sliding_window": number("attention.sliding_window"),
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "attention_bias": "blk.0.attn_output.bias" in header.tensors or "blk.0.attn_qkv.bias" in header.tensors,
        "use_qkv_bias": "blk.0.attn_q.bias" in header.tensors, "mlp_bias": "blk.0.ffn_down.bias" in header.tensors,
        "dtype": Counter(one.kind for one in header.tensors.values()).most_common(1)[0][0] if header.tensors else "F32"}
    return {key: value for key, value in config.items() if value is not None}


class _Reader:
    """A file with what is left of its bytes; never reads beyond them."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.left = file, min(size, _MAX_HEADER)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise ValueError("the header goes on beyond the file, or is larger than any model needs")
        self.left -= count
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError("the file ends within its header")
        return data

    def skip(self, count: int) -> None:
        """Go on without reading."""
        if count > self.left:
            raise ValueError("the header goes on beyond the file, or is larger than any model needs")
        self.left -= count
        self._file.seek(count, 1)

    def number(self, form: str) -> Any:
        """One number of a struct format."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def length(self, smallest: int) -> int:
        """A count of things of which each takes at least `smallest` bytes."""
        count = int(self.number("<Q"))
        if count * smallest > self.left:
            raise ValueError("it promises more than it holds")
        return count

    def text(self) -> str:
        """A string."""
        return self.take(self.length(1)).decode("utf-8", errors="replace")


def _read(reader: _Reader) -> GgufHeader:
    if reader.take(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version = int(reader.number("<I"))
    if version not in (2, 3):
        raise ValueError(f"its version is {version}, and 2 and 3 are known")
    tensor_count, pair_count = int(reader.number("<Q")), int(reader.number("<Q"))
    if 24 * tensor_count + 12 * pair_count > reader.left:
        raise ValueError("it promises more than it holds")
    metadata: dict[str, Any] = {}
    for _ in range(pair_count):
        key = reader.text()
        metadata[key] = _value(reader, int(reader.number("<I")), 0)
    return GgufHeader(version, metadata, dict(_tensor(reader) for _ in range(tensor_count)))


def _value(reader: _Reader, kind: int, depth: int) -> Any:
    if kind in _SCALARS:
        return reader.number(_SCALARS[kind])
    if kind == _STRING:
        return reader.text()
    if kind != _ARRAY or depth >= _MAX_DEPTH:
        raise ValueError(f"a value is of the unknown type {kind}" if kind != _ARRAY else "its arrays are nested too deep")
    inner = int(reader.number("<I"))
    size = struct.calcsize(_SCALARS[inner]) if inner in _SCALARS else 8
    count = reader.length(size)
    if inner in _SCALARS and count > _MAX_KEPT:
        reader.skip(size * count)
        return count
    if count > _MAX_ITEMS:
        raise ValueError("one of its arrays has more items than any vocabulary")
    if count <= _MAX_KEPT:
        return [_value(reader, inner, depth + 1) for _ in range(count)]
    for _ in range(count):
        if inner == _STRING:
            reader.skip(reader.length(1))
        else:
            _value(reader, inner, depth + 1)
    return count


def _tensor(reader: _Reader) -> tuple[str, GgufTensor]:
    name, dimensions = reader.text(), int(reader.number("<I"))
    if dimensions > 8:
        raise ValueError(f"a tensor has {dimensions} dimensions")
    shape = tuple(int(reader.number("<Q")) for _ in range(dimensions))
    if any(one >= 2**48 for one in shape):
        raise ValueError("a tensor is larger than any disk")
    kind, bits = _TYPES.get(int(reader.number("<I")), ("an unknown type", 8.0))
    reader.number("<Q")
    return name, GgufTensor(tuple(reversed(shape)), kind, math.ceil(math.prod(shape) * bits / 8))
