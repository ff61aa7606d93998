"""Writing a safetensors file tensor by tensor, so that only one of them is in memory at a time.

Format: https://huggingface.co/docs/safetensors: 8 bytes of length, a JSON header, then the tensors' bytes without gaps.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
         "F8_E4M3": 1, "F8_E5M2": 1}
"""Bytes of one element, by the format's own names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file: its name, its dtype in the format's spelling, its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * BYTES[self.dtype]


def write_file(path: Path, entries: Sequence[Entry], content: Callable[[Entry], Any]) -> str:
    """Write `entries`, asking `content` for the bytes of each in turn (a buffer of exactly its size); returns the file's SHA-256.

    Wider dtypes come first, so that every tensor lies aligned. Raises OSError.
    """
    ordered = sorted(entries, key=lambda entry: -BYTES[entry.dtype])
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in ordered:
        header[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [end, end + entry.size]}
        end += entry.size
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (len(text).to_bytes(8, "little"), text):
            file.write(part)
            digest.update(part)
        for entry in ordered:
            data = memoryview(content(entry)).cast("B")
            assert data.nbytes == entry.size, f"{entry.name}: {data.nbytes} bytes, expected {entry.size}"
            file.write(data)
            digest.update(data)
    return digest.hexdigest()
