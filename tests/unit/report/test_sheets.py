"""Pages of sheets and of family trees: whole, readable, and nothing that a card says is markup in them."""

from __future__ import annotations

import re

import pytest
from tests.unit.report.samples import HOSTILE
from tests.unit.report.sheets import answer, check_page, hostile_shown, hostile_tree

from tunelab.hub.evidence import NOT_STATED, Evidence
from tunelab.hub.record import ModelRecord
from tunelab.hub.sheet import ModelSheet
from tunelab.hub.tree import Branch, Child, FamilyTree, Relative
from tunelab.report.family import drawing, render_tree_html
from tunelab.report.sheets import AboutBase, Shown, hub_link, render_sheets_html

SAID = (Evidence("model tree", "merge"),)


@pytest.mark.parametrize("text", [*HOSTILE, "\n".join(HOSTILE)])
def test_nothing_that_a_card_says_is_markup(text: str) -> None:
    check_page(render_sheets_html([hostile_shown(text), hostile_shown(text)], [text]))
    check_page(render_tree_html(hostile_tree(text)))


def test_a_sheet_says_what_is_not_stated_and_what_is_less_sure() -> None:
    sheet = ModelSheet(ModelRecord("a/b", is_hub_id=True), base_model=answer("x/base", "y/rival"))
    page = render_sheets_html([Shown(sheet, "a/b")])
    check_page(page)
    assert 'href="https://huggingface.co/a/b"' in page and "x/base" in page and "1 less sure" in page and "y/rival" in page
    assert page.count("not stated") == 12  # eleven fields, and the kind above them


def test_a_base_model_that_is_itself_made_from_another_is_said() -> None:
    assert AboutBase("x/sft", answer("finetune"), answer("x/base")).sentence == "x/sft is itself a fine-tune of x/base (card text, x/base:3)."
    assert AboutBase("x/ad", answer("adapter"), answer("x/base")).sentence.startswith("x/ad is itself an adapter of x/base")
    assert AboutBase("x/base", answer("base"), NOT_STATED).sentence == ""


def test_only_an_id_is_linked() -> None:
    assert hub_link("org/name") == "https://huggingface.co/org/name"
    assert hub_link("org/name", is_id=False) is None
    assert [hub_link(one) for one in ("a b", "javascript:alert(1)", "../x", "a/b/c", "a?b")] == [None] * 5


def test_the_picture_has_a_box_for_each_model_and_a_line_for_each_step() -> None:
    root = Relative("o/root", "finetune", SAID, 0.9, downloads=1_500_000)
    again = Relative("o/root", "finetune", SAID, 0.9, "again")
    parents = (Relative("o/a", "merge", SAID, 0.9, parents=(root,)), Relative("o/b", "merge", SAID, 0.9, parents=(again,)))
    tree = FamilyTree("o/mix", "", "merge", 10, parents, (Branch("quantized", 7, (Child("q/one", 5),)),))
    for width in (940, 340):
        picture = drawing(tree, width)
        assert picture.count('<rect') == 4 + 1 + 1 and picture.count('class="made') == 4 + 1
        assert "and 6 more" in picture and "7 quantised copies" in picture and "1.5M" in picture
        for x, w in re.findall(r'<rect x="([-\d.]+)" y="[-\d.]+" width="(\d+)"', picture):
            assert float(x) >= 0 and float(x) + float(w) <= width


def test_a_large_family_stays_inside_its_picture() -> None:
    parents = tuple(Relative(f"o/parent-with-a-long-name-{index}", "merge", SAID, 0.9) for index in range(24))
    picture = drawing(FamilyTree("o/mix", "", "merge", None, parents, ()), 340)
    assert picture.count("<rect") == 25
    height = float(re.findall(r'height="(\d+)" role', picture)[0])
    assert all(float(y) + 62 <= height for y in re.findall(r'<rect x="[-\d.]+" y="([-\d.]+)"', picture))
