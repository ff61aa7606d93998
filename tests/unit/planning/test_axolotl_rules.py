"""Each of Axolotl's own rules is a rule here or is deliberately none, and the table in docs/axolotl-rules says which (reference: rules.md)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from tests.conftest import ROOT

from tunelab.planning.rules import all_rules

TABLES = sorted((ROOT / "docs" / "axolotl-rules").glob("*.tsv"))
KINDS = ("error", "warning", "change", "info")


def rows() -> list[tuple[str, str, str, str, str]]:
    found = []
    for table in TABLES:
        head, *lines = table.read_text(encoding="utf-8").splitlines()
        assert head.split("\t") == ["where", "kind", "nth", "code", "reason"], table.name
        for line in lines:
            where, kind, nth, code, reason = line.split("\t")
            found.append((where, kind, nth, code, reason))
    return found


def test_every_row_names_a_rule_or_a_reason() -> None:
    codes = {rule.code for rule in all_rules()}
    assert len(rows()) > 400
    for where, kind, _, code, reason in rows():
        assert kind in KINDS, where
        assert set(re.split(r"[,/ ]+", code)) <= codes or (code == "-" and len(reason) > 15), (where, kind, code)


def test_no_rule_of_the_reference_is_left_out(shared_axolotl: Path) -> None:
    text = (shared_axolotl / "rules.md").read_text(encoding="utf-8")
    bullets = Counter((where, kind.lower()) for where, kind in re.findall(r"^- `([^`]+)` (ERROR|WARNING|CHANGE|INFO) ", text, re.MULTILINE))
    assert sum(bullets.values()) > 440
    told = Counter((where, kind) for where, kind, *_ in rows())
    assert {key: (count, told[key]) for key, count in bullets.items() if told[key] < count} == {}


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_the_bullets_of_one_place_are_counted_from_one(table: Path) -> None:
    places: dict[tuple[str, str], list[int]] = {}
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        where, kind, nth, *_ = line.split("\t")
        places.setdefault((where, kind), []).append(int(nth))
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in places.values())
