"""Rows that go wrong in the wild: each is one sentence with its file and line, or is left out and counted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tunelab.config import Config
from tunelab.data.prepare import Prepared, prepare
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import DataError

Run = Callable[[str, bytes], Prepared]


def talk(*messages: tuple[str, str | None]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


GOOD = [talk(("user", f"say red {number}"), ("assistant", "red")) for number in range(5)]


def lines(rows: Sequence[Any]) -> bytes:
    return ("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n").encode()


@pytest.fixture
def run(make_config: Callable[..., Config], tokenizer: TextTokenizer, tmp_path: Path) -> Run:
    def prepared(name: str, content: bytes) -> Prepared:
        path = tmp_path / name
        path.write_bytes(content)
        return prepare(make_config([{"path": str(path), "type": "chat_template"}]), tokenizer)

    return prepared


def test_one_broken_row_among_a_hundred_thousand(run: Run) -> None:
    rows: list[Any] = [json.dumps(GOOD[0])] * 100_000
    rows[73_210] = '{"messages": [{"role": "user", "content": "x"'
    with pytest.raises(DataError, match="not JSON") as caught:
        run("rows.jsonl", lines(rows))
    assert "rows.jsonl:73211" in str(caught.value.where)


@pytest.mark.parametrize(("last", "says"), [
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "is not there; the row's columns: `conversations`"),
    ({"messages": None}, r"holds nothing \(null\)"),
    ({"messages": 3}, "holds a number"),
    (talk(("user", "hi"), ("assistant", None)), "template cannot be applied"),
    ('{"messages": [{"role": "user", "content": "a \\ud83d b"}, {"role": "assistant", "content": "ok"}]}', "surrogate")])
def test_a_row_that_is_not_like_the_others_is_named(run: Run, last: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        run("rows.jsonl", lines([*GOOD, last]))
    assert str(caught.value.where).endswith("rows.jsonl:6") and caught.value.next_step


def test_five_megabytes_in_one_string_are_too_long_and_counted(run: Run) -> None:
    counts = run("rows.jsonl", lines([*GOOD, talk(("user", "red " * 1_300_000), ("assistant", "ok"))])).counts
    assert (counts.read, counts.kept, counts.too_long) == (6, 5, 1) and counts.examples_too_long[0].row == 6


def test_an_empty_conversation_is_left_out_and_counted(run: Run) -> None:
    counts = run("rows.jsonl", lines([*GOOD, {"messages": []}])).counts
    assert (counts.read, counts.kept, counts.too_short) == (6, 5, 1)


@pytest.mark.parametrize("odd", [talk(("user", "hi"), ("narrator", "once"), ("assistant", "ok")),
                                 talk(("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d"))])
def test_odd_roles_are_the_templates_affair(run: Run, odd: dict[str, Any]) -> None:
    assert run("rows.jsonl", lines([*GOOD, odd])).counts.kept == 6


def test_a_parquet_with_another_type_in_the_column(run: Run, tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"messages": [1, 2]}), tmp_path / "source.parquet")
    with pytest.raises(DataError, match="holds a number"):
        run("rows.parquet", (tmp_path / "source.parquet").read_bytes())


def test_a_gzip_that_is_cut_off(run: Run) -> None:
    whole = gzip.compress(lines(GOOD * 4000))
    with pytest.raises(DataError, match="ended before the end-of-stream") as caught:
        run("rows.jsonl.gz", whole[: len(whole) // 2])
    assert "rows.jsonl.gz" in str(caught.value.where)
