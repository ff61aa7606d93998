"""Models from a statistics dump of the Hub (Parquet, one row a model), read with DuckDB or else pyarrow: all of the Hub without asking it.

Dumps differ: what is used are the columns that are there, under their usual names. The wish's filters, the order and the number of rows are
pushed into the scan, and only the columns that judging needs are read. A dump has no cards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from tunelab.errors import UsageError, needs
from tunelab.hub.answers import record_of
from tunelab.hub.find import Finds, Wish, choose, licence_tag

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "modelId", "model_id", "repo_id", "name"), "tags": ("tags",), "pipeline_tag": ("pipeline_tag", "task"),
    "library_name": ("library_name", "library"), "downloads": ("downloads", "downloads_30d"), "likes": ("likes",),
    "lastModified": ("lastModified", "last_modified"), "gated": ("gated",), "trendingScore": ("trendingScore", "trending_score"),
    "safetensors": ("safetensors",), "gguf": ("gguf",), "baseModels": ("baseModels", "base_models", "base_model"), "config": ("config",)}
"""The API's fields -> the names that dumps give their columns."""
ORDER = {"downloads": "downloads", "likes": "likes", "trending": "trendingScore", "updated": "lastModified"}
MOST = 400
"""Rows that are judged at most; eight for each that is wanted are enough otherwise."""
_TAGS, _HINTS = 4, 3
_FIRST = 0.98
_MORE_PARAMETERS = 1.05  # as in find: a "7B" has 7.24 billion
_WORDS = re.compile(r"[^\[\]\"',]+")


@dataclass(frozen=True, slots=True)
class Fitting:
    """The rows of a dump that fit a wish, as far as its columns tell, the first ones in its order; `total`: rows of the dump."""

    rows: list[dict[str, Any]]
    total: int


@dataclass(frozen=True, slots=True)
class Terms:
    """A wish in terms of columns: rows with any of `pipelines`, `tags` or `names` (parts of a name, in small letters; all empty: every row)
    that have all of `required` tags and at most `parameters` where they tell; the `most` with the largest `order` field."""

    pipelines: tuple[str, ...]
    tags: tuple[str, ...]
    names: tuple[str, ...]
    required: tuple[str, ...]
    parameters: int | None
    order: str
    most: int


def in_dump(path: Path, wish: Wish) -> Finds:
    """The models of a dump that fit a wish, judged and ranked. Raises UsageError, MissingPartError."""
    if wish.text:
        raise UsageError("A dump has no cards, so that there is no text to search.", where="--text",
                         next_step="Leave out --from (cards that were seen are searched), or --text.")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not path.exists():
        raise UsageError("There is no such dump: expected a Parquet file, or a folder of them.", where=str(path),
                         next_step="Give a statistics dump of the Hub, such as the models.parquet of a hub-stats data set.")
    if util.find_spec("duckdb") is None and util.find_spec("pyarrow") is not None:
        from tunelab.hub.dump_arrow import read_dump
    else:
        read_dump = _read_dump
    asked = terms(wish)
    found = read_dump(files, asked)
    notes = ["From a dump, which has no cards: judged by tags, names and what else its columns tell."]
    if len(found.rows) == asked.most:
        notes.append(f"Of its {found.total:,} rows the first {asked.most} that fit, by {wish.sort}, were judged.")
    return choose(wish, [record_of(_plain(row)) for row in found.rows], notes=notes)


def terms(wish: Wish) -> Terms:
    """What of a wish is asked of the dump itself; the rest is judged."""
    required = (*((f"base_model:{wish.base}",) if wish.base else ()), *((f"license:{licence_tag(wish.licence)}",) if wish.licence else ()),
                *(("gguf",) if wish.runs_with == "gguf" else ()))
    task, order, most = wish.task, ORDER[wish.sort], min(MOST, max(100, 8 * wish.limit))
    if task is None or wish.base:
        return Terms((), (), (), required, wish.max_parameters, order, most)
    hints = tuple(dict.fromkeys(one for hint in task.name_hints if len(one := hint.strip("*").lower()) > 3))[:_HINTS]
    return Terms(task.means, task.tags[:_TAGS], hints, required, wish.max_parameters, order, most)


def columns(there: Mapping[str, str], path: Path) -> dict[str, str]:
    """The API's fields -> the column of this dump. `there`: its columns' types by name. Raises UsageError when it is no list of models."""
    by_lower = {name.lower(): name for name in there}
    found = {field: by_lower[name.lower()] for field, names in NAMES.items() for name in reversed(names) if name.lower() in by_lower}
    if "id" not in found or not {"tags", "pipeline_tag", "downloads"} & set(found):
        raise UsageError(f"This is no list of the Hub's models: expected the columns id, tags, pipeline_tag, downloads; it has {', '.join(there)[:300]}.",
                         where=str(path), next_step="Give the dump of models (a dump of data sets or spaces has other columns).")
    return found


def _read_dump(files: list[Path], asked: Terms) -> Fitting:
    """With DuckDB."""
    with needs("hub", "Reading a dump of the Hub"):
        import duckdb
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    try:
        dump = connection.read_parquet([str(file) for file in files])
        dump.create_view("dump")
        types = {name: str(kind).upper() for name, kind in zip(dump.columns, dump.types, strict=True)}
        found = {field: _Column(name, types[name]) for field, name in columns(types, files[0]).items()}
        rows = _among_the_first(connection, found, asked) or _rows(connection, *_sql(found, asked))
        return Fitting(rows, connection.execute("SELECT count(*) FROM dump").fetchone()[0])
    except duckdb.Error as error:
        raise UsageError(f"The dump cannot be read as Parquet: {str(error).splitlines()[0][:200]}", where=str(files[0]),
                         next_step="Download it again, or convert it to Parquet.") from error
    finally:
        connection.close()


def _among_the_first(connection: Any, found: Mapping[str, _Column], asked: Terms) -> list[dict[str, Any]] | None:
    """The rows when the first hundredths by the order hold enough of them, which most tasks' do: the tests on tags and names cost most of the
    time, and are spared for the others. None when all rows must be looked at."""
    if asked.order not in found or asked.required:
        return None
    column = found[asked.order].sql
    (least,) = connection.execute(f"SELECT quantile_disc({column}, {_FIRST}) FROM dump").fetchone()
    if least is None:
        return None
    rows = _rows(connection, *_sql(found, asked, least))
    return rows if len(rows) == asked.most else None


def _rows(connection: Any, sql: str, values: list[Any]) -> list[dict[str, Any]]:
    result = connection.execute(sql, values)
    names = [one[0] for one in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column under its name in the dump, with its type in capitals."""

    name: str
    type: str

    @property
    def sql(self) -> str:
        """As an identifier."""
        return '"' + self.name.replace('"', '""') + '"'

    @property
    def total(self) -> str | None:
        """Of a structure the number of parameters in it."""
        return f"{self.sql}.total" if self.type.startswith("STRUCT") and re.search(r'[( ]"?TOTAL"? ', self.type) else None

    @property
    def tag(self) -> str:
        """The test for one tag: in a list, or in a text that a list was written into."""
        words = self.sql if self.type.endswith("[]") else f"regexp_extract_all(CAST({self.sql} AS VARCHAR), '[^\\[\\]\"'',]+')"
        return f"list_contains({words}, ?)"


def _sql(found: Mapping[str, _Column], asked: Terms, least: Any = None) -> tuple[str, list[Any]]:
    """The question, with a place for each value: nothing that a person wrote stands in it. `least`: of the field that orders."""
    name, tags = found["id"], found.get("tags")
    some, every = list[tuple[str, Any]](), list[tuple[str, Any]]()
    if least is not None:
        every.append((f"{found[asked.order].sql} >= ?", least))
    if "pipeline_tag" in found:
        some += [(f"{found['pipeline_tag'].sql} = ?", one) for one in asked.pipelines]
    if tags:
        some += [(tags.tag, tag) for tag in asked.tags]
        every += [(tags.tag, tag) for tag in asked.required]
    some += [(f"contains({name.sql}, ?)", spelt) for hint in asked.names for spelt in (hint, hint.capitalize())]
    total = found["safetensors"].total if "safetensors" in found else None
    if asked.parameters is not None and total:
        every.append((f"coalesce({total} <= ?, true)", int(asked.parameters * _MORE_PARAMETERS)))
    tests = [test for test, _ in every] + ([f"({' OR '.join(test for test, _ in some)})"] if some else [])
    taken = [f"{_value(column)} AS \"{field}\"" for field, column in found.items() if field in _TAKEN or (field == "baseModels" and not tags)]
    order = f"ORDER BY {found[asked.order].sql} DESC NULLS LAST" if asked.order in found else ""
    where = " AND ".join(tests) or "true"
    return f"SELECT {', '.join(taken)} FROM dump WHERE {where} {order} LIMIT {asked.most}", [value for _, value in (*every, *some)]


_TAKEN = frozenset({"id", "tags", "pipeline_tag", "library_name", "downloads", "likes", "lastModified", "gated", "safetensors", "gguf"})


def _value(column: _Column) -> str:
    """What is read of a column: of a structure with many fields the number of parameters alone."""
    return f"{{'total': {column.total}}}" if column.total else column.sql


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with structures that were written as text read again."""
    found = dict(row)
    for field in ("safetensors", "gguf", "baseModels", "config"):
        text = found.get(field)
        if isinstance(text, str):
            try:
                found[field] = json.loads(text)
            except (ValueError, RecursionError):
                found[field] = {"models": [{"id": text}]} if field == "baseModels" and text else None
    if isinstance(found.get("tags"), str):
        found["tags"] = [tag.strip() for tag in _WORDS.findall(found["tags"]) if tag.strip()]
    return found
