"""Seventy cards, varied as real ones are (see cards/), read as a whole: each field as a careful reader would fill it in, and nothing invented.

expected.json: `base_model`, `datasets`: lists (null: not stated, or not checked where NAME_any is null); `example`: [prompt, beginning or part of the
output] or null for a card without one; `..._any`: every reading that is right. What is not named is not checked.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunelab.hub.record import ModelRecord, read_records
from tunelab.hub.sheet import ModelSheet, as_json, read_sheet

CARDS = Path(__file__).with_name("cards")
SLUGS = sorted(one.parent.name for one in CARDS.glob("*/expected.json"))


def test_there_are_at_least_sixty_cards() -> None:
    assert len(SLUGS) >= 60


def _record(slug: str, expected: dict[str, Any]) -> ModelRecord:
    (record,) = read_records(CARDS / slug)
    files = {name: size for name, size in record.files.items() if name != "expected.json"}
    return replace(record, files=files | dict.fromkeys(expected.get("files", ())))


@pytest.fixture(scope="module", params=SLUGS)
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any], ModelSheet]:
    expected = json.loads((CARDS / request.param / "expected.json").read_text(encoding="utf-8"))
    return request.param, expected, read_sheet(_record(request.param, expected))


def _names(values: Any) -> set[str]:
    return {re.sub(r"[^\w]+", "", value.rpartition("/")[2].casefold()) for value in values or ()}


def _squeezed(text: str | None) -> str:
    return " ".join((text or "").split())


def test_the_base_model(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    _, expected, sheet = case
    right = expected.get("base_any", [expected["base_model"]])
    if right is not None:
        assert _names(sheet.base_model.values) in [_names(one) for one in right]
    for rival in expected.get("rivals", {}).get("base_model", ()):
        assert rival in [one.value for one in sheet.base_model.candidates]


def test_the_kind(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    _, expected, sheet = case
    if expected["kind"] is not None:
        assert sheet.kind.value == expected["kind"]


def test_the_task(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    _, expected, sheet = case
    assert (sheet.task.value or "not stated") in expected.get("task_any", [expected["task"]])


def test_the_data_sets(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    _, expected, sheet = case
    right = expected.get("data_any", [expected["datasets"]])
    if right not in (None, [None]):
        assert _names(sheet.datasets.values) in [_names(one) for one in right]


def test_the_example(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    _, expected, sheet = case
    if expected.get("example_any"):
        return
    if expected["example"] is None:
        assert not sheet.examples
        return
    prompt, output = expected["example"]
    found = [one for one in sheet.examples if prompt in _squeezed(one.prompt)]
    assert found, [(one.prompt, one.output) for one in sheet.examples]
    if output is not None:
        assert any(output in _squeezed(one.output) for one in found)


@pytest.mark.parametrize("name", ["licence", "template", "size"])
def test_one_value(case: tuple[str, dict[str, Any], ModelSheet], name: str) -> None:
    _, expected, sheet = case
    if name in expected:
        assert str(getattr(sheet, name).value).casefold() == expected[name].casefold()


@pytest.mark.parametrize("name", ["languages", "method"])
def test_many_values(case: tuple[str, dict[str, Any], ModelSheet], name: str) -> None:
    _, expected, sheet = case
    assert set(expected.get(name, ())) <= set(getattr(sheet, name).values)


def test_the_hyperparameters(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    _, expected, sheet = case
    said = {name: answer.value for name, answer in sheet.hyperparameters.items()}
    assert expected.get("hyperparameters", {}).items() <= said.items()
    assert (sheet.axolotl is not None) == expected.get("axolotl", False)


def test_the_claims(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    _, expected, sheet = case
    said = [[one.metric.casefold().replace(" ", "_"), one.value] for one in sheet.evaluation]
    for claim in expected.get("evaluation", ()):
        assert claim in said


def test_the_findings(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    _, expected, sheet = case
    codes = {one.code for one in sheet.findings}
    assert set(expected.get("findings", ())) <= codes
    assert bool(sheet.problems) or not expected.get("problems")


def test_every_value_shows_where_it_stands(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    slug, _, sheet = case
    answers = [sheet.kind, sheet.base_model, sheet.task, sheet.datasets, sheet.template, sheet.licence, sheet.languages, sheet.size, sheet.format,
               sheet.method, *sheet.hyperparameters.values()]
    for candidate in (one for answer in answers for one in answer.candidates):
        assert candidate.evidence, candidate
        for entry in candidate.evidence:
            if entry.line is not None:
                text = (CARDS / slug / (entry.file or "README.md")).read_text(encoding="utf-8").replace("\r\n", "\n")
                assert 1 <= entry.line <= text.count("\n") + 1
                assert _loose(entry.quote.rstrip("…"))[:30] in _loose("\n".join(text.split("\n")[entry.line - 1 :]))


def _loose(text: str) -> str:
    """Without what Markdown and HTML put between words."""
    return re.sub(r"[\W_]+", "", re.sub(r"<[^>]*>", "", text))


def test_the_sheet_has_a_form_for_machines(case: tuple[str, dict[str, Any], ModelSheet]) -> None:
    from tunelab.cli.output import _encode

    _, _, sheet = case
    assert json.loads(json.dumps(as_json(sheet), default=_encode))["base_model"]["value"] == (list(sheet.base_model.values) or None)
