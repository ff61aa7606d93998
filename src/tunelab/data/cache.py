"""The cache of tokenised rows: one file per key, and the key covers everything that decides a token, a label or the order.

The file holds plain arrays (never pickles): the tokens first, which are mapped into memory instead of read when they are many, then what
describes them, then a checksum over all of it. A file that is damaged or foreign counts as absent. It is written beside its place and
moved there when it is whole, so that of two processes at the same work one wins and both read a whole file.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from tunelab.data.samples import Samples, join
from tunelab.errors import storage_errors

VERSION = 2
"""Raised with every change to how rows become tokens, so that no older file is hit."""

_MAGIC = b"tunelab2"
_TAIL = 12
"""The last bytes: the length of the description (8) and the checksum of everything before it (4)."""

_MANY = 2**26
"""From so many tokens on (256 MiB) they stay on disk. Fewer are read, so that nothing done to the file later can touch them."""

_ARRAYS = ("starts", "learnt", "places", "odd_at", "odd_label", "order")


def key_of(options: Any, tokenizer: str, contents: Sequence[str], templates: Sequence[str | None]) -> str:
    """The name of the cache file. `contents` are the digests of the datasets, `tokenizer` is the tokenizer's fingerprint, `options` is all
    that the config says about tokens, labels and order, as plain JSON."""
    today = date.today().isoformat() if any("strftime_now" in (template or "") for template in templates) else ""
    parts = [VERSION, metadata.version("tokenizers"), options, list(contents), tokenizer, list(templates), today]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


class Writer:
    """Where encoded samples go as they are made: with a folder to disk, part by part, so that the tokens of one part are in memory."""

    def __init__(self, folder: Path | None) -> None:
        """Raises StorageError when the folder cannot be written to."""
        self._folder, self._parts, self._tokens, self._checksum = folder, list[Samples](), 0, 0
        self._stream: IO[bytes] | None = None
        self._path = Path()
        if folder is not None:
            with _storing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                descriptor, path = tempfile.mkstemp(dir=folder, suffix=".partial")
                self._stream, self._path = os.fdopen(descriptor, "wb"), Path(path)
            self._write(_MAGIC)

    def add(self, part: Samples) -> None:
        """Take the next samples."""
        if self._stream is not None:
            self._write(_bytes(part.tokens))
            self._tokens += len(part.tokens)
            part = replace(part, tokens=part.tokens[:0])
        self._parts.append(part)

    def whole(self) -> Samples:
        """Everything that was added, end to end."""
        if self._stream is None:
            return join(self._parts)
        with _storing(self._folder):
            self._stream.flush()
        return join(self._parts, _tokens(self._path, self._tokens))

    def keep(self, key: str, samples: Samples, numbers: Mapping[str, Any]) -> None:
        """Finish the file under this key. `samples` is `whole()` in the order to keep. Needs a folder."""
        assert self._stream is not None and self._folder is not None
        arrays = [getattr(samples, name) for name in _ARRAYS]
        about = {"key": key, "tokens": self._tokens, "files": samples.files, "numbers": dict(numbers),
                 "arrays": [[array.dtype.str, list(array.shape)] for array in arrays]}
        description = json.dumps(about).encode()
        self._write(b"".join([*map(_bytes, arrays), description, len(description).to_bytes(8, "little")]))
        with _storing(self._folder):
            self._stream.write(self._checksum.to_bytes(4, "little"))
            self._stream.close()
            _move(self._path, _file(self._folder, key))

    def close(self) -> None:
        """Remove what was written and not kept."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.close()
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        assert self._stream is not None
        self._checksum = zlib.crc32(data, self._checksum)
        with _storing(self._folder):
            self._stream.write(data)


def load(folder: Path, key: str) -> tuple[Samples, dict[str, Any]] | None:
    """The samples and numbers that were kept under this key; None when there are none, or the file is damaged."""
    path = _file(folder, key)
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            about, arrays = _read(content)
        if about["key"] != key:
            return None
        found = dict(zip(_ARRAYS, arrays, strict=True))
        return Samples(tokens=_tokens(path, about["tokens"]), files=tuple(about["files"]), **found), dict(about["numbers"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(content: mmap.mmap) -> tuple[dict[str, Any], list[Any]]:
    """The description and the arrays after the tokens. Raises ValueError for a file that is not whole."""
    import numpy as np

    end = len(content) - _TAIL
    if end < len(_MAGIC) or content[:len(_MAGIC)] != _MAGIC:
        raise ValueError("not a file of tokenised rows")
    with memoryview(content) as view, view[:-4] as checked:
        if zlib.crc32(checked) != int.from_bytes(content[-4:], "little"):
            raise ValueError("damaged")
    start = end - int.from_bytes(content[end:end + 8], "little")
    about = json.loads(content[start:end])
    place, arrays = len(_MAGIC) + 4 * about["tokens"], []
    for kind, shape in about["arrays"]:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        arrays.append(np.frombuffer(content[place:place + size], dtype=kind).reshape(shape))
        place += size
    return about, arrays


def _tokens(path: Path, tokens: int) -> Any:
    import numpy as np

    if tokens < _MANY:
        return np.fromfile(path, dtype="<i4", count=tokens, offset=len(_MAGIC))
    return np.memmap(path, dtype="<i4", mode="r", offset=len(_MAGIC), shape=(tokens,))


def _bytes(array: Any) -> bytes:
    import numpy as np

    found: bytes = np.ascontiguousarray(array).tobytes()
    return found


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except PermissionError:  # Windows moves no file that is mapped into memory, and replaces none
        if target.exists():
            return
        copy = source.with_suffix(".copy")
        shutil.copyfile(source, copy)
        copy.replace(target)


def _storing(folder: Path | None) -> AbstractContextManager[None]:
    return storage_errors(folder or Path(), "Keeping the tokenised rows", "Free some space, or choose another dataset_prepared_path.")


def _file(folder: Path, key: str) -> Path:
    return folder / f"rows-{key[:40]}.tokens"
