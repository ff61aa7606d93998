"""The Hub's own client library against a hub on loopback: records, lists with pages, families, and one sentence for each thing that goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT
from tests.helpers.hub_server import HubServer

from tunelab.hub.answers import card_of, record_of

PROGRAM = """
import dataclasses, json, os, sys, time
from tunelab.errors import TunelabError
from tunelab.hub import patience
patience.WAIT, patience.SILENCE, patience.WHOLE = 3.0, 1.0, 2.0
from tunelab.hub.client import open_client
from tunelab.hub.query import Query
waits, found = [], {}
hub = open_client(say=waits.append)
asks = json.loads(sys.argv[1])
for key, (method, *arguments) in asks.items():
    begin = time.monotonic()
    try:
        if method == "offline":
            hub.offline, method, arguments = True, arguments[0], arguments[1:]
        if method == "listing":
            query = Query(**{name: tuple(value) if isinstance(value, list) else value for name, value in arguments[0].items()})
            answer = [row.name for row in hub.listing(query)]
        elif method == "children":
            answer = [row.name for row in hub.children(*arguments)]
        else:
            record = hub.record(*arguments)
            answer = {one.name: getattr(record, one.name) for one in dataclasses.fields(record)}
            answer |= {"card": record.card.text, "file": record.card.file}
        found[key] = {"answer": answer}
    except TunelabError as error:
        found[key] = {"error": type(error).__name__, "message": error.message, "next": error.next_step}
    found[key]["seconds"] = time.monotonic() - begin
    hub.offline = False
print(json.dumps({"found": found, "waits": waits, "notes": hub.cache.notes}, default=dict))
"""
TUNED = "---\nbase_model: org/base\nlicense: mit\ndatasets: [org/data]\n---\n# Tuned\n\nA model.\n"


def ask(environment: dict[str, str], asks: dict[str, list[Any]]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(asks)], env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "src")},
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "nothing is printed besides: no progress bars, no warnings"
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], dict[str, Any], list[str]]]:
    """(what each question found, the whole output, the requests): one process asks them all."""
    with HubServer() as hub:
        hub.page = 3
        hub.add_model("org/base", "---\nlicense: mit\n---\n# Base", {"config.json": b'{"model_type": "llama", "hidden_size": 64}'}, downloads=50, likes=5,
                      safetensors={"parameters": {"BF16": 1000, "F32": 24}, "total": 1024})
        hub.add_model("org/tuned", TUNED, {"adapter_config.json": b'{"peft_type": "LORA"}'}, downloads=70, lastModified="2026-03-04T05:06:07.000Z")
        hub.add_model("org/full", TUNED, {"config.json": b"{broken"}, downloads=60)
        hub.add_model("org/gated", TUNED, downloads=80, gated="manual")
        hub.fail("org/gated/resolve", 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model org/gated is restricted."})
        for index in range(5):
            hub.add_model(f"many/m{index}", "---\ntags: [code]\n---\n# Many", downloads=index)
        hub.add_model("org/busy", "# Busy", downloads=1)
        hub.fail("models/org/busy", 429, {"Retry-After": "1"}, times=1)
        hub.fail("models/org/busy", 503, times=1)
        for name, status, headers in (("closed", 403, {"X-Error-Code": "GatedRepo"}), ("limited", 429, {"RateLimit": '"api";r=0;t=250'}),
                                      ("down", 503, {}), ("forbidden", 403, {"X-Error-Message": "Your token may not read this"}), ("login", 401, {}),
                                      ("odd", 418, {})):
            hub.fail(f"models/org/{name}", status, headers)
        for name, body in (("broken", b'{"id": '), ("list", b"[1]"), ("nothing", b"{}"), ("page", b"<html>")):
            hub.fail(f"models/org/{name}", body=body)
        hub.fail("models/org/late", seconds=3.0, body=b"{}")
        hub.fail("models/org/drip", body=b"x" * 100, drip=True)
        hub.fail("search=fault", 500)
        asks: dict[str, list[Any]] = {name: ["record", f"org/{name}"] for name in ("base", "tuned", "full", "gated")} | {
            "pages": ["listing", {"limit": 7}], "filters": ["listing", {"filters": ["code"], "author": "many", "limit": 2}],
            "search": ["listing", {"search": "UNE"}], "list fails": ["listing", {"search": "fault"}],
            "children": ["children", "org/base", "finetune", 10], "adapters": ["children", "org/base", "adapter", 10],
            "no name": ["record", "a/b/c"], "unknown": ["record", "org/tund"], "other owner": ["record", "me/tuned"],
            "seen offline": ["offline", "record", "org/tuned"], "never seen offline": ["offline", "record", "org/tunde"],
            "list offline": ["offline", "listing", {"filters": ["code"]}], "row offline": ["offline", "record", "many/m4"]}
        asks |= {name: ["record", f"org/{name}"] for name in ("busy", "closed", "limited", "down", "forbidden", "login", "odd", "broken", "list",
                                                              "nothing", "page", "late", "drip")}
        told = ask(hub.environment(tmp_path_factory.mktemp("hf")), asks)
        yield told["found"], told, hub.requests


def test_a_record_holds_what_the_hub_knows(answers: Any) -> None:
    found, _, requests = answers
    base, tuned = found["base"]["answer"], found["tuned"]["answer"]
    assert base["children"] == {"finetune": 2, "adapter": 1} and base["tensors"] == {"BF16": 1000, "F32": 24} and base["parameters"] == 1024
    assert base["config"]["hidden_size"] == 64 and base["likes"] == 5 and base["is_hub_id"]
    assert tuned["card"] == TUNED and tuned["adapter"] == {"peft_type": "LORA"} and tuned["updated"].startswith("2026-03-04T05:06:07")
    assert tuned["parents"] == [["adapter", "org/base"]] and "license:mit" in tuned["tags"]
    assert requests.count("GET /api/models/org/tuned") == 1  # one question to the API; files only where there are any
    assert not any("org/tuned" in one and one.endswith("/config.json") for one in requests)


def test_a_broken_file_is_said_and_no_failure(answers: Any) -> None:
    found = answers[0]["full"]["answer"]
    assert found["config"] == {} and found["missing"] == ["config.json is not valid JSON."] and found["card"] == TUNED


def test_a_gated_models_card_is_made_of_what_the_api_tells(answers: Any) -> None:
    found = answers[0]["gated"]["answer"]
    assert "base_model: org/base" in found["card"] and found["file"] == "the Hub's metadata" and found["gated"] == "manual"
    assert "https://huggingface.co/org/gated" in found["missing"][0] and "hf auth login" in found["missing"][0]


def test_lists_go_over_pages_and_families_by_relation(answers: Any) -> None:
    found = answers[0]
    assert found["pages"]["answer"] == ["org/gated", "org/tuned", "org/full", "org/base", "many/m4", "many/m3", "many/m2"]
    assert found["filters"]["answer"] == ["many/m4", "many/m3"] and found["search"]["answer"] == ["org/tuned"]
    assert found["children"]["answer"] == ["org/gated", "org/full"] and found["adapters"]["answer"] == ["org/tuned"]


@pytest.mark.parametrize(("ask", "kind", "words"), [
    ("unknown", "ModelError", ("knows no model org/tund", "Did you mean org/tuned?")), ("other owner", "ModelError", ("Did you mean org/tuned?",)),
    ("no name", "ModelError", ("'a/b/c'", "ORG/NAME")),
    ("closed", "ModelError", ("org/closed is gated", "https://huggingface.co/org/closed", "hf auth login")),
    ("limited", "HubError", ("429", "in 4 minutes (at ", "hf auth login")), ("down", "HubError", ("answered 503", "http://127.0.0.1", "--offline")),
    ("forbidden", "HubError", ("403: Your token may not read this", "hf auth login")), ("login", "HubError", ("401", "hf auth login")),
    ("odd", "HubError", ("answered 418",)), ("broken", "HubError", ("no description of org/broken", "HF_ENDPOINT")),
    ("list", "HubError", ("no description",)),
    ("nothing", "HubError", ("no description",)), ("page", "HubError", ("no description", "HF_ENDPOINT")),
    ("late", "HubError", ("did not answer within 1 seconds", "http://127.0.0.1")), ("drip", "HubError", ("did not end within 2 seconds",)),
    ("list fails", "HubError", ("answered 500",)), ("never seen offline", "ModelError", ("org/tunde was never seen", "org/tuned (just now)"))])
def test_what_goes_wrong_is_a_sentence(answers: Any, ask: str, kind: str, words: tuple[str, ...]) -> None:
    found = answers[0][ask]
    assert found["error"] == kind
    said = f"{found['message']} {found['next']}"
    assert all(word in said for word in words), said
    assert "Traceback" not in said and found["seconds"] < 5


def test_a_busy_hub_is_waited_for(answers: Any) -> None:
    found, told, _ = answers
    assert found["busy"]["answer"]["card"] == "# Busy"
    assert "The Hub is busy (429); waiting 1 s." in told["waits"] and "The Hub is busy (503); waiting 1 s." in told["waits"]
    assert told["notes"] == []


def test_what_was_seen_is_there_offline(answers: Any) -> None:
    found = answers[0]
    offline = found["seen offline"]["answer"]
    assert offline["card"] == TUNED and offline["adapter"] == {"peft_type": "LORA"} and "From the cache, as it was just now." in offline["missing"]
    assert found["list offline"]["answer"] == ["many/m4", "many/m3", "many/m2"]  # those that a list has shown
    assert "its card never" in found["row offline"]["answer"]["missing"][0]


def test_a_wrong_token_is_named(tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add_model("org/m", "# M")
        hub.tokens = {"hf_good"}
        good = ask({**hub.environment(tmp_path / "a"), "HF_TOKEN": "hf_good"}, {"m": ["record", "org/m"]})["found"]["m"]
        bad = ask({**hub.environment(tmp_path / "b"), "HF_TOKEN": "hf_bad"}, {"m": ["record", "org/m"], "l": ["listing", {}]})["found"]
    assert good["answer"]["card"] == "# M"
    for one in bad.values():
        assert "refused your token" in one["message"] and "hf auth login" in one["next"] and "hf_bad" not in str(one)


def test_without_a_network_the_address_and_the_cache_are_named(tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add_model("org/m", "# M")
        environment = hub.environment(tmp_path)
        assert ask(environment, {"m": ["record", "org/m"]})["found"]["m"]["answer"]["card"] == "# M"
        subprocess.run([sys.executable, "-c", "from huggingface_hub import hf_hub_download as get; get('org/m', 'README.md')"], check=True,
                       env={**os.environ, **environment}, capture_output=True)
    down = ask(environment, {"m": ["record", "org/m"]})["found"]["m"]
    assert down["error"] == "HubError" and environment["HF_ENDPOINT"] in down["message"] and "The cache has org/m as it was just now." in down["message"]
    assert down["seconds"] < 3
    offline = ask({**environment, "HF_HUB_OFFLINE": "1"}, {"m": ["record", "org/m"]})["found"]["m"]
    assert offline["answer"]["card"] == "# M"
    (tmp_path / "tunelab" / "hub-1.sqlite").unlink()
    files = ask({**environment, "HF_HUB_OFFLINE": "1"}, {"m": ["record", "org/m"]})["found"]["m"]
    assert files["answer"]["card"] == "# M", "from the library's own cache of files"


@pytest.mark.parametrize("value", [None, 3, "x", [], {"a": 1}, [None, {"b": []}], float("nan")])
def test_answers_of_wrong_types_are_left_out(value: Any) -> None:
    names = ("tags", "pipeline_tag", "library_name", "config", "baseModels", "childrenModelCount", "siblings", "safetensors", "gguf", "downloads", "likes",
             "createdAt", "lastModified", "gated")
    found = record_of({"id": "a/b", **dict.fromkeys(names, value)})
    assert found.name == "a/b" and isinstance(found.tags, tuple) and isinstance(found.files, dict)
    assert card_of(value).text is not None


def test_the_model_tree_in_all_its_forms() -> None:
    for value in ({"relation": "adapter", "models": [{"id": "a/b"}]}, [{"relation": "adapter", "id": "a/b"}]):
        assert record_of({"id": "x/y", "baseModels": value}).parents == (("adapter", "a/b"),)
    assert record_of({"id": "x/y", "baseModels": ["a/b"]}).parents == (("", "a/b"),)
    assert record_of({"id": "x/y", "tags": ["base_model:a/b", "base_model:merge:a/b", "base_model:c/d"]}).parents == (("merge", "a/b"), ("", "c/d"))
    assert record_of({"id": "x/y", "childrenModelCount": 7}).children == {"": 7}
