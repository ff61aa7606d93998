"""Prompts from a file: what is accepted, and that an error names its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunelab.comparison import read_prompts
from tunelab.errors import DataError


def _write(tmp_path: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


USER, ANSWER = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}


def test_rows(tmp_path: Path) -> None:
    prompts = read_prompts(_write(
        tmp_path, {"prompt": "Hello"}, "", {"id": "m", "messages": [{"role": "system", "content": "Be brief."}, USER], "group": "general"},
        {"messages": [USER, ANSWER]}, {"id": 7, "messages": [USER, ANSWER], "grader": {"kind": "contains", "any": ["4"]}}))
    assert [prompt.id for prompt in prompts] == ["rows-1", "m", "rows-4", "7"]
    assert prompts[0].messages == ({"role": "user", "content": "Hello"},) and prompts[0].grader is None and prompts[0].group == "task"
    assert len(prompts[1].messages) == 2 and prompts[1].group == "general"
    assert prompts[2].messages == (USER,) and prompts[2].grader == {"kind": "exact", "expected": "4"}
    assert prompts[3].messages == (USER,) and prompts[3].grader == {"kind": "contains", "any": ["4"]}


def test_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "general.txt"
    path.write_bytes("\ufeffWhat is a fox?\r\n\r\n{\"not\": \"json\"}\n".encode())
    prompts = read_prompts(path, group="general")
    assert [(one.id, one.messages[0]["content"], one.group) for one in prompts] == [
        ("general-1", "What is a fox?", "general"), ("general-3", '{"not": "json"}', "general")]


def test_the_lab_data_can_be_read() -> None:
    path = Path(__file__).parents[3] / "src" / "tunelab" / "workflow" / "lab_files" / "held_out.jsonl"
    prompts = read_prompts(path)
    assert len(prompts) > 10 and all(prompt.grader and prompt.messages[-1]["role"] == "user" for prompt in prompts)


@pytest.mark.parametrize(("row", "problem"), [
    ("{", "the line is not JSON"), ("[1]", 'expected an object with either "prompt" or "messages"'),
    ("[" * 100_000, "the line is not JSON"),
    ({"prompt": "a", "messages": []}, "either"), ({"messages": []}, "at least one message"), ({"prompt": 3}, "no text in `content`"),
    ({"prompt": " "}, "no text"), ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0] has no `role`"),
    ({"messages": [USER, {"role": "assistant"}]}, "messages[1] has no text"),
    ({"messages": [ANSWER]}, "a message of the user before the answer"),
    ({"messages": [{"role": "system", "content": "a"}]}, "a message of the user"), ({"prompt": "a", "id": ""}, "`id` is"),
    ({"prompt": "a", "group": "x" * 41}, "`group` is"), ({"prompt": "a", "group": "<b>"}, "`group` is"),
    ({"prompt": "a", "grader": {"kind": "vibes"}}, "kind is 'vibes'"),
    ({"prompt": "a", "grader": "exact"}, "kind is None"), ({"prompt": "a", "id": "first"}, "the id 'first' stands in an earlier line"),
])
def test_a_bad_row_names_its_line(tmp_path: Path, row: object, problem: str) -> None:
    path = _write(tmp_path, {"id": "first", "prompt": "fine"}, row)
    with pytest.raises(DataError) as caught:
        read_prompts(path)
    assert caught.value.where == f"{path}:2"
    assert problem.lower() in caught.value.message.lower()


def test_all_bad_lines_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Also lines with a problem: 3, 4"):
        read_prompts(_write(tmp_path, {"prompt": "a"}, "x", "y", "z"))


def test_no_file_no_prompts_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_prompts(tmp_path / "missing.jsonl")
    with pytest.raises(DataError, match="no prompts"):
        read_prompts(_write(tmp_path, "", " "))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="not UTF-8"):
        read_prompts(tmp_path / "latin.txt")
