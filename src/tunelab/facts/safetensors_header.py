"""The header of a safetensors file, read without its weights, and the names that its tensors have once the model is loaded.

Format: https://huggingface.co/docs/safetensors. Files are untrusted: what does not add up is refused, nothing is believed beyond the
file's own size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunelab.errors import ModelError

_MAX_HEADER = 100_000_000  # the limit of the safetensors format itself
Shape = tuple[int, ...]


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


def as_loaded(tensors: Mapping[str, Shape], model_type: str) -> dict[str, Shape]:
    """The parameters that loading these tensors makes (transformers 5): buffers are left out, the older spellings of GPT-2, GPT-NeoX and
    Mixtral are turned into today's, and the experts of a layer become one tensor."""
    found: dict[str, Shape] = {}
    experts: dict[str, tuple[int, Shape]] = {}
    for name, shape in tensors.items():
        if (_BUFFER.search(name) and len(shape) != 1) or name.endswith(".inv_freq"):
            continue
        new = _renamed(name, model_type)
        part = _EXPERT.fullmatch(new)
        if part is None:
            found[new] = shape
        else:
            group = f"{part['layer']}.experts.{part['matrix']}"
            experts[group] = (experts.get(group, (0, shape))[0] + 1, shape)
    for group, (count, shape) in experts.items():
        if not group.endswith(".up_proj"):
            fused = group.removesuffix("gate_proj") + "gate_up_proj" if group.endswith(".gate_proj") else group
            found[fused] = (count, shape[0] * (2 if fused != group else 1), *shape[1:])
    return found


_BUFFER = re.compile(r"\.(attn|attention)\.(masked_)?bias$")
_EXPERT = re.compile(r"(?P<layer>.+)\.experts\.\d+\.(?P<matrix>gate_proj|up_proj|down_proj)\.weight")
_MIXTRAL = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def _renamed(name: str, model_type: str) -> str:
    if model_type in ("gpt2", "gpt_bigcode", "bloom") and re.match(r"(h\.\d+|wte|wpe|ln_f|word_embeddings\w*)\.", name):
        return f"transformer.{name}"
    if model_type == "gpt_neox" and name.startswith("embed_out."):
        return f"lm_head.{name.removeprefix('embed_out.')}"
    if model_type == "mixtral":
        name = name.replace(".block_sparse_moe.", ".mlp.")
        return re.sub(r"\.(w[123])\.weight$", lambda found: f".{_MIXTRAL[found.group(1)]}.weight", name)
    return name
