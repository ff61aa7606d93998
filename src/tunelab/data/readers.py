"""Files to rows: one reader per file format, each saying file and line of what it cannot read."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, cast

from tunelab.data.sample import Origin, Row
from tunelab.errors import DataError, needs

SUFFIXES: Mapping[str, str] = MappingProxyType({
    ".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv", ".txt": "text", ".text": "text", ".parquet": "parquet"})
"""File name ending -> file format (`ds_type`); all but Parquet may be followed by .gz."""

_ROW_COLUMNS = {"messages", "conversations", "segments", "tools"}
"""Columns that hold lists: an object with one of them is a row, not a container of rows."""


def format_of(path: Path) -> str | None:
    """The file format that a file name says, or None."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return SUFFIXES.get(plain.suffix.lower())


def read_file(path: Path, file_format: str, dataset: int) -> list[Row]:
    """All rows of a file. Raises DataError when the file is empty, damaged or not of this format."""
    rows = READERS[file_format](path, dataset)
    if not rows:
        raise DataError("The file holds no rows.", where=str(path), next_step="Put rows into it, or take it out of `datasets`.")
    return rows


def _read_json(path: Path, dataset: int) -> list[Row]:
    """A list of objects, an object that holds that list, or one object per line (JSON Lines)."""
    with _opened(path) as stream:
        first = stream.read(1)
        while first in (b" ", b"\n", b"\r", b"\t", b"\xef", b"\xbb", b"\xbf"):  # white space and the UTF-8 byte order mark
            first = stream.read(1)
    if first == b"[":
        return _rows(_whole(path), path, dataset)
    by_line = any(suffix.lower() in (".jsonl", ".ndjson") for suffix in path.suffixes[-2:])
    contained = _contained(path) if first == b"{" and not by_line else None
    return _rows(contained, path, dataset) if contained is not None else _read_lines(path, dataset)


def _contained(path: Path) -> list[Any] | None:
    """The list inside a file that is one object: `data`, or its only list of objects. None when the file is something else."""
    try:
        whole = _whole(path)
    except DataError:
        if _begins_with_whole_line(path):
            return None  # JSON Lines, whose reader names the broken line
        raise
    lists = {key: value for key, value in whole.items() if isinstance(value, list)} if isinstance(whole, dict) else {}
    if isinstance(lists.get("data"), list):
        return lists["data"]
    if len(lists) == 1 and not _ROW_COLUMNS & lists.keys():
        found = next(iter(lists.values()))
        return found if all(isinstance(one, dict) for one in found) else None
    return [whole] if isinstance(whole, dict) else None


def _begins_with_whole_line(path: Path) -> bool:
    with _opened(path) as stream:
        first = next((line for line in stream if line.strip()), b"")
    try:
        return isinstance(json.loads(first.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def _whole(path: Path) -> Any:
    with _opened(path) as stream:
        data = stream.read()
    try:
        return json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise _broken(f"{path}:{error.lineno}:{error.colno}", error.msg) from error
    except (ValueError, RecursionError) as error:
        raise _broken(str(path), str(error)) from error


def _rows(values: Any, path: Path, dataset: int) -> list[Row]:
    return [_row(value, path, number, dataset) for number, value in enumerate(values, start=1)]


def _read_lines(path: Path, dataset: int) -> list[Row]:
    rows = []
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            text = _decoded(line, path, number).rstrip("\r\n")
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except json.JSONDecodeError as error:
                raise _broken(f"{path}:{number}:{error.colno}", error.msg) from error
            except (ValueError, RecursionError) as error:
                raise _broken(f"{path}:{number}", str(error)) from error
            rows.append(_row(value, path, number, dataset))
    return rows


def _row(value: Any, path: Path, number: int, dataset: int) -> Row:
    if not isinstance(value, dict):
        found = {list: "a list", str: "text", bool: "true/false", type(None): "null"}.get(type(value), "a number")
        raise DataError(f"This row is {found}; expected an object with one key per column.", where=f"{path}:{number}",
                        next_step='Write each row as an object: {"column": "value", ...}.')
    return Row(value, Origin(dataset, str(path), number))


def _broken(where: str, reason: str) -> DataError:
    return DataError(f"This is not JSON: {reason}.", where=where,
                     next_step="Mend the line; or, when the file is not JSON, say what it is: ds_type: csv, text or parquet.")


def _read_csv(path: Path, dataset: int) -> list[Row]:
    """The first line names the columns. A row's number is the line that it begins on."""
    rows = []
    with _opened(path) as stream, _long_fields():
        lines = (_decoded(line, path, number) for number, line in enumerate(stream, start=1))
        reader = csv.DictReader(lines, strict=True)
        line = 0
        try:
            for values in reader:
                line, start = reader.line_num, line + 1
                if None in values:
                    raise DataError(f"This row has more fields than the {len(reader.fieldnames or ())} columns of the first line.",
                                    where=f"{path}:{max(start, 2)}", next_step="Put fields that contain commas into double quotes.")
                rows.append(Row(dict(values), Origin(dataset, str(path), max(start, 2))))
        except csv.Error as error:
            raise DataError(f"This is not CSV: {error}.", where=f"{path}:{max(line + 1, 2)}",
                            next_step="Mend the quotes of this row.") from error
    return rows


@contextmanager
def _long_fields() -> Iterator[None]:
    """Documents are longer than the csv module's limit of 131,072 characters a field; the limit is the process's, so put it back."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_text(path: Path, dataset: int) -> list[Row]:
    """One row per line, in the column `text`."""
    with _opened(path) as stream:
        return [Row({"text": _decoded(line, path, number).rstrip("\r\n")}, Origin(dataset, str(path), number))
                for number, line in enumerate(stream, start=1)]


def _read_parquet(path: Path, dataset: int) -> list[Row]:
    with needs("train", "Reading Parquet"):
        from pyarrow import ArrowException, parquet
    try:
        values = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise DataError(f"This is not a readable Parquet file: {error}.", where=str(path),
                        next_step="Write or download it again.") from error
    return _rows(values, path, dataset)


READERS: Mapping[str, Callable[[Path, int], list[Row]]] = MappingProxyType({
    "json": _read_json, "jsonl": _read_json, "csv": _read_csv, "text": _read_text, "parquet": _read_parquet})
"""File format (`ds_type`) -> reader."""


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked when its name ends with .gz; what goes wrong while reading becomes a DataError."""
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as unpacked:
                yield cast(IO[bytes], unpacked)
        else:
            with path.open("rb") as stream:
                yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"The file cannot be read: {error}.", where=str(path),
                        next_step="Check its permissions, and that it was downloaded to its end.") from error


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"Byte {error.start + 1} of this line is not UTF-8.", where=f"{path}:{number}",
                        next_step="Save the file as UTF-8; or, when it is not text, say what it is: ds_type: parquet.") from error
