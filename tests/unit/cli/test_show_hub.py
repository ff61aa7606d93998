"""Sheets and trees in a terminal: many as a table, hostile text as data."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from tests.unit.report.samples import HOSTILE
from tests.unit.report.sheets import answer, hostile_shown, hostile_tree

from tunelab.cli.show.hub_sheet import IN_FULL, show_sheets
from tunelab.cli.show.hub_tree import show_tree
from tunelab.errors import ModelError
from tunelab.hub.record import ModelRecord
from tunelab.hub.sheet import ModelSheet
from tunelab.report.sheets import Shown
from tunelab.workflow.hub_show import Sheets


def console(out: StringIO, width: int = 100) -> Console:
    return Console(file=out, markup=False, emoji=False, highlight=False, width=width, force_terminal=False)


@pytest.mark.parametrize("text", [*HOSTILE, "[red]no[/red] [/] :smile:", "\x1b]0;title\x07\x9b2J"])
def test_hostile_text_is_data(text: str) -> None:
    out = StringIO()
    show_sheets(console(out), Sheets((hostile_shown(text),), (ModelError(text),), True))
    show_tree(console(out), hostile_tree(text))
    said = out.getvalue()
    assert not set(said) & (set(map(chr, range(32))) - {"\n"}) and "\x9b" not in said and "\u202e" not in said


def test_one_is_in_full_and_many_are_a_table() -> None:
    shown = Shown(ModelSheet(ModelRecord("a/b"), base_model=answer("x/base")), "a/b")
    out = StringIO()
    show_sheets(console(out), Sheets((shown,)))
    assert "x/base  90 %" in out.getvalue() and "not stated" in out.getvalue() and "card text, x/base:3" in out.getvalue()
    out = StringIO()
    show_sheets(console(out), Sheets((shown,) * (IN_FULL + 1), many=True))
    assert out.getvalue().count("x/base") == IN_FULL + 1 and len(out.getvalue().splitlines()) == IN_FULL + 3
