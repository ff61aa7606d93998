"""Every model that was ever seen on the Hub, in one SQLite file with full-text search over names, tags and cards: what is there without a network.

A cache never fails the work that it serves: a file that is damaged is put aside, one that cannot be written is done without; `notes` says so.
Several processes may use it at once. It holds at most MAX_BYTES; then those that were not seen for longest make room.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from tunelab.hub.card import read_card
from tunelab.hub.query import Query
from tunelab.hub.record import ModelRecord

VERSION = 1
"""Part of the file's name: another layout is another file."""
MAX_BYTES = 400_000_000
MAX_CARD = 600_000
"""Characters of a card that are kept."""
_BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS models (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, pipeline_tag TEXT NOT NULL, tags TEXT NOT NULL, downloads INTEGER,
    likes INTEGER, updated TEXT NOT NULL, seen REAL NOT NULL, read REAL, card TEXT NOT NULL, file TEXT NOT NULL, rest BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_seen ON models (seen);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(name, tags, card, content='models', content_rowid='id',
    tokenize="porter unicode61 remove_diacritics 2");
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON models BEGIN
    INSERT INTO words (rowid, name, tags, card) VALUES (new.id, new.name, new.tags, new.card); END;
CREATE TRIGGER IF NOT EXISTS gone AFTER DELETE ON models BEGIN
    INSERT INTO words (words, rowid, name, tags, card) VALUES ('delete', old.id, old.name, old.tags, old.card); END;
CREATE TRIGGER IF NOT EXISTS changed AFTER UPDATE ON models WHEN old.name IS NOT new.name OR old.tags IS NOT new.tags OR old.card IS NOT new.card BEGIN
    INSERT INTO words (words, rowid, name, tags, card) VALUES ('delete', old.id, old.name, old.tags, old.card);
    INSERT INTO words (rowid, name, tags, card) VALUES (new.id, new.name, new.tags, new.card); END;
"""
_COLUMNS = ("name", "pipeline_tag", "tags", "downloads", "likes", "updated", "seen", "read", "card", "file", "rest")
_KEEP = (f"INSERT INTO models ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' for _ in _COLUMNS)}) "
         f"ON CONFLICT (name) DO UPDATE SET {', '.join(f'{one} = excluded.{one}' for one in _COLUMNS)}")
_ORDER = {"downloads": "downloads DESC", "likes": "likes DESC", "trending": "likes DESC", "updated": "updated DESC"}
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_LASTING = ("adapter", "config", "children", "parents", "files", "tensors", "parameters", "gguf")
_OWN = ("name", "card", "tags", "pipeline_tag", "downloads", "likes", "updated")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Seen:
    """A model as it was when it was last seen. `seen`: when (seconds since 1970); `read`: when its card was, None for a row of a listing."""

    record: ModelRecord
    seen: float
    read: float | None

    @property
    def age(self) -> str:
        """How long ago, in words."""
        return age(self.read or self.seen)


class Cache:
    """The file at a path, or for the length of this process a copy in memory where there can be none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._connection = self._opened()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def keep(self, records: Iterable[ModelRecord], *, read: bool) -> None:
        """Remember models. `read`: with their cards; without, what is known of a card stays."""
        self._safely(lambda: self._keep(list(records), read), None)

    def get(self, name: str) -> Seen | None:
        """A model by its name, capitals aside."""
        return self._safely(lambda: next(self._seen("WHERE name = ?", (name,)), None), None)

    def listing(self, query: Query) -> list[ModelRecord]:
        """The models that fit a query."""
        where, values = ["1"], list[Any]()
        for tag in query.filters:
            where.append("instr(tags, ?)")
            values.append(f"\n{tag}\n")
        if query.pipeline_tag:
            where.append("pipeline_tag = ?")
            values.append(query.pipeline_tag)
        if query.author:
            where.append("lower(name) LIKE ? ESCAPE '\\'")
            values.append(_escaped(query.author) + "/%")
        if query.search:
            where.append("lower(name) LIKE ? ESCAPE '\\'")
            values.append(f"%{_escaped(query.search)}%")
        sql = f"WHERE {' AND '.join(where)} ORDER BY {_ORDER[query.sort]} NULLS LAST LIMIT ?"
        return self._safely(lambda: [one.record for one in self._seen(sql, (*values, query.limit))], [])

    def matching(self, words: str, limit: int = 1000) -> list[ModelRecord]:
        """The models whose name, tags or card have all the words, the most downloaded first. A word in a script without spaces may stand within one."""
        parts = re.sub(r'["\x00]', " ", words).split()
        spaced = [f'"{one}"' for one in parts if not _UNSPACED.search(one)]
        where, values = list[str](), list[Any]()
        if spaced:
            where.append("id IN (SELECT rowid FROM words WHERE words MATCH ?)")
            values.append(" ".join(spaced))
        for one in parts:
            if _UNSPACED.search(one):
                where.append("(instr(card, ?) OR instr(name, ?) OR instr(tags, ?))")
                values += [one, one, one]
        if not where:
            return []
        sql = f"WHERE {' AND '.join(where)} ORDER BY downloads DESC NULLS LAST LIMIT ?"
        return self._safely(lambda: [one.record for one in self._seen(sql, (*values, limit))], [])

    def names(self) -> list[tuple[str, float]]:
        """(name, when it was seen) of all, the latest first."""
        return self._safely(lambda: list(self._connection.execute("SELECT name, seen FROM models ORDER BY seen DESC LIMIT 100000")), [])

    def _keep(self, records: list[ModelRecord], read: bool) -> None:
        now = time.time()
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for new in records:
                old = next(self._seen("WHERE name = ?", (new.name,)), None)
                one = _merged(old, new, read) if old is not None else new
                values = (one.name, one.pipeline_tag, "".join(f"\n{tag}" for tag in one.tags) + "\n", one.downloads, one.likes, one.updated, now,
                          now if read else old.read if old else None, one.card.text[:MAX_CARD], one.card.file, _packed(one))
                self._connection.execute(_KEEP, values)
            used, free, size = (self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
            if (used - free) * size > MAX_BYTES:
                few = "SELECT 1 + count(*) / 5 FROM models"
                self._connection.execute(f"DELETE FROM models WHERE id IN (SELECT id FROM models ORDER BY seen LIMIT ({few}))")

    def _seen(self, rest: str, values: tuple[Any, ...]) -> Iterator[Seen]:
        for row in self._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM models {rest}", values).fetchall():
            name, pipeline_tag, tags, downloads, likes, updated, seen, read, card, file, packed = row
            with suppress(ValueError, TypeError, zlib.error):  # of a version of its own: as if it were not there
                yield Seen(ModelRecord(name=name, card=read_card(card, file), tags=tuple(tags.split("\n")[1:-1]), pipeline_tag=pipeline_tag,
                                       downloads=downloads, likes=likes, updated=updated, **_unpacked(packed)), seen, read)

    def _opened(self) -> sqlite3.Connection:
        """The file, made anew where it is damaged; memory where there can be no file."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _connected(self.path)
            except sqlite3.DatabaseError as error:
                if _is_busy(error):
                    raise
                self._put_aside()
                return _connected(self.path)
        except (OSError, sqlite3.Error) as error:
            self.notes.append(f"The cache of models at {self.path} cannot be used ({error}); nothing is remembered this time.")
            return _connected(None)

    def _put_aside(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        self.path.replace(aside)
        for tail in ("-wal", "-shm"):
            Path(f"{self.path}{tail}").unlink(missing_ok=True)
        self.notes.append(f"The cache of models was damaged; it was put aside as {aside} and begun anew.")

    def _safely(self, work: Callable[[], _Found], otherwise: _Found) -> _Found:
        """What the work finds; a damaged file is put aside and it is tried once more, anything else costs what was asked."""
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # busy for too long, a full disk, a query that SQLite does not take
                self.notes.append(f"The cache of models could not be used just now ({error}).")
                return otherwise
        with suppress(sqlite3.Error):
            self._connection.close()
        try:
            self._put_aside()
        except OSError:
            self.notes.append(f"The cache of models at {self.path} is damaged; remove it. Nothing is remembered this time.")
        self._connection = self._opened() if not self.path.exists() else _connected(None)
        try:
            return work()
        except sqlite3.Error:
            return otherwise


def cache_file() -> Path:
    """Where the cache is: in TUNELAB_CACHE, else in the user's folder for caches as the system has it."""
    named = os.environ.get("TUNELAB_CACHE")
    if named:
        folder = Path(named).expanduser()
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches" / "tunelab"
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tunelab" / "Cache"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunelab"
    return folder / f"hub-{VERSION}.sqlite"


def age(when: float) -> str:
    """How long ago a moment was, in words."""
    seconds = max(0.0, time.time() - when)
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _connected(path: Path | None) -> sqlite3.Connection:
    """The database with its tables. Raises sqlite3.Error."""
    connection = sqlite3.connect(path or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        for attempt in range(20):  # a change of the journal's mode does not wait for others by itself
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                with closing(connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'changed'")) as found:
                    ready = found.fetchone()[0]
                if not ready:
                    connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
                connection.execute("SELECT id FROM models LIMIT 1")
                return connection
            except sqlite3.OperationalError as error:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                if not _is_busy(error) or attempt == 19:
                    raise
                time.sleep(0.05 * (attempt + 1))
    except sqlite3.Error:
        connection.close()
        raise
    raise sqlite3.OperationalError("database is locked")  # not reached


def _is_busy(error: sqlite3.Error) -> bool:
    return "locked" in str(error) or "busy" in str(error)


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text.lower())


def _merged(old: Seen, new: ModelRecord, read: bool) -> ModelRecord:
    """What is told now, and of what this answer could not tell what was known."""
    known = {name: getattr(old.record, name) for name in _LASTING if not getattr(new, name)}
    if not new.card.text:
        known["card"] = old.record.card
    if not read and old.read is not None:  # a list tells little of config.json
        known["config"] = old.record.config or new.config
    return replace(new, **known)


def _packed(record: ModelRecord) -> bytes:
    rest = {one.name: getattr(record, one.name) for one in fields(ModelRecord) if one.name not in _OWN}
    return zlib.compress(json.dumps(rest, default=str, ensure_ascii=False).encode("utf-8", "replace"), 1)


def _unpacked(content: bytes) -> dict[str, Any]:
    values = json.loads(zlib.decompress(content))
    values["parents"] = tuple((relation, name) for relation, name in values["parents"])
    values["missing"] = tuple(values["missing"])
    return {str(name): value for name, value in values.items()}
