"""How large a model is, and with what it runs: by parameters, files and architecture, as far as a list of models tells."""

from __future__ import annotations

import re
from typing import Literal

from tunelab.errors import UsageError
from tunelab.hub.fields.weights import read_size
from tunelab.hub.record import ModelRecord

RunsWith = Literal["ollama", "cpu", "gguf"]
GGUF_BYTES, WEIGHT_BYTES = 0.6, 2.0
"""Bytes a parameter takes in memory: of GGUF files with 4 bits and scales, and of 16-bit weights."""
ROOM = 0.8
"""The part of memory that a model may take."""
OLLAMA_TYPES = frozenset({"llama", "llama4", "mllama", "mistral", "mistral3", "mixtral", "gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "phi3",
                          "qwen2", "qwen2_5_vl", "cohere", "gpt_oss"})
"""The model types whose safetensors `ollama create` imports; of others it wants GGUF. (A PEFT adapter it converts wrongly, so adapters want GGUF too.)"""
_SIZE = re.compile(r"(?:(\d{1,3})x)?(\d{1,16}(?:\.\d{1,6})?)([kmbt]?)", re.IGNORECASE)
_TIMES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def parse_size(text: str) -> int:
    """Parameters from "7B", "350m", "8x7B" (experts counted in full), "1.5e9" or a plain number. Raises UsageError."""
    found = _SIZE.fullmatch(re.sub(r"[\s,_]", "", text[:60]))
    try:
        count = int(found.group(1) or 1) * float(found.group(2)) * _TIMES[found.group(3).lower()] if found else float(text)
        if 0 < count < 1e16:
            return round(count)
    except ValueError:
        pass
    raise UsageError(f"{text[:40]!r} is no number of parameters; expected something like 7B, 350M or 1500000000.", where="--max-params")


def parameters_of(record: ModelRecord) -> int | None:
    """How many parameters it has, by `read_size`; None when nothing tells."""
    said = read_size(record).value
    try:
        return parse_size(said) if said else None
    except UsageError:
        return None


def has_gguf(record: ModelRecord) -> bool:
    """Whether it has GGUF files."""
    return "gguf" in record.tags or record.library == "gguf" or bool(record.gguf) or any(name.lower().endswith(".gguf") for name in record.files)


def runs_with(record: ModelRecord, how: RunsWith, memory: int) -> bool | None:
    """Whether it runs that way on a machine with so many bytes of memory; None when the list does not tell."""
    gguf = has_gguf(record)
    if how == "gguf":
        return gguf
    if how == "ollama":
        kind = record.config.get("model_type")
        adapter = bool(record.adapter) or record.library == "peft" or any(name.endswith("adapter_config.json") for name in record.files)
        return gguf or (None if not isinstance(kind, str) and not adapter else not adapter and kind in OLLAMA_TYPES)
    count = parameters_of(record)
    return None if count is None else count * (GGUF_BYTES if gguf else WEIGHT_BYTES) <= ROOM * memory
