"""Where an export goes: a folder that is free for it, on a disk with room, whole or not there at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from tunelab.errors import FolderError, LockedError, StorageError, storage_errors
from tunelab.planning.here import size
from tunelab.runs.store import remove_leftovers, whole_folder

_SPARE = 50_000_000
"""Bytes beside the weights: tokenizer, index, the file system's own."""


def check_free(out: Path) -> None:
    """Raises FolderError when something is in the way: a file, or a folder that holds anything."""
    if out.exists() and not out.is_dir():
        raise FolderError("The output is a file; expected a folder that is new or empty.", where=str(out), next_step="Give another: --out FOLDER")
    try:
        held = sorted(item.name for item in out.iterdir()) if out.is_dir() else []
    except OSError as error:
        raise FolderError(f"The output folder cannot be looked into: {error.strerror}.", where=str(out), next_step="Give another: --out FOLDER") from error
    if held:
        raise FolderError(f"The output folder is not empty (it holds {', '.join(held[:3])}{', ...' if len(held) > 3 else ''}).", where=str(out),
                          next_step="Give another (--out FOLDER), or remove it yourself.")


def check_room(out: Path, needed: int) -> None:
    """Raises StorageError when the disk of `out` has less room than `needed` bytes and a little more."""
    place = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    with storage_errors(place, "Looking at the free space"):
        free = shutil.disk_usage(place).free
    if free < needed + _SPARE:
        raise StorageError(f"The merged model needs {size(needed + _SPARE)} and the disk has {size(free)} free; nothing was written.", where=str(place),
                           next_step="Free some space, choose another disk (--out FOLDER), or write 16-bit weights (--dtype bf16).")


@contextlib.contextmanager
def filled(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` when the block ends well and is removed when it does not.

    What a killed export left is removed first. Raises LockedError while another process exports to the same folder, StorageError.
    """
    from filelock import FileLock, Timeout

    with storage_errors(out, "Creating the output folder", "Choose a folder that can be written to: --out FOLDER"):
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out.parent / f".{out.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LockedError("Another tunelab process is exporting to this folder.", where=str(out), next_step="Wait for it.") from None
    try:
        remove_leftovers(out.parent, f"{out.name}.")
        with whole_folder(out, "Writing the merged model") as folder:
            yield folder
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
