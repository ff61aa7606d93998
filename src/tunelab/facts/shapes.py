"""`read_shapes`: what a model is made of: its tensors, parameters and linear layers, read without loading a weight.

The truth is in the headers of the safetensors files (format: https://huggingface.co/docs/safetensors). Where only config.json
is at hand, the shapes of the Llama-like families are computed from it (`facts.families`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from tunelab.errors import ModelError
from tunelab.facts.families import ModelNumbers, default_tied, family_tensors, read_numbers
from tunelab.facts.model import weight_paths

_MAX_HEADER = 100_000_000  # the limit of the safetensors format itself
_EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "position_embeddings", "embed_positions")
_TOKENS = ("embed_tokens", "wte", "word_embeddings", "embed_in")  # of the embeddings, those that have a row per token
_HEADS = ("lm_head", "embed_out", "output_head")
_CONV1D = ("GPT2", "GPTBigCode")  # these store (in, out) instead of (out, in)


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """A matrix that LoRA can sit beside. `name` is the module's ("model.layers.0.self_attn.q_proj"), without ".weight"."""

    name: str
    out_features: int
    in_features: int


@dataclass(frozen=True, slots=True)
class ModelShapes:
    """What a model is made of.

    `tensors`: name -> shape, a head that is tied to the embedding left out, so that `parameters` counts it once.
    `linear_layers`: every linear layer except the output head, in the order of the file; `head` and `embedding` stand alone.
    `context_length`: the most positions that the model was made for. `model_type`: config.json's ("llama"). `source`: where the
    shapes come from.
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
    tied_embeddings: bool
    tensors: Mapping[str, tuple[int, ...]]
    parameters: int
    dtype: str
    linear_layers: tuple[LinearLayer, ...]
    head: LinearLayer
    embedding: LinearLayer
    source: Literal["safetensors headers", "config.json"]


def read_shapes(folder: Path) -> ModelShapes:
    """The shapes of the model in `folder`. Raises ModelError when config.json or a header is damaged, or the family is unknown."""
    config = read_model_config(folder)
    numbers = read_numbers(config, str(folder / "config.json"))
    paths = weight_paths(folder)
    if paths:
        found, dtypes = _headers(paths)
        return _shapes(config, numbers, found, dtypes.most_common(1)[0][0], "safetensors headers")
    computed = family_tensors(config, numbers)
    if computed is None:
        raise ModelError(f"The shapes of {numbers.architecture} cannot be computed from config.json alone.", where=str(folder),
                         next_step="Download its *.safetensors files, and they are read from there.")
    return _shapes(config, numbers, computed, str(config.get("dtype") or config.get("torch_dtype") or "float32"), "config.json")


def read_model_config(folder: Path) -> dict[str, Any]:
    """config.json as a mapping. Raises ModelError."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError("There is no config.json.", where=str(folder), next_step="Give the folder that holds the model.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError("config.json cannot be read: expected JSON text.", where=str(path), next_step="Download it again.") from error
    if not isinstance(config, dict):
        raise ModelError("config.json is not a mapping.", where=str(path), next_step="Download it again.")
    return config


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """The header of one safetensors file: tensor name -> {dtype, shape, data_offsets}; `__metadata__` is left out.

    The file starts with the header's length (8 bytes, little-endian), then that much JSON. Raises ModelError when the file is
    not that, or is shorter than its header says.
    """
    damaged = ModelError(f"{path.name} is damaged: its header is not one of a safetensors file.", where=str(path),
                         next_step="Download it again.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise damaged
            header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        raise damaged from None
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}.", where=str(path)) from error
    if not isinstance(header, dict):
        raise damaged
    header.pop("__metadata__", None)
    end = 0
    for entry in header.values():
        if not _is_entry(entry):
            raise damaged
        end = max(end, entry["data_offsets"][1])
    if end != size - 8 - length:
        raise ModelError(f"{path.name} has {size:,} bytes; its header promises {8 + length + end:,}.", where=str(path),
                         next_step="It was cut off on the way: download it again.")
    return header


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    numbers = (entry.get("shape"), entry.get("data_offsets"))
    whole = all(isinstance(part, list) and all(isinstance(one, int) and one >= 0 for one in part) for part in numbers)
    return whole and len(entry["data_offsets"]) == 2


def _headers(paths: tuple[Path, ...]) -> tuple[dict[str, tuple[int, ...]], Counter[str]]:
    tensors: dict[str, tuple[int, ...]] = {}
    dtypes: Counter[str] = Counter()
    for path in paths:
        for name, entry in read_header(path).items():
            tensors[name] = tuple(entry["shape"])
            dtypes[entry["dtype"]] += math.prod(entry["shape"])
    if not tensors:
        raise ModelError("The safetensors files hold no tensor.", where=str(paths[0]), next_step="Download the model again.")
    return tensors, dtypes


def _shapes(config: Mapping[str, Any], numbers: ModelNumbers, found: Mapping[str, tuple[int, ...]], dtype: str,
            source: Literal["safetensors headers", "config.json"]) -> ModelShapes:
    has_head = any(_is_named(name, _HEADS) for name in found)
    tied = bool(config.get("tie_word_embeddings", default_tied(numbers.model_type))) or not has_head
    tensors = {name: shape for name, shape in found.items() if not (tied and _is_named(name, _HEADS))}
    matrices = [(name.removesuffix(".weight"), shape) for name, shape in found.items() if len(shape) == 2 and name.endswith(".weight")]
    turned = numbers.architecture.startswith(_CONV1D)
    layers = tuple(LinearLayer(name, *(reversed(shape) if turned else shape)) for name, shape in matrices
                   if not _is_named(name, (*_EMBEDDINGS, *_HEADS)))
    vocabulary = next((shape[0] for name, shape in matrices if _is_named(name, _TOKENS)),
                      numbers.vocab_size)
    embedding = next((name for name, _ in matrices if _is_named(name, _TOKENS)), "model.embed_tokens")
    head = next((name.removesuffix(".weight") for name in found if _is_named(name, _HEADS)), "lm_head")
    return ModelShapes(
        numbers.architecture, numbers.model_type, numbers.hidden_size, numbers.layers, numbers.heads, numbers.kv_heads, numbers.head_dim,
        numbers.intermediate_size, vocabulary, numbers.context_length, tied, MappingProxyType(tensors),
        sum(math.prod(shape) for shape in tensors.values()), _dtype(dtype), layers,
        LinearLayer(head, vocabulary, numbers.hidden_size), LinearLayer(embedding, vocabulary, numbers.hidden_size), source)


def _is_named(tensor: str, names: tuple[str, ...]) -> bool:
    return any(part in names for part in tensor.split("."))


def _dtype(name: str) -> str:
    """safetensors' and torch's names as one: "float32", "bfloat16", "float16"."""
    known = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16", "F8_E4M3": "float8", "U8": "uint8", "I8": "int8"}
    return known.get(name, name.removeprefix("torch."))
