"""`read_shapes`: what a model is made of: its tensors, parameters and linear layers, read without loading a weight.

The truth is in the headers of the safetensors files. Where only config.json is at hand, the shapes of the known families are computed
from it (`facts.families`); `facts.lookup` finds them elsewhere when there is no folder at all.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tunelab.errors import ModelError
from tunelab.facts.families import ModelNumbers, default_tied, family_tensors, read_numbers
from tunelab.facts.model import weight_paths
from tunelab.facts.safetensors_header import as_loaded, read_header

_EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "position_embeddings", "embed_positions")
_TOKENS = ("embed_tokens", "wte", "word_embeddings", "embed_in")  # of the embeddings, those that have a row per token
_HEADS = ("lm_head", "embed_out", "output_head")
_CONV1D = ("GPT2",)  # these store (in, out) instead of (out, in)
_QUANTISED = {"bitsandbytes", "gptq", "awq", "fp8", "compressed-tensors", "hqq", "aqlm", "eetq", "torchao", "mxfp4", "bitnet"}


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """A matrix that LoRA can sit beside. `name` is the module's ("model.layers.0.self_attn.q_proj"), without ".weight".

    `experts`: 1; the tensor of a mixture holds one matrix for each expert, and its name is the parameter's. `is_router`: it chooses
    among experts.
    """

    name: str
    out_features: int
    in_features: int
    experts: int = 1
    is_router: bool = False


@dataclass(frozen=True, slots=True)
class ModelShapes:
    """What a model is made of.

    `tensors`: name -> shape, a head that is tied to the embedding left out, so that `parameters` counts it once.
    `linear_layers`: every linear layer except the output head, in the order of the file; `head` and `embedding` stand alone.
    `context_length`: the most positions that the model was made for. `model_type`: config.json's ("llama"). `source`: where the
    shapes come from, in words ("safetensors headers", "config.json", ...). `experts`: of a mixture (0: none); a token visits
    `active_experts` of them, each `expert_size` wide. `sliding_window`: how far attention looks back, None for all the way.
    `quantised`: how the stored weights are packed ("bitsandbytes"), "" when they are not.
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
    source: str
    experts: int = 0
    active_experts: int = 0
    expert_size: int = 0
    sliding_window: int | None = None
    quantised: str = ""

    @property
    def active_parameters(self) -> int:
        """Parameters that a token passes through: of a mixture only the experts that it visits."""
        if not self.experts:
            return self.parameters
        idle = sum(layer.in_features * layer.out_features * layer.experts for layer in self.linear_layers if layer.experts > 1)
        return self.parameters - idle + idle * self.active_experts // self.experts


def read_shapes(folder: Path) -> ModelShapes:
    """The shapes of the model in `folder`. Raises ModelError when config.json or a header is damaged, or the family is unknown."""
    config = read_model_config(folder)
    numbers = read_numbers(config, str(folder / "config.json"))
    paths = weight_paths(folder)
    if paths and not quantisation(config):
        found, dtypes = _headers(paths)
        return shapes_of(config, numbers, as_loaded(found, numbers.model_type), dtypes.most_common(1)[0][0], "safetensors headers")
    return shapes_from_config(config, str(folder))


def shapes_from_config(config: Mapping[str, Any], where: str, source: str = "config.json") -> ModelShapes:
    """The shapes that the numbers of a config.json give. Raises ModelError for a family whose tensors are not known here."""
    numbers = read_numbers(config, where)
    computed = family_tensors(config, numbers)
    if computed is None:
        raise ModelError(f"The shapes of {numbers.architecture} cannot be computed from config.json alone.", where=where,
                         next_step="Download its *.safetensors files, and they are read from there.")
    return shapes_of(config, numbers, computed, str(config.get("dtype") or config.get("torch_dtype") or "float32"), source)


def quantisation(config: Mapping[str, Any]) -> str:
    """How config.json says that the stored weights are packed; "" when they are plain."""
    packed = config.get("quantization_config")
    method = str(packed.get("quant_method", "bitsandbytes")) if isinstance(packed, Mapping) else ""
    return method if method in _QUANTISED else ""


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


def shapes_of(config: Mapping[str, Any], numbers: ModelNumbers, found: Mapping[str, tuple[int, ...]], dtype: str, source: str) -> ModelShapes:
    """`ModelShapes` of these tensors (names as in memory) and the numbers of their config.json."""
    has_head = any(_is_named(name, _HEADS) for name in found)
    tied = bool(config.get("tie_word_embeddings", default_tied(numbers.model_type))) or not has_head
    tensors = {name: shape for name, shape in found.items() if not (tied and _is_named(name, _HEADS))}
    matrices = [(name.removesuffix(".weight"), shape) for name, shape in found.items() if len(shape) == 2 and name.endswith(".weight")]
    vocabulary = next((shape[0] for name, shape in matrices if _is_named(name, _TOKENS)), numbers.vocab_size)
    embedding = next((name for name, _ in matrices if _is_named(name, _TOKENS)), "model.embed_tokens")
    head = next((name.removesuffix(".weight") for name in found if _is_named(name, _HEADS)), "lm_head")
    window = config.get("sliding_window")
    return ModelShapes(
        numbers.architecture, numbers.model_type, numbers.hidden_size, numbers.layers, numbers.heads, numbers.kv_heads, numbers.head_dim,
        numbers.intermediate_size, vocabulary, numbers.context_length, tied, MappingProxyType(tensors),
        sum(math.prod(shape) for shape in tensors.values()), _dtype(dtype), _linear_layers(numbers, found),
        LinearLayer(head, vocabulary, numbers.hidden_size), LinearLayer(embedding, vocabulary, numbers.hidden_size), source,
        numbers.experts, numbers.active_experts, numbers.expert_size, window if isinstance(window, int) else None, quantisation(config))


def _linear_layers(numbers: ModelNumbers, tensors: Mapping[str, tuple[int, ...]]) -> tuple[LinearLayer, ...]:
    """Every matrix that multiplies a token's vector; a norm over several heads is two-dimensional too and none of them."""
    turned = numbers.architecture.startswith(_CONV1D)
    layers = []
    for name, shape in tensors.items():
        if len(shape) == 3 and name.rpartition(".")[2] in ("gate_up_proj", "down_proj"):
            layers.append(LinearLayer(name, shape[1], shape[2], shape[0]))
        elif len(shape) == 2 and name.endswith(".weight") and not name.endswith("_norm.weight") and not _is_named(name, (*_EMBEDDINGS, *_HEADS)):
            rows, columns = (shape[1], shape[0]) if turned else shape
            layers.append(LinearLayer(name.removesuffix(".weight"), rows, columns, is_router=bool(numbers.experts) and name.endswith("mlp.gate.weight")))
    return tuple(layers)


def _is_named(tensor: str, names: tuple[str, ...]) -> bool:
    return any(part in names for part in tensor.split("."))


def _dtype(name: str) -> str:
    """safetensors' and torch's names as one: "float32", "bfloat16", "float16"."""
    known = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16", "F8_E4M3": "float8", "U8": "uint8", "I8": "int8"}
    return known.get(name, name.removeprefix("torch."))
