"""Statistics dumps: the columns that are there are used, whatever their form; DuckDB and pyarrow find the same; what is no dump is a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunelab.errors import MissingPartError, UsageError
from tunelab.hub.dump import _read_dump, in_dump, terms
from tunelab.hub.dump_arrow import read_dump
from tunelab.hub.find import Wish
from tunelab.hub.tasks import find_task

duckdb = pytest.importorskip("duckdb", reason="dumps are read with DuckDB (pip install 'tunelab[hub]')")
ROWS: list[tuple[Any, ...]] = [
    ("a/bart-samsum", ["summarization", "license:mit", "base_model:b/bart", "base_model:finetune:b/bart"], "summarization", 900, 3, 400_000_000),
    ("a/big-summarizer", [
     "summarization", "license:apache-2.0", "base_model:finetune:b/llama", "base_model:b/llama"], "summarization", 5000, 1, 13 * 10**9),
    ("a/lora-summary", ["peft", "base_model:adapter:b/llama-7b", "base_model:b/llama-7b"], None, 40, 9, None),
    ("b/bart", ["summarization", "license:mit"], "summarization", 99999, 99, 400_000_000),
    ("q/bart-GGUF", ["gguf", "summarization", "base_model:quantized:a/bart-samsum", "base_model:a/bart-samsum"], "summarization", 70, 0, None),
    ("c/o'clock", ["translation", "license:mit"], "translation", None, None, None)]


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("dump") / "models.parquet",
                   "id, tags, pipeline_tag, downloads, likes, 'false' AS gated, "
                   "CASE WHEN size IS NOT NULL THEN {'total': size, 'parameters': map {'F32': size}} END AS safetensors, "
                   "TIMESTAMP '2026-01-02' AS lastModified, '{}' AS cardData, 1 AS unknown")


def written(path: Path, columns: str) -> Path:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE made (id VARCHAR, tags VARCHAR[], pipeline_tag VARCHAR, downloads BIGINT, likes BIGINT, size BIGINT)")
    connection.executemany("INSERT INTO made VALUES (?, ?, ?, ?, ?, ?)", [list(row) for row in ROWS])
    connection.execute(f"COPY (SELECT {columns} FROM made) TO '{path}' (FORMAT parquet)")
    return path


def names(path: Path, task: str | None = "summarization", **wish: Any) -> list[str]:
    return [one.name for one in in_dump(path, Wish(find_task(task) if task else None, **wish)).models]


def test_fine_tunes_first_by_certainty_then_by_downloads(dump: Path) -> None:
    found = in_dump(dump, Wish(find_task("summarization")))
    shown = [one.name for one in found.models]
    assert shown[:2] == ["a/big-summarizer", "a/bart-samsum"] and "a/lora-summary" in shown and "q/bart-GGUF" not in shown
    assert found.dropped["of kind quantized (--kind quantized)"] == 1
    first = found.models[1]
    assert first.base == ("b/bart",) and first.parameters == 400_000_000 and first.licence == "mit" and any("summarization" in why for why in first.why)
    assert "has no cards" in found.notes[0]


def test_filters(dump: Path) -> None:
    assert names(dump, licence="MIT")[0] == "a/bart-samsum" and "a/big-summarizer" not in names(dump, licence="MIT")
    assert "a/big-summarizer" not in names(dump, max_parameters=7_000_000_000) and "a/lora-summary" in names(dump, max_parameters=7_000_000_000)
    assert names(dump, None, base="b/llama") == ["a/big-summarizer"]
    assert names(dump, kinds=("quantized",)) == ["q/bart-GGUF"] and names(dump, runs_with="gguf") == ["q/bart-GGUF"]
    assert names(dump, sort="likes", limit=1) == ["a/bart-samsum"]
    assert names(dump, None, base="x' OR 1=1 --") == [] and names(dump, licence="'); DROP TABLE made; --") == []


@pytest.mark.parametrize("columns", [
    "id AS modelId, tags, pipeline_tag, downloads", "id, CAST(to_json(tags) AS VARCHAR) AS tags, downloads",
    "id, '[' || array_to_string(list_transform(tags, lambda one: '''' || one || ''''), ', ') || ']' AS tags, pipeline_tag, likes",
    "id, tags, pipeline_tag, downloads, CAST(to_json({'total': size}) AS VARCHAR) AS safetensors, CAST(downloads AS VARCHAR) AS gated",
    "id, pipeline_tag, downloads, tags[4][21:] AS base_model"])
def test_dumps_of_other_forms(tmp_path: Path, columns: str) -> None:
    path = written(tmp_path / "other.parquet", columns)
    shown = names(path)
    assert "a/bart-samsum" in shown and "c/o'clock" not in shown
    assert names(path, None, base="nobody/nothing", sort="updated") == []


@pytest.mark.parametrize("wish", [Wish(find_task("summarization")), Wish(base="b/llama"), Wish(find_task("translation"), licence="mit"),
                                  Wish(find_task("summarization"), sort="likes", limit=1)])
def test_pyarrow_finds_the_same(dump: Path, wish: Wish) -> None:
    pytest.importorskip("pyarrow")
    one, other = _read_dump([dump], terms(wish)), read_dump([dump], terms(wish))
    assert other.total == one.total == len(ROWS)
    assert [row["id"] for row in other.rows] == [row["id"] for row in one.rows]


def test_only_the_first_rows_are_judged_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    duckdb.sql("SELECT 'a/summary-' || i AS id, ['summarization', 'base_model:finetune:b/c'] AS tags, 'summarization' AS pipeline_tag, i AS downloads "
               "FROM range(5000) AS made(i)").write_parquet(str(path))
    found = in_dump(path, Wish(find_task("summarization"), limit=3))
    assert [one.name for one in found.models] == ["a/summary-4999", "a/summary-4998", "a/summary-4997"]
    assert found.seen == 100 and found.more == 97 and "Of its 5,000 rows the first 100 that fit" in found.notes[1]
    assert [one.name for one in in_dump(tmp_path, Wish(find_task("summarization"), limit=1)).models] == ["a/summary-4999"]  # a folder of files


def test_what_is_no_dump(tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = Wish(find_task("summarization"))
    (tmp_path / "text.parquet").write_text("no parquet")
    written(tmp_path / "data.parquet", "id AS title, likes")
    for path, words in ((tmp_path / "none.parquet", "no such dump"), (tmp_path / "text.parquet", "cannot be read as Parquet"),
                        (tmp_path / "data.parquet", "it has title, likes")):
        with pytest.raises(UsageError, match=words):
            in_dump(path, wish)
    with pytest.raises(UsageError, match="no cards"):
        in_dump(dump, Wish(text="news"))
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        read_dump([tmp_path / "text.parquet"], terms(wish))
    monkeypatch.setattr("tunelab.hub.dump.util.find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(MissingPartError, match="duckdb"):
        in_dump(dump, wish)
