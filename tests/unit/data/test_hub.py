"""Datasets of the Hub, from a hub on loopback that speaks its routes: what loads, and one sentence at the right key for what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT
from tests.helpers.hub_server import HubServer

pytest.importorskip("datasets")

CARD = b"""---
configs:
- config_name: small
  data_files:
  - {split: train, path: small/train.jsonl}
  - {split: test, path: small/test.jsonl}
- config_name: big
  data_files: big/*.jsonl
---
"""
ASKS: dict[str, dict[str, Any]] = {
    "plain": {"path": "org/plain"}, "configuration": {"path": "org/talks", "name": "small"}, "split": {"path": "org/plain", "split": "test"},
    "revision": {"path": "org/plain", "revision": "v2"}, "file": {"path": "org/plain", "data_files": "test.jsonl"},
    "stream": {"path": "org/talks", "name": "big", "split": "train", "streams": True},
    "no configuration": {"path": "org/talks", "name": "nope"}, "which configuration": {"path": "org/talks"},
    "no split": {"path": "org/plain", "split": "nope"},
    "no revision": {"path": "org/plain", "revision": "nope"}, "no file": {"path": "org/plain", "data_files": "x.jsonl"}, "gated": {"path": "org/gated"},
    "unknown": {"path": "org/nothere"}, "broken": {"path": "org/broken"}}
PROGRAM = """
import json, sys
from tunelab.config.sections.data import Dataset
from tunelab.data.sources import find_source
from tunelab.errors import DataError
found = {}
for name, ask in json.loads(sys.argv[1]).items():
    try:
        source = find_source(Dataset(type="alpaca", **{key: value for key, value in ask.items() if key != "streams"}), 0, streams="streams" in ask)
        rows = list(source.rows())
        found[name] = [len(rows), str(rows[-1].origin), rows[-1].values["output"], bool(source.commit)]
    except DataError as error:
        found[name] = [error.message, error.where, error.next_step]
print(json.dumps(found))
"""


def lines(rows: int) -> bytes:
    return b"".join(json.dumps({"instruction": f"q{row}", "output": f"a{row}"}).encode() + b"\n" for row in range(rows))


def ask(environment: dict[str, str], asks: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(asks)], env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "src")},
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with HubServer() as hub:
        hub.add("org/talks", {"README.md": CARD, "small/train.jsonl": lines(5), "small/test.jsonl": lines(2), "big/a.jsonl": lines(30)})
        hub.add("org/plain", {"train.jsonl": lines(4), "test.jsonl": lines(3)})
        hub.add("org/plain", {"train.jsonl": lines(9)}, revision="v2")
        hub.add("org/gated", {"train.jsonl": lines(4)}, status=401)
        hub.add("org/broken", {"train.jsonl": lines(4)}, status=500)
        return ask(hub.environment(tmp_path_factory.mktemp("cache")), ASKS)


@pytest.mark.parametrize(("name", "rows"), [("plain", 4), ("configuration", 5), ("split", 3), ("revision", 9), ("file", 3), ("stream", 30)])
def test_rows_come_by_name_configuration_split_revision_file_and_as_a_stream(name: str, rows: int, answers: dict[str, Any]) -> None:
    assert answers[name] == [rows, f"{ASKS[name]['path']}:{rows}", f"a{rows - 1}", True]


@pytest.mark.parametrize(("name", "words", "where"), [
    ("no configuration", "no configuration 'nope'; it has small, big", "name"),
    ("which configuration", "several configurations; it has small, big", "name"),
    ("no split", "no split 'nope'; it has train, test", "split"), ("no revision", "no revision 'nope'", "revision"),
    ("no file", "no file 'x.jsonl'", "data_files"), ("gated", "is gated", "path"), ("unknown", "knows no dataset of that name", "path"),
    ("broken", "status 500", "path")])
def test_what_cannot_be_had_is_a_sentence_at_its_key(name: str, words: str, where: str, answers: dict[str, Any]) -> None:
    message, place, step = answers[name]
    assert words in message and "\n" not in message and place == f"datasets[0].{where}" and step


def test_without_a_connection_it_is_said_at_once(tmp_path: Path) -> None:
    with HubServer() as hub:
        environment = hub.environment(tmp_path)
    message = ask(environment, {"offline": {"path": "org/plain"}})["offline"][0]
    assert "could not be asked" in message
