"""Files to rows, one after the other: one reader per file format, each saying file and line of what it cannot read."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tunelab.data.packed_files import PACKED_SUFFIXES, opened
from tunelab.data.sample import Origin, Row
from tunelab.errors import DataError, needs

SUFFIXES: Mapping[str, str] = MappingProxyType({
    ".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "tsv", ".txt": "text", ".text": "text",
    ".parquet": "parquet", ".arrow": "arrow"})
"""File name ending -> file format (`ds_type`); all but Parquet and Arrow may be followed by .gz, .bz2, .xz or .zst."""

_AT_ONCE = 2**20
"""Characters of a JSON list to read at a time."""

_ROW_COLUMNS = {"messages", "conversations", "segments", "tools"}
"""Columns that hold lists: an object with one of them is a row, not a container of rows."""


def format_of(path: Path) -> str | None:
    """The file format that a file name says, or None."""
    plain = path.with_suffix("") if path.suffix.lower() in PACKED_SUFFIXES else path
    return SUFFIXES.get(plain.suffix.lower())


def read_file(path: Path, file_format: str, dataset: int) -> Iterator[Row]:
    """The rows of a file. Raises DataError when the file is empty, damaged or not of this format, where that shows."""
    row = None
    for row in READERS[file_format](path, dataset):
        yield row
    if row is None:
        raise DataError("The file holds no rows.", where=str(path), next_step="Put rows into it, or take it out of `datasets`.")


def count_rows(path: Path, file_format: str) -> int:
    """How many rows `read_file` gives if every one of them can be read."""
    if file_format == "parquet":
        with needs("train", "Reading Parquet"):
            from pyarrow import parquet
        with _arrow_errors(path, "Parquet"):
            return int(parquet.read_metadata(path).num_rows)
    if file_format == "text" or (file_format in ("json", "jsonl") and _is_lines(path)):
        with opened(path) as stream:
            return sum(1 for line in stream if file_format == "text" or line.strip())
    return sum(1 for _ in READERS[file_format](path, 0))


def _read_json(path: Path, dataset: int) -> Iterator[Row]:
    """A list of objects, an object that holds that list, or one object per line (JSON Lines)."""
    if _is_lines(path):
        return _read_lines(path, dataset)
    if _first_sign(path) == b"[":
        return _read_list(path, dataset)
    contained = _contained(path)
    return _rows(contained, path, dataset) if contained is not None else _read_lines(path, dataset)


def _is_lines(path: Path) -> bool:
    """Whether a file is JSON Lines: by its name, or because its first line is an object and not its only one."""
    first = _first_sign(path)
    if first == b"[":
        return False
    by_name = any(suffix.lower() in (".jsonl", ".ndjson") for suffix in path.suffixes[-2:])
    if first != b"{" or by_name:
        return True
    with opened(path) as stream:
        lines = list(islice((line for line in stream if line.strip()), 2))
    return len(lines) == 2 and _is_object(lines[0])


def _first_sign(path: Path) -> bytes:
    """The first byte that is no white space and no UTF-8 byte order mark."""
    with opened(path) as stream:
        first = stream.read(1)
        while first in (b" ", b"\n", b"\r", b"\t", b"\xef", b"\xbb", b"\xbf"):
            first = stream.read(1)
    return first


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def _read_list(path: Path, dataset: int) -> Iterator[Row]:
    """The elements of a JSON list, without holding the whole file. What cannot be read is said with line and column."""
    number = 0
    for number, value in enumerate(_elements(path), start=1):
        if value is _BROKEN:
            _whole(path)  # raises, with the place
            raise _broken(f"{path}:{number}", "the list is not written as one")
        yield _row(value, path, number, dataset)


_BROKEN = object()


def _elements(path: Path) -> Iterator[Any]:
    """The elements of a list, as it is read; _BROKEN last when it is none."""
    decode, expected = json.JSONDecoder().raw_decode, "["
    with opened(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as reader:
        text, place, more = "", 0, True
        while True:
            try:
                while (sign := text[(at := _behind_space(text, place))]) in expected:
                    begin = at if sign == "]" else _behind_space(text, at + 1)
                    if sign == "]" or (expected == "[" and text[begin] == "]"):
                        yield from [_BROKEN] if (text[begin + 1:] + reader.read()).strip() else []
                        return
                    value, end = decode(text, begin)
                    yield value
                    place, expected = end, ",]"
                more = False  # something else than a comma or the end
            except (ValueError, IndexError):  # cut off here, or broken
                pass
            except RecursionError:
                more = False
            part = _part(reader, max(_AT_ONCE, len(text) - place)) if more else ""
            if not part:
                yield _BROKEN
                return
            text, place = text[place:] + part, 0


def _part(reader: io.TextIOWrapper, size: int) -> str:
    try:
        return reader.read(size)
    except UnicodeDecodeError:
        return ""


def _behind_space(text: str, place: int) -> int:
    while text[place] in " \n\r\t":
        place += 1
    return place


def _contained(path: Path) -> list[Any] | None:
    """The list inside a file that is one object: `data`, or its only list of objects. None when the file is something else."""
    whole = _whole(path)
    lists = {key: value for key, value in whole.items() if isinstance(value, list)} if isinstance(whole, dict) else {}
    if isinstance(lists.get("data"), list):
        return lists["data"]
    if len(lists) == 1 and not _ROW_COLUMNS & lists.keys():
        found = next(iter(lists.values()))
        return found if all(isinstance(one, dict) for one in found) else None
    return [whole] if isinstance(whole, dict) else None


def _whole(path: Path) -> Any:
    with opened(path) as stream:
        data = stream.read()
    try:
        return json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise _broken(f"{path}:{error.lineno}:{error.colno}", error.msg) from error
    except (ValueError, RecursionError) as error:
        raise _broken(str(path), str(error)) from error


def _rows(values: Iterable[Any], path: Path, dataset: int) -> Iterator[Row]:
    return (_row(value, path, number, dataset) for number, value in enumerate(values, start=1))


def _read_lines(path: Path, dataset: int) -> Iterator[Row]:
    with opened(path) as stream:
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
            yield _row(value, path, number, dataset)


def _row(value: Any, path: Path, number: int, dataset: int) -> Row:
    if not isinstance(value, dict):
        found = {list: "a list", str: "text", bool: "true/false", type(None): "null"}.get(type(value), "a number")
        raise DataError(f"This row is {found}; expected an object with one key per column.", where=f"{path}:{number}",
                        next_step='Write each row as an object: {"column": "value", ...}.')
    return Row(value, Origin(dataset, str(path), number))


def _broken(where: str, reason: str) -> DataError:
    return DataError(f"This is not JSON: {reason}.", where=where,
                     next_step="Mend the line; or, when the file is not JSON, say what it is: ds_type: csv, text or parquet.")


def _read_csv(path: Path, dataset: int, *, delimiter: str = ",") -> Iterator[Row]:
    """The first line names the columns. A row's number is the line that it begins on."""
    with opened(path) as stream, _long_fields():
        lines = (_decoded(line, path, number) for number, line in enumerate(stream, start=1))
        reader = csv.DictReader(lines, strict=True, delimiter=delimiter)
        line = 0
        try:
            for values in reader:
                line, start = reader.line_num, line + 1
                if None in values:
                    raise DataError(f"This row has more fields than the {len(reader.fieldnames or ())} columns of the first line.",
                                    where=f"{path}:{max(start, 2)}", next_step="Put fields that contain the separator into double quotes.")
                yield Row(dict(values), Origin(dataset, str(path), max(start, 2)))
        except csv.Error as error:
            raise DataError(f"This is not CSV: {error}.", where=f"{path}:{max(line + 1, 2)}",
                            next_step="Mend the quotes of this row.") from error


@contextmanager
def _long_fields() -> Iterator[None]:
    """Documents are longer than the csv module's limit of 131,072 characters a field; the limit is the process's, so put it back."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_text(path: Path, dataset: int) -> Iterator[Row]:
    """One row per line, in the column `text`."""
    with opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            yield Row({"text": _decoded(line, path, number).rstrip("\r\n")}, Origin(dataset, str(path), number))


def _read_parquet(path: Path, dataset: int) -> Iterator[Row]:
    with needs("train", "Reading Parquet"):
        from pyarrow import parquet
    with _arrow_errors(path, "Parquet"), parquet.ParquetFile(path) as file:
        yield from _rows((values for batch in file.iter_batches(batch_size=1000) for values in batch.to_pylist()), path, dataset)


def _read_arrow(path: Path, dataset: int) -> Iterator[Row]:
    """Arrow's file or stream format, as the datasets library keeps its data."""
    with needs("train", "Reading Arrow"):
        import pyarrow
    with _arrow_errors(path, "Arrow"), pyarrow.memory_map(str(path)) as source:
        try:
            file = pyarrow.ipc.open_file(source)
            batches: Iterable[Any] = (file.get_batch(number) for number in range(file.num_record_batches))
        except pyarrow.ArrowInvalid:
            source.seek(0)
            batches = pyarrow.ipc.open_stream(source)
        yield from _rows((values for batch in batches for values in batch.to_pylist()), path, dataset)


@contextmanager
def _arrow_errors(path: Path, name: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"This is not a readable {name} file: {error}.", where=str(path), next_step="Write or download it again.") from error


READERS: Mapping[str, Callable[[Path, int], Iterator[Row]]] = MappingProxyType({
    "json": _read_json, "jsonl": _read_json, "csv": _read_csv, "tsv": partial(_read_csv, delimiter="\t"), "text": _read_text,
    "parquet": _read_parquet, "arrow": _read_arrow})
"""File format (`ds_type`) -> reader."""


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"Byte {error.start + 1} of this line is not UTF-8.", where=f"{path}:{number}",
                        next_step="Save the file as UTF-8; or, when it is not text, say what it is: ds_type: parquet.") from error
