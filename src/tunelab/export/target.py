"""Where an export goes: a folder that is free for it, on a disk with room, whole or not there at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tunelab.errors import FolderError, LockedError, StorageError, storage_errors
from tunelab.planning.here import size
from tunelab.runs.store import flush, remove_leftovers, whole_folder

_SPARE = 50_000_000
"""Bytes beside the weights: tokenizer, index, the file system's own."""
_SMALLER = {"merged model": "16-bit weights (--dtype bf16)", "GGUF file": "a smaller one (--quantize q8_0)"}


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


def check_new(out: Path) -> None:
    """Raises FolderError when a file cannot be written under this name: there is one, or it is a folder's."""
    if out.exists():
        raise FolderError(f"There is {'a folder' if out.is_dir() else 'a file'} of this name already.", where=str(out),
                          next_step="Give another (--out FILE.gguf), or remove it yourself.")


def check_room(out: Path, needed: int, what: str = "merged model") -> None:
    """Raises StorageError when the disk of `out` has less room than `needed` bytes and a little more."""
    place = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    with storage_errors(place, "Looking at the free space"):
        free = shutil.disk_usage(place).free
    if free < needed + _SPARE:
        raise StorageError(f"The {what} needs {size(needed + _SPARE)} and the disk has {size(free)} free; nothing was written.", where=str(place),
                           next_step=f"Free some space, choose another disk (--out), or write {_SMALLER.get(what, 'less')}.")


@contextlib.contextmanager
def filled(out: Path, what: str = "merged model") -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` when the block ends well and is removed when it does not.

    What a killed export left is removed first. Raises LockedError while another process exports to the same folder, StorageError.
    """
    with _alone(out), whole_folder(out, f"Writing the {what}") as folder:
        yield folder


@contextlib.contextmanager
def written(out: Path) -> Iterator[Path]:
    """A temporary folder beside the file `out`; the files in it whose names begin with that of `out` take their places beside each other when
    the block ends well, `out` last, and everything is removed when it does not. As for `filled` otherwise."""
    with _alone(out), storage_errors(out, "Writing the file"):
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            yield folder
            for file in sorted(folder.glob(f"{out.name}*"), reverse=True):
                flush(file)
                file.replace(out.parent / file.name)
            flush(out.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Nobody else exports to `out`, and what a killed export left is gone."""
    from filelock import FileLock, Timeout

    with storage_errors(out, "Creating the output folder", "Choose a folder that can be written to: --out FOLDER"):
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out.parent / f".{out.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LockedError("Another tunelab process is exporting to this place.", where=str(out), next_step="Wait for it.") from None
    try:
        remove_leftovers(out.parent, f"{out.name}.")
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
