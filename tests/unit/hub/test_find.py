"""Finding models for a task: judged, ranked, counted; and the command itself against a hub on loopback that holds the project's cards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT
from tests.helpers.hub_server import HubServer

from tunelab.errors import UsageError
from tunelab.hub.card import read_card
from tunelab.hub.find import MOST_READ, Wish, choose, queries, undecided
from tunelab.hub.fit import parameters_of, parse_size, runs_with
from tunelab.hub.record import ModelRecord
from tunelab.hub.tasks import find_task, tasks

CARDS = Path(__file__).with_name("cards")
SUMMARIES = find_task("summarization")
Run = Callable[..., tuple[int, str, str]]


def row(name: str, **values: Any) -> ModelRecord:
    return replace(ModelRecord(name, is_hub_id=True), **values)


def tuned(name: str, **values: Any) -> ModelRecord:
    return row(name, **{"pipeline_tag": "summarization", "parents": (("finetune", "org/base"),), **values})


def names(rows: list[ModelRecord], **wish: Any) -> list[str]:
    return [one.name for one in choose(Wish(SUMMARIES, **wish), rows).models]


def test_the_surest_first_then_by_what_was_asked_for() -> None:
    rows = [tuned("a/perhaps-summary", pipeline_tag="text2text-generation", downloads=10**6), tuned("a/less", downloads=5, likes=9, updated="2026-02-01"),
            tuned("a/more", downloads=50, likes=1, updated="2026-01-01")]
    assert names(rows) == ["a/more", "a/less", "a/perhaps-summary"]
    assert names(rows, sort="likes")[:2] == ["a/less", "a/more"] == names(rows, sort="updated")[:2]
    assert names(rows, sort="trending")[:2] == ["a/less", "a/more"], "in the order of the Hub's list"
    found = choose(Wish(SUMMARIES, limit=1), rows)
    assert found.more == 2 and found.models[0].sure > 0.65
    assert any("summarization" in why for why in found.models[0].why) and any("finetune of org/base" in why for why in found.models[0].why)


def test_kinds_are_told_apart() -> None:
    rows = [row("a/base-summary", card=read_card("# T5\n\nT5 is a model pretrained from scratch on C4."), pipeline_tag="summarization"), tuned("a/tuned"),
            tuned("a/lora", parents=(("adapter", "org/base"),)), tuned("a/merged", parents=(("merge", "org/x"), ("merge", "org/y"))),
            tuned("a/t5-GGUF", parents=(("quantized", "a/tuned"),), tags=("gguf",))]
    found = choose(Wish(SUMMARIES), rows)
    kinds = {one.name: one.kind.value for one in found.models}
    assert kinds["a/tuned"] == "finetune" and kinds["a/lora"] == "adapter" and kinds["a/merged"] == "merge" and "a/t5-GGUF" not in kinds
    assert found.dropped["of kind quantized (--kind quantized)"] == 1
    assert found.models[-1].name != "a/tuned" and names(rows, kinds=("quantized",)) == ["a/t5-GGUF"]
    assert "a/t5-GGUF" in names(rows, runs_with="gguf"), "the copies are what runs"


def test_another_task_is_left_out_and_counted() -> None:
    found = choose(Wish(SUMMARIES), [tuned("a/b"), tuned("a/opus-de-en", pipeline_tag="translation", tags=("translation",))])
    assert [one.name for one in found.models] == ["a/b"] and found.dropped == {"with too little that speaks for summarization": 1}


def test_a_narrower_task_counts_for_the_broader_one() -> None:
    coder = row("a/coder", pipeline_tag="text-generation", tags=("code", "code-generation"), parents=(("finetune", "org/base"),))
    assert [one.name for one in choose(Wish(find_task("text-generation")), [coder]).models] == ["a/coder"]


def test_what_is_filtered_away_is_said() -> None:
    rows = [tuned("a/mit-7b", tags=("license:mit",)), tuned("a/none-7b"), tuned("a/apache-70b", tags=("license:apache-2.0",)),
            tuned("a/mit", tags=("license:mit",)), tuned("a/mit-70b", tags=("license:mit",))]
    found = choose(Wish(SUMMARIES, licence="MIT", max_parameters=7 * 10**9), rows)
    assert [one.name for one in found.models] == ["a/mit-7b"] and found.seen == 5
    assert found.dropped == {"without a stated licence": 1, "under another licence": 1, "of unknown size": 1, "larger than that": 1}
    assert names(rows, licence="apache") == ["a/apache-70b"]
    other = choose(Wish(base="ORG/base"), [tuned("a/b"), tuned("a/c", parents=(("adapter", "x/y"),))])
    assert [one.name for one in other.models] == ["a/b"] and other.dropped == {"made from something else than ORG/base": 1}


def test_sizes() -> None:
    sizes = {"7B": 7 * 10**9, "350m": 35 * 10**7, "1.5e9": 15 * 10**8, "1,000": 1000, "8x7B": 56 * 10**9, "0.5 B": 5 * 10**8, "8.03B": 8_030_000_000}
    assert {text: parse_size(text) for text in sizes} == sizes
    for text in ("", "B", "-7B", "seven", "7Q", "nan", "inf", "1e400", "0", "9" * 400):
        with pytest.raises(UsageError, match="7B"):
            parse_size(text)
    assert parameters_of(row("a/llama-13b-chat")) == 13 * 10**9 and parameters_of(row("a/b")) is None
    assert parameters_of(row("a/b", parameters=7_240_000_000, tensors={"BF16": 7_240_000_000})) == 7_240_000_000


def test_with_what_it_runs() -> None:
    llama = row("a/x-7b", config={"model_type": "llama"}, files={"model.safetensors": 1})
    assert runs_with(llama, "ollama", 0) is True and runs_with(replace(llama, config={"model_type": "t5"}), "ollama", 0) is False
    assert runs_with(replace(llama, library="peft"), "ollama", 0) is False, "an adapter is not converted rightly"
    assert runs_with(row("a/x"), "ollama", 0) is None and runs_with(row("a/x", files={"m.Q4.GGUF": 1}), "ollama", 0) is True
    assert runs_with(llama, "gguf", 0) is False and runs_with(row("a/x", tags=("gguf",)), "gguf", 0) is True
    assert runs_with(llama, "cpu", 20 * 10**9) is True and runs_with(llama, "cpu", 10 * 10**9) is False and runs_with(row("a/x"), "cpu", 10**12) is None
    assert runs_with(row("a/x-7b", tags=("gguf",)), "cpu", 8 * 10**9) is True


def test_cards_are_read_where_they_decide() -> None:
    rows = [tuned("a/sure"), row("a/unclear", pipeline_tag="summarization"), tuned("a/read", parents=(), card=read_card("# Read")),
            tuned("a/out", tags=("license:mit",)), *(row(f"b/t5-{index}", pipeline_tag="summarization") for index in range(50))]
    found = [one.name for one in undecided(Wish(SUMMARIES), rows)]
    assert "a/unclear" in found and not {"a/sure", "a/read"} & set(found) and len(found) == MOST_READ
    assert "a/out" not in [one.name for one in undecided(Wish(SUMMARIES, licence="apache-2.0", text="x"), rows)]


@pytest.mark.parametrize("task", list(tasks()))
def test_every_task_becomes_a_few_questions(task: str) -> None:
    asked = queries(Wish(find_task(task)))
    assert 1 <= len(asked) <= 18 and len(set(asked)) == len(asked)
    assert all(one.pipeline_tag or one.filters for one in asked)
    based = queries(Wish(find_task(task), base="a/b", licence="mit", runs_with="gguf"))
    assert all("base_model:a/b" in one.filters and "gguf" in one.filters for one in based)
    assert "license:mit" not in based[0].filters and all("license:mit" in one.filters for one in based[1:])


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    """A hub with the project's own cards, and some that are in the way."""
    with HubServer() as hub:
        for folder in sorted(CARDS.iterdir()):
            files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("README.md", "expected.json")}
            card = (folder / "README.md").read_bytes().decode("utf-8", "replace") if (folder / "README.md").exists() else ""
            files |= dict.fromkeys(json.loads((folder / "expected.json").read_text(encoding="utf-8")).get("files", ()), b"")
            hub.add_model(f"lab/{folder.name}", card, files, downloads=100 * len(folder.name))
        hub.add_model("evil/\u202esummary", '---\npipeline_tag: summarization\nbase_model: "a/\\x1b[2Jb"\n---\n# \x1b[31mEvil', downloads=10**6)
        yield hub


@pytest.fixture(scope="module")
def run(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hf")

    def start(*arguments: str, **environment: str) -> tuple[int, str, str]:
        around = {**os.environ, **server.environment(folder), "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100", **environment}
        done = subprocess.run([sys.executable, "-m", "tunelab.cli.main", "hub", "find", *arguments], env=around, capture_output=True, text=True,
                              timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr

    return start


def test_the_command(server: HubServer, run: Run) -> None:
    code, out, errors = run("--task", "summarization", "--json")
    assert code == 0, errors
    found = json.loads(out)
    models = {one["name"]: one for one in found["models"]}
    assert {"lab/summarisation-t5", "lab/crlf", "lab/ja-summary"} <= set(models) and found["cards_read"] > 0
    t5 = models["lab/summarisation-t5"]
    assert t5["kind"] == "finetune" and t5["base"] == ["t5-small"] and t5["step"] == "sure" and any("README.md:" in why for why in t5["why"])
    read = [one for one in server.requests if "/resolve/" in one and one.startswith("GET")]
    _, again, _ = run("--task", "summarization", "--json")
    assert json.loads(again)["models"] == found["models"] and json.loads(again)["cards_read"] == 0, "cards that did not change are not asked for again"
    assert [one for one in server.requests if "/resolve/" in one and one.startswith("GET")] == read

    code, text, _ = run("-t", "summarization", "-n", "2")
    assert code == 0 and "lab/summarisation-t5" in text and "from t5-small" in text and "more fit: --limit" in text
    assert "evil/" in text and "\x1b" not in text and "\u202e" not in text
    _, offline, _ = run("--task", "summarization", "--json", "--offline")
    told = json.loads(offline)
    assert [one["name"] for one in told["models"]] == [one["name"] for one in found["models"]] and "Offline: searched were the" in told["notes"][0]
    before = len(server.requests)
    _, words, _ = run("--text", "abstractive summaries news", "--json", HF_HUB_OFFLINE="1")
    assert "lab/summarisation-t5" in {one["name"] for one in json.loads(words)["models"]} or json.loads(words)["models"] == []
    assert len(server.requests) == before, "offline asks nobody"


def test_base_licence_and_words(run: Run) -> None:
    _, out, _ = run("--base", "mistralai/Mistral-7B-v0.1", "--json")
    assert {"lab/axolotl-qlora-support"} <= {one["name"] for one in json.loads(out)["models"]}
    _, out, _ = run("--base", "nobody/nothing")
    assert "No model fits." in out and "No model names nobody/nothing as its base model" in out
    _, out, _ = run("--text", "abstractive", "--json")
    assert {"lab/summarisation-t5"} <= {one["name"] for one in json.loads(out)["models"]}


@pytest.mark.parametrize(("arguments", "words"), [
    ((), ("tunelab hub find --task TASK",)), (("-t", "sumarization"), ("Did you mean summarization?",)), (("-t", "chat", "--max-params", "big"), ("7B",)),
    (("--base", "a b"), ("ORG/NAME",)), (("-t", "chat", "--from", "/no/such.parquet"), ("no such dump",))])
def test_what_is_wrong_is_a_sentence(run: Run, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    code, _, errors = run(*arguments)
    assert code == 2 and all(word in errors for word in words) and "Traceback" not in errors


def test_a_rate_limit_in_the_middle_leaves_what_there_is(server: HubServer, run: Run, tmp_path: Path) -> None:
    fault = server.fail("/resolve/", 429, {"RateLimit": '"resolvers";r=0;t=280'})
    code, out, errors = run("-t", "summarization", "--json", TUNELAB_CACHE=str(tmp_path), HF_HOME=str(tmp_path))
    server.faults.remove(fault)
    assert code == 0, errors
    found = json.loads(out)
    assert found["models"] and any("cards that might have decided could not be read" in note and "429" in note for note in found["notes"])
    fault = server.fail("/api/models?", 429, {"RateLimit": '"api";r=0;t=280'})
    code, _, errors = run("-t", "summarization")
    server.faults.remove(fault)
    errors = " ".join(errors.split())
    assert code == 1 and "in 5 minutes (at" in errors and "The cache has" in errors and "Traceback" not in errors
