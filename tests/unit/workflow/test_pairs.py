"""Pairs are suggested from what is at hand, and "derives" is said only with evidence."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.helpers.finished import write_finished_run
from tests.helpers.ollama_server import DoubleModel, OllamaDouble

from tunelab.workflow import pairs
from tunelab.workflow.pairs import Pair, _derives, _Model, suggest_pairs

BASE = _Model("base:latest", "", {"FROM": "sha256-" + "a" * 64},
              {"general.architecture": "llama", "general.parameter_count": 7, "general.name": "Mistral-7B-v0.1"})


def test_without_a_server_or_a_cache_the_well_known_ones_are_offered(tmp_path: Path) -> None:
    found = suggest_pairs(tmp_path, host="http://127.0.0.1:9", cache=tmp_path / "none")
    handout = next(one for one in found.pairs if (one.base, one.tuned) == ("ollama:phi3:mini", "ollama:codellama:7b-instruct"))
    assert handout.derives == "no"
    assert handout.command == "tunelab compare ollama:phi3:mini ollama:codellama:7b-instruct -p set:code --pull"
    assert [note.partition(":")[0] for note in found.notes] == ["Ollama", "Hugging Face cache"]


def test_what_is_installed_needs_no_pull_and_comes_first(tmp_path: Path) -> None:
    with OllamaDouble() as double:
        for name in ("llama3:8b", "llama3:8b-text", "smol:latest"):
            double.add(DoubleModel(name))
        found = suggest_pairs(tmp_path, host=double.url, cache=tmp_path / "none")
    first = found.pairs[0]
    assert (first.base, first.tuned, first.derives, first.missing) == ("ollama:llama3:8b-text", "ollama:llama3:8b", "yes", ())
    assert "--pull" not in first.command
    assert not any({one.base, one.tuned} == {first.base, first.tuned} for one in found.pairs[1:])


@pytest.mark.parametrize(("tuned", "word", "words"), [
    (replace(BASE, name="t", blobs={**BASE.blobs, "ADAPTER": "sha256-" + "b" * 64}), "yes", "an adapter on the very file"),
    (replace(BASE, name="t", parent="base:latest"), "no", "the same weights"),
    (replace(BASE, name="t", blobs={"FROM": "sha256-" + "c" * 64}), "not known", "nothing says"),
    (replace(BASE, name="t", blobs={}, info={"general.base_model.0.repo_url": "https://huggingface.co/mistralai/Mistral-7B-v0.1"}),
     "yes", "names mistralai")])
def test_derivation_is_said_by_what_the_files_say(tuned: _Model, word: str, words: str) -> None:
    found, evidence = _derives(BASE, tuned)
    assert found == word
    assert words in evidence


def test_a_run_and_its_base(tmp_path: Path) -> None:
    run = write_finished_run(tmp_path / "run")
    found = suggest_pairs(tmp_path, host="http://127.0.0.1:9", cache=tmp_path / "none")
    mine = next(one for one in found.pairs if one.tuned == f"run:{run}")
    assert mine.derives == "yes"
    assert mine.command.endswith(f"-p run:{run}")


def test_a_model_of_the_cache_and_the_base_that_it_names(tmp_path: Path) -> None:
    adapter = json.dumps({"base_model_name_or_path": "org/base", "peft_type": "LORA"})
    for name, files in {"org/base": {"config.json": "{}"}, "me/tuned": {"adapter_config.json": adapter}}.items():
        snapshot = tmp_path / f"models--{name.replace('/', '--')}" / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        for file, text in files.items():
            (snapshot / file).write_text(text)
        refs = snapshot.parent.parent / "refs"
        refs.mkdir()
        (refs / "main").write_text("0" * 40)
    found = suggest_pairs(tmp_path / "elsewhere", host="http://127.0.0.1:9", cache=tmp_path)
    mine = next(one for one in found.pairs if one.tuned == "hf:me/tuned")
    assert (mine.base, mine.derives, mine.missing) == ("hf:org/base", "yes", ())
    assert "adapter_config.json" in mine.evidence


def test_the_known_table_is_in_order() -> None:
    rows = list(csv.DictReader((Path(pairs.__file__).parent.parent / "facts" / "known" / "pairs.tsv").read_text().splitlines(), delimiter="\t"))
    assert len(rows) > 10
    for row in rows:
        assert row["derives"] in ("yes", "no")
        assert row["evidence"]
        assert None not in row.values()


def test_a_pair_of_the_hub_is_not_pulled_by_ollama() -> None:
    assert "--pull" not in Pair("hf:a/b", "hf:c/d", "yes", "", "", missing=("hf:a/b",)).command
