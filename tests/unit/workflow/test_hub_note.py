"""The lab notebook: what tunelab wrote is kept up to date, what a person wrote stays, and no card can break its page."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tests.unit.report.samples import HOSTILE
from tests.unit.report.sheets import hostile_sheet

from tunelab.errors import FolderError, StorageError
from tunelab.report import notebook as book
from tunelab.report.content import Notebook
from tunelab.report.html import render_notebook_html
from tunelab.report.markdown import render_notebook_markdown
from tunelab.workflow.hub_note import note

CARD = "---\nbase_model: {base}\n---\n# A model\n\n{text}\n"


def card(folder: Path, base: str = "org/base", text: str = "Words.", name: str = "model.md") -> str:
    (folder / name).write_text(CARD.format(base=base, text=text), encoding="utf-8")
    return str(folder / name)


def page(folder: Path) -> Path:
    return folder / "notebook" / "models.md"


def noted(folder: Path, *names: str) -> dict[str, str]:
    """label -> what became of it, of the last model."""
    return {one.label: one.what for one in note(names, folder / "notebook").models[-1].changes}


BASE = book.LABELS["base_model"]


def test_a_note_has_the_labels_of_the_course_lab_and_is_the_same_when_noted_again(tmp_path: Path) -> None:
    name = card(tmp_path)
    assert set(noted(tmp_path, name).values()) == {"new"}
    text = page(tmp_path).read_text(encoding="utf-8")
    assert text.startswith("# Models looked at\n") and "## Model 1: model\n" in text and f"**{BASE}:** org/base\n" in text
    assert [text.index(f"**{label}:**") for label in (*book.LABELS.values(), book.OWN)] == sorted(
        text.index(f"**{label}:**") for label in (*book.LABELS.values(), book.OWN))
    assert set(noted(tmp_path, name).values()) == {"same"}
    assert page(tmp_path).read_text(encoding="utf-8") == text


def test_what_the_card_says_anew_is_updated_and_what_a_person_wrote_is_kept(tmp_path: Path) -> None:
    noted(tmp_path, card(tmp_path))
    card(tmp_path, "org/other")
    assert noted(tmp_path, str(tmp_path / "model.md"))[BASE] == "updated"
    assert f"**{BASE}:** org/other\n" in page(tmp_path).read_text(encoding="utf-8")
    edited = page(tmp_path).read_text(encoding="utf-8").replace(f"**{BASE}:** org/other\n", f"**{BASE}:** I asked: it is org/secret\n")
    page(tmp_path).write_text(edited, encoding="utf-8")
    (done,) = note([card(tmp_path, "org/third")], tmp_path / "notebook").models
    (kept,) = [one for one in done.changes if one.label == BASE]
    assert (kept.what, kept.now) == ("kept", "org/third")
    assert page(tmp_path).read_text(encoding="utf-8") == edited


def test_a_field_that_was_taken_out_stays_out_and_a_note_that_was_taken_out_comes_back(tmp_path: Path) -> None:
    name = card(tmp_path)
    noted(tmp_path, name)
    text = page(tmp_path).read_text(encoding="utf-8")
    start, end = text.index(f"**{BASE}"), text.index(f"**{book.LABELS['task']}")
    page(tmp_path).write_text(text[:start] + text[end:], encoding="utf-8")
    assert noted(tmp_path, name)[BASE] == "removed"
    page(tmp_path).write_text("# Mine\n", encoding="utf-8")
    assert set(noted(tmp_path, name).values()) == {"new"}
    assert page(tmp_path).read_text(encoding="utf-8").startswith("# Mine\n\n## Model 1: model\n")


def test_models_are_numbered_and_two_of_one_name_are_two(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        note([card(tmp_path / folder, f"org/{folder}")], tmp_path / "notebook")
    text = page(tmp_path).read_text(encoding="utf-8")
    assert "## Model 1: model\n" in text and "## Model 2: model\n" in text and "org/a" in text and "org/b" in text
    assert len(list((tmp_path / "notebook" / "models").iterdir())) == 2


def test_windows_line_ends_and_trailing_spaces_are_no_edit(tmp_path: Path) -> None:
    noted(tmp_path, card(tmp_path))
    text = page(tmp_path).read_text(encoding="utf-8")
    page(tmp_path).write_bytes(text.replace("\n", "  \r\n").encode())
    card(tmp_path, "org/other")
    assert noted(tmp_path, str(tmp_path / "model.md"))[BASE] == "updated"


@pytest.mark.parametrize("seed", range(30))
def test_no_line_of_a_person_is_ever_lost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    names = [card(tmp_path, name=f"{letter}.md", text=f"### Example\n\n**Prompt:** hi\n\n**Output:** {letter}") for letter in "abc"]
    note(names, tmp_path / "notebook")
    mine = []
    for turn in range(6):
        lines = page(tmp_path).read_text(encoding="utf-8").split("\n")
        for _ in range(chance.randint(0, 3)):
            words = chance.choice(["my words {}", "```\nopened {}", "## My own heading {}", "- [ ] todo {}", f"**{BASE}:** {{}}", "~~~~ {}", "<!-- {} -->",
                                   "> {}", "# top {}", "<!-- tunelab model x -->{}"]).format(f"(mine {seed} {turn} {len(mine)})")
            lines.insert(chance.randint(0, len(lines)), words)
            mine += [line for line in words.split("\n") if "mine" in line]
        page(tmp_path).write_text("\n".join(lines), encoding="utf-8")
        for letter in "abc":
            card(tmp_path, f"org/base-{turn}", f"Turn {turn}", f"{letter}.md")
        note(names, tmp_path / "notebook")
        after = page(tmp_path).read_text(encoding="utf-8").split("\n")
        assert [one for one in mine if not any(one in line for line in after)] == []


def test_a_write_that_was_cut_short_does_not_look_like_an_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(tmp_path, card(tmp_path))
    before = page(tmp_path).read_bytes()
    card(tmp_path, "org/other")
    noted(tmp_path, str(tmp_path / "model.md"))  # JSON and page are new ...
    page(tmp_path).write_bytes(before)  # ... but the page did not reach the disk
    assert noted(tmp_path, str(tmp_path / "model.md"))[BASE] == "updated"


def test_a_damaged_json_makes_all_of_the_note_the_persons(tmp_path: Path) -> None:
    noted(tmp_path, card(tmp_path))
    before = page(tmp_path).read_bytes()
    for path in (tmp_path / "notebook" / "models").iterdir():
        path.write_text("{")
    assert noted(tmp_path, card(tmp_path, "org/other"))[BASE] == "kept"
    assert page(tmp_path).read_bytes() == before


def test_a_page_that_is_no_text_is_left_alone(tmp_path: Path) -> None:
    noted(tmp_path, card(tmp_path))
    page(tmp_path).write_bytes(b"# Mod\xe8les\n")
    with pytest.raises(StorageError, match="not UTF-8"):
        noted(tmp_path, card(tmp_path, "org/other"))
    assert page(tmp_path).read_bytes() == b"# Mod\xe8les\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="is a file"):
        note([card(tmp_path)], tmp_path / "file")


@pytest.mark.parametrize("text", [*HOSTILE, "\n".join(HOSTILE), "```text\n## Model 9: x\n<!-- tunelab model y -->\n**My notes:**"])
def test_no_card_breaks_the_page(tmp_path: Path, text: str) -> None:
    from markdown_it import MarkdownIt

    sheet = hostile_sheet(text)
    found = book.entries(sheet, "place")
    written = book.new_section(book.new_section("", "one", text, found), "two", "Second", found)
    lines = written.split("\n")
    assert [one.key for one in book.sections(lines)] == ["one", "two"]
    for section in book.sections(lines):
        assert [section.text(lines, label) for label in book.LABELS.values()] == [book.tidy(one.markdown) for one in found.values()]
    tokens = MarkdownIt("commonmark").enable("table").parse(written)
    inside = [child for token in tokens for child in token.children or ()]
    assert {token.content for token in tokens if token.type == "html_block"} == {"<!-- tunelab model one -->\n", "<!-- tunelab model two -->\n"}
    assert not [child for child in inside if child.type in ("html_inline", "image")]
    assert all(child.attrGet("href").startswith("https://huggingface.co/") for child in inside if child.type == "link_open")
    (tmp_path / "models.md").write_text(written, encoding="utf-8")
    notes = Notebook("t", "d", "v", book.read_notes(tmp_path))
    rendered = MarkdownIt("commonmark").parse(render_notebook_markdown(notes))
    assert not [one for token in rendered for one in (token, *(token.children or ())) if one.type in ("html_block", "html_inline", "link_open", "image")]
    from tests.unit.report.sheets import check_page

    check_page(render_notebook_html(notes))


def test_the_json_beside_it_has_the_sheet(tmp_path: Path) -> None:
    (done,) = note([card(tmp_path)], tmp_path / "notebook").models
    kept = json.loads(done.json.read_text(encoding="utf-8"))
    assert kept["fields"]["base_model"]["text"] == "org/base" and kept["sheet"]["base_model"]["value"] == ["org/base"]
