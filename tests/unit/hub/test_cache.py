"""The cache of models that were seen: what is kept, found by words, shared by two processes, and survived."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import ROOT

from tunelab.hub import cache as module
from tunelab.hub.cache import Cache, age, cache_file
from tunelab.hub.card import read_card
from tunelab.hub.query import Query
from tunelab.hub.record import ModelRecord

READ = ModelRecord(
    "org/Tuned", read_card("---\nlicense: mit\n---\n# Tuned\nSummarises \"news\" 要約 articles.\n"), True,
    ("license:mit", "base_model:a/b", "summarization"), "summarization", "peft", {"model_type": "llama", "hidden_size": 8}, {"peft_type": "LORA"},
    (("adapter", "a/b"),), {"finetune": 3}, {"README.md": None, "x.gguf": 5}, {"BF16": 7}, 7, {"total": 7}, 100, 9,
    "2026-01-01", "2026-02-02", "manual", ("x is missing.",))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "new" / "hub.sqlite")


def row(name: str, **values: object) -> ModelRecord:
    return replace(ModelRecord(name, is_hub_id=True), **values)  # type: ignore[arg-type]


def test_a_record_comes_back_as_it_was(cache: Cache) -> None:
    cache.keep([READ], read=True)
    seen = cache.get("ORG/tuned")
    assert seen is not None and seen.record == READ and seen.read and seen.age == "just now"
    assert cache.get("org/other") is None and cache.notes == []


def test_a_row_of_a_list_does_not_cost_what_is_known(cache: Cache) -> None:
    cache.keep([READ], read=True)
    cache.keep([row("org/Tuned", tags=("new",), downloads=200, config={"model_type": "llama"})], read=False)
    seen = cache.get("org/Tuned")
    assert seen is not None and seen.read is not None
    assert (seen.record.downloads, seen.record.tags, seen.record.gated) == (200, ("new",), "")
    assert seen.record.card.text == READ.card.text and seen.record.adapter == READ.adapter and seen.record.config == READ.config


def test_listing_by_filters(cache: Cache) -> None:
    cache.keep([row("a/one", tags=("code", "x%y"), pipeline_tag="text-generation", downloads=1, likes=5, updated="2026-03"),
                row("a/two", tags=("code",), downloads=2, updated="2026-01"), row("b/codes", tags=("coder",), likes=9)], read=False)

    def names(**asked: object) -> list[str]:
        return [one.name for one in cache.listing(Query(**asked))]  # type: ignore[arg-type]

    assert names() == ["a/two", "a/one", "b/codes"] and names(limit=1) == ["a/two"]
    assert names(sort="likes")[:2] == ["b/codes", "a/one"] and names(sort="updated")[0] == "a/one"
    assert names(filters=("code",)) == ["a/two", "a/one"] and names(filters=("code", "x%y")) == ["a/one"] and names(filters=("cod",)) == []
    assert names(pipeline_tag="text-generation") == ["a/one"] and names(author="A") == ["a/two", "a/one"] and names(search="CODE") == ["b/codes"]
    assert names(search="%") == [] and names(author="_") == []


def test_words_are_found_in_cards_names_and_tags(cache: Cache) -> None:
    cache.keep([READ, row("x/other", card=read_card("# Other\nNothing of it, 要点.\n"))], read=True)
    cache.keep([row("x/summary-news")], read=False)

    def names(words: str) -> list[str]:
        return [one.name for one in cache.matching(words)]

    assert names("summarise news") == ["org/Tuned"] and names("NEWS") == ["org/Tuned", "x/summary-news"]
    assert names("summaries") == ["x/summary-news"] and names("要約") == ["org/Tuned"] and names("article 要約") == ["org/Tuned"]
    assert names("") == [] and names("nothing news") == []
    for nasty in ('"', 'news"', "news OR", "NEAR(", "card:news", "a*", "-", "^x", "(", "';DROP TABLE models;--", "\x00", "%"):
        names(nasty)
    assert cache.notes == [] and len(cache.names()) == 3


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    cache = Cache(path)
    assert "damaged" in cache.notes[0] and len(list(tmp_path.glob("hub.sqlite.damaged-*"))) == 1
    cache.keep([READ], read=True)
    cache.close()
    assert Cache(path).get("org/tuned") is not None


def test_a_file_that_is_damaged_under_way_is_put_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    cache = Cache(path)
    cache.keep([row(f"a/{index}", card=read_card("word " * 2000)) for index in range(50)], read=True)
    cache.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * len(content[8192:])
    path.write_bytes(content)
    cache = Cache(path)
    cache.listing(Query())
    cache.matching("word")
    cache.keep([READ], read=True)
    assert cache.get("org/tuned") is not None
    assert any("damaged" in note for note in cache.notes)


def test_where_nothing_can_be_written_it_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "hub.sqlite")
    assert "nothing is remembered" in cache.notes[0]
    cache.keep([READ], read=True)
    assert cache.get("org/tuned") is not None


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = ("import sys; from pathlib import Path; from tunelab.hub.cache import Cache; from tunelab.hub.record import ModelRecord\n"
            "cache = Cache(Path(sys.argv[1]))\n"
            "for index in range(60): cache.keep([ModelRecord(f'{sys.argv[2]}/{index}'), ModelRecord('both/one', downloads=index)], read=False)\n"
            "assert not cache.notes, cache.notes")
    path = tmp_path / "hub.sqlite"
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), name], cwd=ROOT / "src", stderr=subprocess.PIPE, text=True) for name in ("a", "b")]
    for one in running:
        _, said = one.communicate(timeout=60)
        assert one.returncode == 0, said
    assert len(Cache(path).names()) == 121


def test_it_is_bounded_and_those_not_seen_for_longest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2_000_000)
    cache = Cache(tmp_path / "hub.sqlite")
    for index in range(60):
        cache.keep([row(f"a/{index:02}", card=read_card(f"# Card {index}\n" + "some words more or less " * 4000))], read=True)
    names = [name for name, _ in cache.names()]
    assert 3 <= len(names) < 40 and "a/59" in names and "a/00" not in names
    cache.close()
    assert (tmp_path / "hub.sqlite").stat().st_size < 4_000_000
    assert sorted(one.name for one in Cache(tmp_path / "hub.sqlite").matching("words")) == sorted(names)


def test_rows_of_another_version_are_as_if_not_there(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    cache = Cache(path)
    cache.keep([READ, row("a/b")], read=False)
    cache.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE models SET rest = x'00' WHERE name = 'a/b'")
    assert [one.name for one in Cache(path).listing(Query())] == ["org/Tuned"]


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path))
    assert cache_file().parent == tmp_path
    monkeypatch.delenv("TUNELAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_file().parent == tmp_path / "xdg" / "tunelab"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_file().parts[-4:-1] == ("Library", "Caches", "tunelab")


def test_ages_in_words() -> None:
    now = time.time()
    assert [age(now - seconds) for seconds in (0, 61, 7300, 86400 * 3 + 5)] == ["just now", "1 minute ago", "2 hours ago", "3 days ago"]
