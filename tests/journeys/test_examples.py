"""Every example is checked, and what the handout's config asks for that cannot work is found on its line with an edit."""

from __future__ import annotations

import json
from pathlib import Path

from tests.journeys.test_bad_input import run

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.yml"))


def test_there_is_an_example() -> None:
    assert [path.name for path in EXAMPLES] == ["dpo.yml", "handout.yml"]


def test_the_preference_example_has_nothing_wrong_and_its_pairs_are_of_one_kind() -> None:
    done = run("check", "examples/dpo.yml", "--json", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {one["severity"] for one in json.loads(done.stdout)["findings"]} <= {"note"}
    rows = [json.loads(line) for line in (ROOT / "examples" / "data" / "short-answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 48
    assert all(2 * len(row["chosen"]["content"]) < len(row["rejected"]["content"]) for row in rows)


def test_the_handout_is_explained_with_its_fifteen_settings_first() -> None:
    from tunelab.config.catalogue import FIRST

    done = run("explain", "examples/handout.yml", "--json", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    names = [item["name"] for item in json.loads(done.stdout)["explanations"]]
    assert tuple(names[:15]) == FIRST


def test_the_handout_is_checked_in_full() -> None:
    done = run("check", "examples/handout.yml", "--json", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    findings = {one["key"]: one for one in json.loads(done.stdout)["findings"]}
    lines = (ROOT / "examples" / "handout.yml").read_text(encoding="utf-8").splitlines()
    for key, severity in (("datasets[0].type", "warning"), ("fp16", "blocked"), ("optimizer", "blocked"), ("val_set_size", "warning"),
                          ("datasets[0].shards", "warning")):
        finding = findings[key]
        assert finding["severity"] == severity
        assert key.split(".")[-1] in lines[finding["line"] - 1]
        assert finding["fix"]
