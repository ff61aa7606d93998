"""One comparison on disk: a header line and then one line per answer (JSONL), only ever added to, so that it can be gone on with.

    {"tunelab_comparison": 1, "prompts": [...], "sides": {"base": {...}, "tuned": {...}}, "sampling": {...}}
    {"side": "base", "prompt_id": "p1", "text": "...", "stop": "end", ...}

All text is ASCII with \\u escapes: what a model wrote stays data in a terminal and an editor too.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tunelab.comparison.oddities import oddities
from tunelab.comparison.record import EXTRA, SIDES, Comparison, Judged, Record
from tunelab.comparison.sides import differences_between_sides
from tunelab.errors import FolderError, LockedError, StorageError
from tunelab.grading import Grade, grade
from tunelab.runners.prompt import Answer, Prompt, Sampling

SCHEMA = 1
_MARK = "tunelab_comparison"
Key = tuple[str, str, int]
"""(side, prompt id, sample)."""


def make_header(prompts: Sequence[Prompt], sides: Mapping[str, Mapping[str, Any]], sampling: Sampling) -> dict[str, Any]:
    """The header of a comparison: what was asked, of whom (each side's facts), and how. Equal headers mean the same comparison."""
    header = {_MARK: SCHEMA, "prompts": [_asked(prompt) for prompt in prompts],
              "sides": {name: dict(facts) for name, facts in sides.items()}, "sampling": dataclasses.asdict(sampling)}
    plain: dict[str, Any] = json.loads(_line(header))
    return plain


def _asked(prompt: Prompt) -> dict[str, Any]:
    """A prompt as the header holds it; what most prompts lack is left out."""
    return {key: value for key, value in dataclasses.asdict(prompt).items() if key != "raw" or value}


class ComparisonFile:
    """A comparison file open for adding answers. `answered` holds the keys of those that it has; use it in a `with`."""

    def __init__(self, path: Path, handle: IO[bytes], answered: set[Key]) -> None:
        self.path = path
        self.answered = answered
        self._handle = handle

    @classmethod
    def open(cls, path: Path, header: Mapping[str, Any]) -> ComparisonFile:
        """Start a file, or go on with one that has the same header; a last line that was not written to its end is cut off.

        Raises FolderError for another comparison or another kind of file, LockedError while another process writes to it,
        StorageError when it is damaged or cannot be written.
        """
        wanted = _line(header)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("a+b", buffering=0)
        except OSError as error:
            raise _storage(path, error) from error
        try:
            _lock(handle, path)
            answered = _resume(path, handle, wanted)
        except OSError as error:
            handle.close()
            raise _storage(path, error) from error
        except BaseException:
            handle.close()
            raise
        return cls(path, handle, answered)

    def add(self, side: str, answer: Answer) -> None:
        """Store one answer; on return it is on the disk (fsync). One that is there already is a ValueError.

        Raises StorageError when the disk is full; what was stored before is whole and stays.
        """
        key = (side, answer.prompt_id, answer.sample)
        if side not in (*SIDES, *EXTRA) or key in self.answered:
            raise ValueError(f"cannot add {side}, {answer.prompt_id}: no such side, or answered already")
        try:
            _append(self._handle, _line({"side": side, **dataclasses.asdict(answer)}))
        except OSError as error:
            raise _storage(self.path, error, kept=len(self.answered)) from error
        self.answered.add(key)

    def close(self) -> None:
        """Close the file and let others write to it."""
        self._handle.close()

    def __enter__(self) -> ComparisonFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_comparison(path: Path) -> Comparison:
    """Read a comparison, finished or not, and grade its answers: grades are computed here, each time, and not stored.

    A last line that was not written to its end is left out. Raises FolderError (not a comparison file), StorageError (damaged), and
    UsageError for a malformed grader.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FolderError("There is no comparison file.", where=str(path)) from error
    except OSError as error:
        raise _storage(path, error) from error
    whole = data[:data.rfind(b"\n") + 1].splitlines()
    header = _header(path, whole[0] if whole else b"")
    answers = {(side, answer.prompt_id, answer.sample): answer for side, answer in _answers(path, whole[1:])}
    known: dict[tuple[str, str, str], Grade] = {}
    by_prompt: dict[str, dict[str, list[Answer]]] = {}
    for (side, prompt_id, _), answer in sorted(answers.items(), key=lambda item: item[0][2]):
        by_prompt.setdefault(prompt_id, {}).setdefault(side, []).append(answer)
    records = tuple(_record(prompt, by_prompt.get(prompt.id, {}), known) for prompt in _prompts(path, header))
    return Comparison(header, records, (*differences_between_sides(header["sides"], records), *oddities(records)))


def _prompts(path: Path, header: Mapping[str, Any]) -> list[Prompt]:
    try:
        Sampling(**header["sampling"])
        _ = header["sides"]["base"].keys(), header["sides"]["tuned"].keys()
        return [Prompt(**{**raw, "messages": tuple(raw["messages"])}) for raw in header["prompts"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"The first line of the comparison is damaged ({error}).", where=f"{path}:1") from error


def _record(prompt: Prompt, answers: Mapping[str, Sequence[Answer]], known: dict[tuple[str, str, str], Grade]) -> Record:
    """`answers`: side -> its answers to the prompt, sample by sample."""
    heard: dict[str, list[Judged]] = {}
    for side, given in answers.items():
        for answer in given:
            key = (prompt.id, answer.text, answer.stop)
            if key not in known:  # both sides often say the same, and running code takes a while
                known[key] = grade(prompt.grader, prompt.id, answer.text, answer.stop)
            heard.setdefault(side, []).append(Judged(answer, known[key]))
    firsts = [heard[side].pop(0) if heard.get(side) else None for side in SIDES]
    base, tuned = ((one.answer, one.grade) if one else (None, None) for one in firsts)
    return Record(prompt, base[0], tuned[0], base[1], tuned[1], {side: tuple(rest) for side, rest in heard.items() if rest})


def _resume(path: Path, handle: IO[bytes], wanted: bytes) -> set[Key]:
    """Bring the open file to a state that can be added to; the keys of what it holds."""
    handle.seek(0)
    data = handle.read()
    end = data.rfind(b"\n") + 1
    if end == 0:
        if not wanted.startswith(data):
            raise FolderError("The file is not a comparison.", where=str(path), next_step="Choose another file to write to.")
        handle.truncate(0)  # nothing yet, or a header that was not written to its end
        _append(handle, wanted)
        _sync_folder(path.parent)
        return set()
    lines = data[:end].splitlines()
    _same_header(path, _header(path, lines[0]), json.loads(wanted))
    keys = {(side, answer.prompt_id, answer.sample) for side, answer in _answers(path, lines[1:])}
    if end < len(data):
        handle.truncate(end)
        os.fsync(handle.fileno())
    return keys


def _header(path: Path, line: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        found = json.loads(line)
        if isinstance(found, dict) and _MARK in found:
            if found[_MARK] != SCHEMA:
                raise FolderError(f"The comparison has format {found[_MARK]!r}; this version reads format {SCHEMA}.", where=str(path))
            if isinstance(found.get("sampling"), dict):
                found["sampling"] = {**dataclasses.asdict(Sampling()), **found["sampling"]}  # files of 0.3.0 do not name all of it
            return found
    raise FolderError("The file is not a comparison.", where=str(path), next_step="Choose another file.")


def _same_header(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise FolderError saying what differs."""
    if found == wanted:
        return
    parts = [f"{place} was {before}, is now {now}" for place, before, now in _differences(found, wanted)]
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    raise FolderError(f"The file holds another comparison: {'; '.join(parts[:3])}{more}.", where=str(path),
                      next_step="Choose another file to write to, or ask the same again to go on with this one.")


def _differences(found: Any, wanted: Any, place: str = "") -> list[tuple[str, str, str]]:
    """(dotted place, before, now) of every difference; prompts are named by their ids."""
    if found == wanted:
        return []
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = list(dict.fromkeys([*found, *wanted]))
        return [one for key in keys for one in _differences(found.get(key), wanted.get(key), f"{place}.{key}" if place else key)]
    if place == "prompts":
        before, now = ({prompt["id"]: prompt for prompt in side} for side in (found, wanted))
        if list(before) == list(now):
            return _differences(before, now, "prompt")
        return [(place, f"{len(before)} ({_ids(before, now)} not asked now)", f"{len(now)} ({_ids(now, before)} new)")]
    return [(place, _short(found), _short(wanted))]


def _ids(some: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    only = [repr(one) for one in some if one not in others]
    return ", ".join(only[:3]) + (", ..." if len(only) > 3 else "") if only else "none"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _answers(path: Path, lines: Sequence[bytes]) -> list[tuple[str, Answer]]:
    found = []
    for number, line in enumerate(lines, start=2):
        try:
            values = json.loads(line)
            side = values.pop("side")
            found.append((side, Answer(**{**values, "prompt_ids": tuple(values.get("prompt_ids", ()))})))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise StorageError("A line of the comparison is damaged.", where=f"{path}:{number}",
                               next_step="Delete that line; the answer is asked for again.") from error
    return found


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=True, default=str).encode("ascii") + b"\n"


def _append(handle: IO[bytes], line: bytes) -> None:
    """Write a line to the disk; on failure the part of it that was written is taken back, and the error raised."""
    start = os.fstat(handle.fileno()).st_size
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[handle.write(rest):]
        os.fsync(handle.fileno())
    except OSError:
        with suppress(OSError):
            handle.truncate(start)
        raise


def _lock(handle: IO[bytes], path: Path) -> None:
    """Keep other processes from adding to the same file; the lock goes with the file's closing. Not on Windows."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError("Another process is writing to this comparison.", where=str(path),
                          next_step="Wait for it, or stop it.") from error


def _sync_folder(folder: Path) -> None:
    """Make a new file's name last too, where folders can be synced (not on Windows)."""
    with suppress(OSError, AttributeError):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _storage(path: Path, error: OSError, kept: int | None = None) -> StorageError:
    stored = f" The {kept} answers before it are kept." if kept is not None else ""
    return StorageError(f"The comparison cannot be read or written: {error.strerror or error}.{stored}", where=str(path),
                        next_step="Make room or choose another folder, then run the same command: it goes on where it stopped.")
