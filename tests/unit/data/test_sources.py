"""Rows are found and read in every format; what cannot be read names its place and what to do."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelab.config.sections.data import Dataset
from tunelab.data import readers
from tunelab.data.readers import count_rows, read_file
from tunelab.data.sources import find_source, read_rows
from tunelab.errors import DataError

ROWS = [{"text": "red"}, {"text": "grün\u2028still one line"}]


def read(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(Dataset(path=str(path), **options), 0)]


def failure(path: Path | str, config_folder: Path | None = None, **options: Any) -> DataError:
    with pytest.raises(DataError) as error:
        read_rows(Dataset(path=str(path), **options), 2, config_folder=config_folder)
    assert error.value.where and error.value.next_step
    return error.value


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))
    return path


JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


@pytest.mark.parametrize(("name", "content"), [
    ("a.jsonl", JSONL), ("a.json", JSONL), ("a.ndjson", JSONL), ("a.jsonl.gz", JSONL), ("a.jsonl", "\ufeff" + JSONL),
    ("a.jsonl", f"\n{JSONL}\n"),
    ("a.json", json.dumps(ROWS)), ("a.json", json.dumps(ROWS, indent=2)), ("a.json.gz", json.dumps({"data": ROWS})),
    ("a.json", json.dumps({"version": 1, "examples": ROWS}, indent=1)), ("a.json", "\ufeff" + json.dumps(ROWS)),
    ("a.csv", "text\nred\n\"grün\u2028still one line\"\n"), ("a.csv.gz", "\ufefftext\r\nred\r\ngrün\u2028still one line\r\n"),
    ("a.jsonl.bz2", JSONL), ("a.json.xz", json.dumps(ROWS)), ("a.tsv", "text\nred\ngrün\u2028still one line\n"),
    ("a.json", json.dumps({"data": ROWS})), ("a.txt", "red\ngrün\u2028still one line\n"), ("a.txt.gz", "red\r\ngrün\u2028still one line")])
def test_every_text_format_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path, name, content)
    assert read(path) == ROWS
    assert find_source(Dataset(path=str(path)), 0).count() == 2


def test_zstandard(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path / "a.jsonl.zst"
    with pyarrow.output_stream(str(path), compression="zstd") as stream:
        stream.write(JSONL.encode() * 2000)
    assert len(read(path)) == 4000
    path.write_bytes(path.read_bytes()[:-5])
    assert "cannot be read" in failure(path).message


def test_arrow(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pylist(ROWS)
    for new in (pyarrow.ipc.new_file, pyarrow.ipc.new_stream):
        with new(str(tmp_path / "a.arrow"), table.schema) as writer:
            writer.write_table(table)
        assert read(tmp_path / "a.arrow") == ROWS
    assert "Arrow" in failure(write(tmp_path, "b.arrow", b"ARROW1 no more")).message


def test_a_folder_that_the_datasets_library_saved(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    for split, rows in (("train", ROWS), ("test", ROWS[:1])):
        (tmp_path / split).mkdir()
        table = pyarrow.Table.from_pylist(rows)
        with pyarrow.ipc.new_stream(str(tmp_path / split / "data-00000-of-00001.arrow"), table.schema) as writer:
            writer.write_table(table)
        (tmp_path / split / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}), encoding="utf-8")
        (tmp_path / split / "dataset_info.json").write_text("{}", encoding="utf-8")
    assert read(tmp_path / "train") == ROWS
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}', encoding="utf-8")
    assert read(tmp_path) == ROWS and read(tmp_path, split="test") == ROWS[:1]
    assert "test, train" in str(failure(tmp_path, split="dev").next_step)
    (tmp_path / "train" / "state.json").write_text("[]", encoding="utf-8")
    assert "does not name" in failure(tmp_path).message


VALUES = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)), lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@given(rows=st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), min_size=1, max_size=6), indent=st.sampled_from([None, 0, 2]),
       at_once=st.integers(1, 9))
def test_a_list_is_read_in_any_portions(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], indent: int | None, at_once: int) -> None:
    path = tmp_path_factory.getbasetemp() / "portions.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
    if any(0xD800 <= ord(sign) < 0xE000 for sign in path.read_text(encoding="utf-8", errors="surrogatepass")):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_AT_ONCE", at_once)
        assert [row.values for row in read_file(path, "json", 0)] == rows
    assert count_rows(path, "json") == len(rows)


def test_long_elements_of_a_list(tmp_path: Path) -> None:
    rows = [{"text": "x" * 3_000_000}, {"text": "y"}]
    assert read(write(tmp_path, "a.json", json.dumps(rows))) == rows


@pytest.mark.parametrize(("split", "expected"), [
    ("train[:2]", "ab"), ("train[2:]", "cde"), ("train[1:3]", "bc"), ("train[-2:]", "de"), ("train[:50%]", "ab"), ("train[50%:]", "cde"),
    ("train[:-20%]", "abcd"), ("train[:100]", "abcde"), ("train[:]", "abcde")])
def test_a_slice_of_a_split(tmp_path: Path, split: str, expected: str) -> None:
    path = write(tmp_path, "a.txt", "a\nb\nc\nd\ne\n")
    assert "".join(row["text"] for row in read(path, split=split)) == expected
    assert find_source(Dataset(path=str(path), split=split), 0).count() == len(expected)
    assert "split train" in failure(path, split="test[:2]").message


def test_a_pattern_as_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b/1.jsonl", "a/2.jsonl", "a/3.txt"):
        write(tmp_path, name, json.dumps({"text": name}) + "\n")
    assert read(tmp_path / "*" / "*.jsonl") == [{"text": "a/2.jsonl"}, {"text": "b/1.jsonl"}]
    monkeypatch.chdir(tmp_path)
    assert read(Path("**/?.jsonl")) == [{"text": "a/2.jsonl"}, {"text": "b/1.jsonl"}]
    assert "no file or folder" in failure("c/*.jsonl").message


def test_named_files_may_be_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "data/a.jsonl", JSONL)
    monkeypatch.chdir(tmp_path)
    assert read(Path("data"), data_files="a.jsonl") == read(Path("data"), data_files=["data/a.jsonl"]) == ROWS


def test_the_split_where_none_is_named(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl", JSONL)
    write(tmp_path, "test.jsonl", '{"text": "held out"}\n')
    found = find_source(Dataset(path=str(tmp_path)), 0, default_split="test")
    assert [row.values for row in found.rows()] == [{"text": "held out"}]
    assert find_source(Dataset(path=str(tmp_path / "train.jsonl")), 0, default_split="test").count() == 2


def test_rows_come_before_a_broken_one(tmp_path: Path) -> None:
    """Reading does not wait for the end of the file."""
    for name, content in (("a.jsonl", JSONL + "oops"), ("a.json", json.dumps(ROWS)[:-1] + ", oops]")):
        rows = find_source(Dataset(path=str(write(tmp_path, name, content))), 0).rows()
        assert [next(rows).values, next(rows).values] == ROWS
        with pytest.raises(DataError, match="not JSON"):
            next(rows)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ROWS
    damaged = write(tmp_path, "b.parquet", (tmp_path / "a.parquet").read_bytes()[:-20])
    assert "Parquet" in failure(damaged).message
    assert find_source(Dataset(path=str(tmp_path / "a.parquet")), 0).count() == 2


def test_origins_count_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"a": 1}\n\n{"a": 2}\n')
    assert [str(row.origin) for row in read_rows(Dataset(path=str(path)), 0)] == [f"{path}:1", f"{path}:3"]
    path = write(tmp_path, "a.csv", 'text\n"two\nlines"\nthen\n')
    assert [row.origin.row for row in read_rows(Dataset(path=str(path)), 0)] == [2, 4]


def test_a_single_object_with_messages_is_a_row(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}]}
    assert read(write(tmp_path, "a.json", json.dumps(row, indent=1))) == [row]


def test_ds_type_overrides_the_name(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.data", "text\nred\n"), ds_type="csv") == [{"text": "red"}]
    assert read(write(tmp_path, "a.data", JSONL)) == ROWS
    assert read(write(tmp_path, "a.csv", "a,b\n"), ds_type="text") == [{"text": "a,b"}]


def test_long_csv_fields_are_read(tmp_path: Path) -> None:
    assert len(read(write(tmp_path, "a.csv", "text\n" + "x" * 200_000 + "\n"))[0]["text"]) == 200_000


def test_a_folder_is_read_in_order_and_by_split(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path, f"train-{name}.jsonl", json.dumps({"text": name}) + "\n")
    write(tmp_path, "test-0.jsonl", '{"text": "held out"}\n')
    write(tmp_path, "README.md", "# no data")
    write(tmp_path, ".cache/x.jsonl", "broken")
    assert read(tmp_path) == [{"text": "a"}, {"text": "b"}]
    assert read(tmp_path, split="test") == [{"text": "held out"}]
    assert read(tmp_path, data_files=["train-b.jsonl"]) == [{"text": "b"}]
    assert read(tmp_path, data_files="train-*.jsonl") == [{"text": "a"}, {"text": "b"}]
    assert "test, train" in failure(tmp_path, split="validation").message
    assert "no file" in failure(tmp_path, data_files="c.jsonl").message
    assert "split train" in failure(tmp_path, split="test", data_files="train-b.jsonl").message


def test_the_file_name_outweighs_its_folders(tmp_path: Path) -> None:
    write(tmp_path, "test-set/train.jsonl", JSONL)
    write(tmp_path, "validation/part-0.jsonl", '{"text": "held out"}\n')
    assert read(tmp_path) == ROWS
    assert read(tmp_path, split="validation") == [{"text": "held out"}]


def test_a_folder_of_two_formats_needs_a_choice(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", JSONL)
    write(tmp_path, "b.csv", "text\nblue\n")
    assert "csv, json" in failure(tmp_path).message
    assert read(tmp_path, ds_type="csv") == [{"text": "blue"}]
    assert read(tmp_path, ds_type="jsonl") == ROWS


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "no data file" in failure(tmp_path).message


def test_format_name_as_path_with_data_files(tmp_path: Path) -> None:
    path = write(tmp_path, "a.data", JSONL)
    assert read(Path("json"), data_files=[str(path)]) == ROWS


@pytest.mark.parametrize(("name", "content", "place", "words"), [
    ("a.jsonl", "", "a.jsonl", "no rows"), ("a.json", "[]", "a.json", "no rows"), ("a.csv", "text\n", "a.csv", "no rows"),
    ("a.jsonl", '{"a": 1}\n{"a": }\n', "a.jsonl:2:7", "not JSON"), ("a.json", '{"a": 1}\n{"a": 2\n', "a.json:2:8", "not JSON"),
    ("a.json", '{"data": [\n {"a": 1},\n {"a": oops}]}', "a.json:3:8", "not JSON"), ("a.json", '[{"a": 1},\n{]', "a.json:2:2", "not JSON"),
    ("a.jsonl", '{"a": 1}\n[1]\n', "a.jsonl:2", "a list"), ("a.json", '[{"a": 1}, "b"]', "a.json:2", "text"),
    ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl:1", "not UTF-8"), ("a.txt", b"ok\n\xff\n", "a.txt:2", "not UTF-8"),
    ("a.jsonl", "[" * 100_000, "a.jsonl", "not JSON"), ("a.csv", "a,b\n1,2,3\n", "a.csv:2", "more fields"),
    ("a.csv", 'a\n"open\n', "a.csv:2", "not CSV"), ("a.jsonl", "9" * 5000, "a.jsonl:1", "not JSON")])
def test_what_cannot_be_read_names_its_place(tmp_path: Path, name: str, content: str | bytes, place: str, words: str) -> None:
    error = failure(write(tmp_path, name, content))
    assert str(error.where).endswith(place)
    assert words in error.message


def test_a_damaged_gzip_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl.gz", JSONL * 100)
    path.write_bytes(path.read_bytes()[:-30])
    assert "cannot be read" in failure(path).message


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = failure("data/none.jsonl")
    assert str(tmp_path / "data" / "none.jsonl") in error.message
    assert error.where == "datasets[2].path"


def test_a_file_beside_the_config_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "configs/rows.jsonl", JSONL)
    monkeypatch.chdir(tmp_path)
    assert "beside the config" in str(failure("rows.jsonl", config_folder=tmp_path / "configs").next_step)


def test_a_name_that_is_neither_here_nor_reachable_on_the_hub() -> None:
    pytest.importorskip("datasets")
    error = failure("some-org/some-data")
    assert "no local file or folder" in error.message and "Hub" in error.message


def test_an_address_is_not_a_path() -> None:
    assert "address" in failure("https://example.org/data.jsonl").message


def test_digest_follows_the_content(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", JSONL)
    before = find_source(Dataset(path=str(path)), 0).digest()
    assert find_source(Dataset(path=str(path)), 0).digest() == before
    write(tmp_path, "a.jsonl", JSONL.replace("red", "rad"))
    assert find_source(Dataset(path=str(path)), 0).digest() != before
