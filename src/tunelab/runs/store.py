"""Writing files so that they are whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunelab.errors import StorageError, storage_errors


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: readers see the old text or the new one, whole."""
    with storage_errors(path, f"Writing {path.name}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            Path(name).chmod(_mode(0o666))
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, readable and with keys in the order given."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a damaged file is a StorageError that names it."""
    with storage_errors(path, f"Reading {path.name}", "Check the path."):
        text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise StorageError(f"The file is damaged (not JSON: {error.msg}).", where=f"{path}:{error.lineno}") from None


@contextlib.contextmanager
def whole_folder(path: Path, doing: str) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success it becomes `path` in one rename, on failure it is removed.

    Everything in it is flushed to disk first, so that after a power cut `path` is either whole or absent.
    """
    with storage_errors(path, doing):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            temporary.chmod(_mode(0o777))
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    flush(file)
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
            flush(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def remove_leftovers(folder: Path, name: str) -> None:
    """Remove temporary folders that a killed process left beside `name`."""
    for leftover in folder.glob(f".{name}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def _mode(wanted: int) -> int:
    """Permissions as any new file gets them; temporary ones are private until they have their name."""
    mask = os.umask(0)
    os.umask(mask)
    return wanted & ~mask


def flush(path: Path) -> None:
    """Have the system write a file or folder to the disk now."""
    with contextlib.suppress(OSError):  # some systems cannot fsync a folder; the rename stands all the same
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
