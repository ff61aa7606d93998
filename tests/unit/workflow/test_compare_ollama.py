"""The handout's third task: the same prompts to two models of an Ollama server, from the command line's own function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.ollama_server import DoubleModel, OllamaDouble

from tunelab.errors import ModelError, RunnerError
from tunelab.workflow.compare import Asking, compare

BASE, TUNED = "ollama:phi3:mini", "ollama:codellama:7b-instruct"


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaDouble]:
    with OllamaDouble() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        monkeypatch.setattr("tunelab.runners.ollama_server.WAITS", (0.0,))
        monkeypatch.setattr("tunelab.runners.ollama.WAITS", (0.0,))
        server.add(DoubleModel("phi3:mini"))
        server.library["codellama:7b-instruct"] = DoubleModel("codellama:7b-instruct", quantisation="Q4_0", system="You code.")
        yield server


def asking(tmp_path: Path, prompts: int = 8) -> Asking:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(f"Say the number {number}." for number in range(prompts)))
    return Asking((str(path),), None)


def test_what_is_missing_is_pulled_when_asked_for(double: OllamaDouble, tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    with pytest.raises(ModelError, match="--pull"):
        compare(BASE, TUNED, asking(tmp_path), out=out)
    found = compare(BASE, TUNED, asking(tmp_path), out=out, pull=True)
    assert len(found.comparison.records) == 8
    assert all(one.base and one.tuned and one.tuned.prompt_ids for one in found.comparison.records)
    said = " ".join(found.warnings)
    for word in ("quantisation differs", "system prompt differs", "given different text"):
        assert word in said


def test_a_server_that_goes_away_costs_no_answer_and_doubles_none(double: OllamaDouble, tmp_path: Path) -> None:
    out, asked = tmp_path / "c.jsonl", list[str]()

    def says(text: str) -> str:
        asked.append(text)
        if len(asked) == 9:  # in the middle of an answer
            double.stop()
        return "yes"

    double.add(DoubleModel("phi3:mini", says=says))
    double.add(DoubleModel("codellama:7b-instruct"))
    with pytest.raises(RunnerError, match="ollama serve"):
        compare(BASE, TUNED, asking(tmp_path), out=out)
    before = len(out.read_text().splitlines())
    assert 1 < before < 17
    double.start()
    found = compare(BASE, TUNED, asking(tmp_path), out=out)
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    given = [(one.get("side"), (one.get("answer") or one).get("prompt_id")) for one in answers if one.get("side")]
    assert len(given) == len(set(given)) == 16
    assert all(one.base and one.tuned for one in found.comparison.records)
