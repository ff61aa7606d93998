"""What there is to read at a path: a README, a model's folder, a folder of either."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunelab.errors import UsageError
from tunelab.hub.record import ModelRecord, read_records


def test_a_file_a_folder_and_a_folder_of_them(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "README.md").write_text("# One")
    (tmp_path / "one" / "adapter_config.json").write_text('{"r": 8}')
    (tmp_path / "two.md").write_text("# Two")
    (tmp_path / "empty").mkdir()
    assert [record.name for record in read_records(tmp_path)] == ["one", "two"]
    (folder,) = read_records(tmp_path / "one")
    assert folder.adapter == {"r": 8} and folder.files == {"README.md": 5, "adapter_config.json": 8}
    (alone,) = read_records(tmp_path / "one" / "README.md")
    assert (alone.name, alone.card.text, alone.adapter) == ("one", "# One", {})


@pytest.mark.parametrize("content", ["[1, 2]", "{", "[" * 100_000, '"x"', ""])
def test_json_that_is_none_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    (record,) = read_records(tmp_path)
    assert record.config == {} and len(record.missing) == 1 and "config.json" in record.missing[0]


def test_nothing_there_is_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError) as failure:
            read_records(path)
        assert failure.value.next_step


def test_the_link_of_a_hub_model() -> None:
    assert ModelRecord("a/b", is_hub_id=True).link == "https://huggingface.co/a/b"
    assert ModelRecord("b").link == ""
