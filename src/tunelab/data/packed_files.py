"""Opening a data file, compressed or not: what goes wrong with the bytes becomes a sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from tunelab.errors import DataError, needs

PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
"""The endings of compressed files."""


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked by its ending; what goes wrong while reading becomes a DataError."""
    try:
        with _stream(path) as stream:
            yield stream
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"The file cannot be read: {error}.", where=str(path),
                        next_step="Check its permissions, and that it was downloaded to its end.") from error


def _stream(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if suffix == ".bz2":
        return cast(IO[bytes], bz2.open(path, "rb"))
    if suffix == ".xz":
        return cast(IO[bytes], lzma.open(path, "rb"))
    if suffix == ".zst":
        with needs("train", "Reading .zst files"):
            import pyarrow
        path.open("rb").close()  # the plain error for a file that is not there
        return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return path.open("rb")
