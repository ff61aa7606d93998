"""A model folder (safetensors, tokenizer.json, config.json) -> one GGUF file, and a PEFT adapter -> a LoRA in GGUF; one tensor in memory at a time.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, written by the library `gguf`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import ModelError, needs
from tunelab.export.gguf_blocks import kind_of, packed
from tunelab.export.gguf_check import KINDS
from tunelab.export.gguf_layout import Layout, layout_of, rope_factors, write_sizes
from tunelab.export.gguf_vocabulary import write_vocabulary
from tunelab.facts.model import weight_paths
from tunelab.facts.safetensors_header import read_header

Said = Callable[[int, int], None]
_NUMBERS = {"f32": "ALL_F32", **{kind: f"MOSTLY_{kind.upper()}" for kind in KINDS if kind != "f32"}}

_MERGED = "Export the merged model: --to gguf"


@dataclass(frozen=True, slots=True)
class Written:
    """A GGUF file: its tensors, how many bytes, and how many of which format."""

    path: Path
    tensors: int
    bytes: int
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor to write: its GGUF name, where it is read from, its shape and format."""

    name: str
    source: str
    file: Path | None
    shape: tuple[int, ...]
    kind: str


def write_model(folder: Path, out: Path, tokenizer: TextTokenizer, *, quantize: str = "f16", name: str = "", said: Said | None = None) -> Written:
    """Write the model. Raises ModelError for a family, tokenizer or tensor that is not known here, OSError when the disk is full."""
    with needs("gguf", "Writing GGUF"):
        import gguf
    layout = layout_of(folder)
    tensors = _laid_out(folder, layout, quantize)
    rows = next(one.shape[0] for one in tensors if one.name == "token_embd.weight")
    writer = gguf.GGUFWriter(str(out), layout.family.architecture)
    with closing(writer):
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_name(name or folder.name)
        writer.add_file_type(gguf.LlamaFileType[_NUMBERS[quantize]])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        write_sizes(writer, layout)
        write_vocabulary(writer, tokenizer, rows)
        return _write(writer, out, tensors, lambda one: _value(one, layout), said)


def size_of(folder: Path, quantize: str) -> int:
    """Bytes of a model's weights in a format. Raises ModelError for a family that is not known."""
    return sum(_stored(one)[2] for one in _laid_out(folder, layout_of(folder), quantize))


def write_adapter(base: Path, adapter: Path, out: Path, settings: Mapping[str, Any], *, said: Said | None = None) -> Written:
    """Write a LoRA adapter for use with the base's GGUF. Raises ModelError when it holds more than plain LoRA matrices."""
    with needs("gguf", "Writing GGUF"):
        import gguf
    more = _more_than_lora(settings)
    if more is not None:
        raise ModelError(f"The adapter holds {more}, which llama.cpp's adapters cannot.", where=str(adapter), next_step=_MERGED)
    layout = layout_of(base)
    tied = bool(layout.config.get("tie_word_embeddings"))
    scale = float(settings["lora_alpha"])
    rank = int(settings["r"])
    if settings.get("use_rslora"):
        scale *= rank**0.5  # llama.cpp divides by the rank, rank-stabilised LoRA by its root
    tensors = []
    for key, entry in read_header(adapter / "adapter_model.safetensors").items():
        module, _, part = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        named = layout.name(f"{module}.weight")
        if part not in ("lora_A", "lora_B") or named is None or (named == "output.weight" and tied):
            raise ModelError(f"The adapter holds {key!r}, which llama.cpp's adapters cannot.", where=str(adapter), next_step=_MERGED)
        tensors.append(_Tensor(f"{named}.{part.lower()}", key, adapter / "adapter_model.safetensors", tuple(entry["shape"]), "F32"))
    writer = gguf.GGUFWriter(str(out), layout.family.architecture)
    with closing(writer):
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, scale)
        return _write(writer, out, tensors, lambda one: _lora(one, layout), said)


def _more_than_lora(settings: Mapping[str, Any]) -> str | None:
    """What an adapter holds beside pairs of LoRA matrices of one rank, in a few words, or None."""
    kinds = {"use_dora": "DoRA's magnitudes", "modules_to_save": "whole layers (modules_to_save)", "rank_pattern": "other ranks in some layers",
             "alpha_pattern": "other scales in some layers", "target_parameters": "changes of single parameters",
             "trainable_token_indices": "rows of single tokens", "lora_bias": "biases", "fan_in_fan_out": "transposed weights"}
    found = next((words for key, words in kinds.items() if settings.get(key)), None)
    return found or ("biases" if settings.get("bias", "none") != "none" else None)


def _laid_out(folder: Path, layout: Layout, quantize: str) -> list[_Tensor]:
    tied = bool(layout.config.get("tie_word_embeddings"))
    found = []
    for path in weight_paths(folder):
        for key, entry in read_header(path).items():
            name = layout.name(key if key.startswith(("model.", "lm_head")) else f"model.{key}")
            if name is None:
                if key.endswith("rotary_emb.inv_freq"):
                    continue
                raise ModelError(f"The tensor {key!r} has no place in a GGUF of the architecture {layout.family.architecture}.", where=str(path))
            if name == "output.weight" and tied:
                continue
            shape = tuple(entry["shape"])
            found.append(_Tensor(name, key, path, shape, kind_of(name, shape, quantize, int(layout.config["num_hidden_layers"]))))
    if rope_factors(layout) is not None:
        found.append(_Tensor("rope_freqs.weight", "", None, (layout.head_dim // 2,), "F32"))
    return found


def _write(writer: Any, out: Path, tensors: list[_Tensor], value: Callable[[_Tensor], torch.Tensor], said: Said | None) -> Written:
    """Declare every tensor, then write their numbers one after the other."""
    import gguf

    done, total, kinds = 0, 0, dict[str, int]()
    for one in tensors:
        shape, numbers, size = _stored(one)
        writer.add_tensor_info(one.name, shape, numbers, size, gguf.GGMLQuantizationType[one.kind] if numbers == "uint8" else None)
        total, kinds[one.kind] = total + size, kinds.get(one.kind, 0) + 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for one in tensors:
        numbers = value(one)
        if not torch.isfinite(numbers).all() or (one.kind == "F16" and float(numbers.abs().max()) > 65504):
            raise ModelError(f"{one.source} holds numbers that are not finite in {one.kind}.", where=str(one.file),
                             next_step="Write another: --quantize bf16")
        block = packed(numbers.float().contiguous().numpy(), one.kind)
        writer.write_tensor_data(block)
        done += block.nbytes
        if said is not None:
            said(done, total)
    return Written(out, len(tensors), out.stat().st_size, kinds)


def _stored(one: _Tensor) -> tuple[tuple[int, ...], Any, int]:
    """(shape, numpy's type, bytes) of a tensor in the file; blocks are bytes there."""
    import gguf
    import numpy as np

    plain = {"F32": np.float32, "F16": np.float16}.get(one.kind)
    shape = one.shape if plain else gguf.quants.quant_shape_to_byte_shape(one.shape, gguf.GGMLQuantizationType[one.kind])
    numbers = np.dtype(plain or np.uint8)
    return shape, numbers, math.prod(shape) * numbers.itemsize


def _value(one: _Tensor, layout: Layout) -> torch.Tensor:
    if one.file is None:
        factors = rope_factors(layout)
        assert factors is not None
        return factors
    return layout.value(one.source, _read(one))


def _lora(one: _Tensor, layout: Layout) -> torch.Tensor:
    """The rows of B change places as those of the weight do; A is on the side of the inputs."""
    value = _read(one)
    if one.name.endswith("lora_b"):
        return layout.value(one.source.removeprefix("base_model.model.").removesuffix(".lora_B.weight") + ".weight", value)
    return value


def _read(one: _Tensor) -> torch.Tensor:
    assert one.file is not None
    with safe_open(str(one.file), framework="pt") as file:
        found: torch.Tensor = file.get_tensor(one.source)
        return found


