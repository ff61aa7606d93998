"""What the terminal shows of a preview: the same with and without colour, and nothing of the data is taken for markup."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from tunelab.cli.show.preview import show_preview
from tunelab.data.gate import GateProblem
from tunelab.data.prepare import Counts
from tunelab.data.preview import PreviewRow, PreviewToken, TokenState
from tunelab.data.sample import Origin
from tunelab.data.statistics import Bucket, Language, Statistics
from tunelab.data.turns import Turns
from tunelab.workflow.preview import Previewed


def previewed(*tokens: PreviewToken, packed: bool = False) -> Previewed:
    row = PreviewRow(3, Origin(0, "a.jsonl", 4), tokens, ("longest: 9 tokens",), (Origin(0, "b.jsonl", 7),) if packed else ())
    figures = Statistics(10, 1000, 400, 0.4, 5, 90, 100, 180, 200, (Bucket(5, 100, 7, 500, 100), Bucket(101, 200, 3, 500, 300)), 2, 1, 0, 0,
                         (Language("English", 9), Language("undetermined", 1)), 10)
    problem = GateProblem("untrained_end", "In 1 of 10 rows [red]no end[/red].", "train_on_eos: turn", 1, 10, False)
    return Previewed((row,), figures, Counts(14, 10, 2, 1, 1, 0), (problem,), Turns(14, {"user": 20, "[bold]": 1}, 1, (Origin(0, "a.jsonl", 2),)),
                     packed, True)


def printed(result: Previewed, colour: bool = False) -> str:
    out = StringIO()
    show_preview(Console(file=out, markup=False, emoji=False, highlight=False, width=200, force_terminal=colour,
                         color_system="standard" if colour else None), result)
    return out.getvalue()


def token(text: str, state: TokenState, joined: bool = False, special: bool = False) -> PreviewToken:
    return PreviewToken(text, 5, state, joined, special)


ROW = (token("<s>", TokenState.CONTEXT, special=True), token("Q\n", TokenState.CONTEXT), token("</s>", TokenState.END_OF_TURN_UNTRAINED),
       token("", TokenState.TRAINED, joined=True), token("🙂", TokenState.TRAINED), token(" [b]\x1b[2J", TokenState.TRAINED),
       token("</s>", TokenState.END_OF_TURN_TRAINED))


def test_without_colour_marks_say_it() -> None:
    text = printed(previewed(*ROW))
    assert "<s>Q↵\n✗</s>⟦🙂 [b]␛[2J⟧✓</s>" in text and "\x1b" not in text
    assert "row 3, a.jsonl:4: 7 tokens, 4 trained" in text and "longest: 9 tokens" in text and "⟦trained⟧" in text


def test_with_colour_there_are_no_marks_around_trained_text() -> None:
    text = printed(previewed(*ROW), colour=True)
    assert "⟦" not in text and "\x1b[" in text and "\x1b[2J" not in text and "🙂" in text


def test_packed_rows_show_borders_and_padding() -> None:
    text = printed(previewed(*ROW[:2], token("<s>", TokenState.PACK_BORDER), token("cut", TokenState.TRUNCATED),
                             *[token("<pad>", TokenState.PADDING)] * 1200, packed=True))
    assert "packed row 3" in text and "── b.jsonl:7 ──\n<s>⟪cut⟫[<pad> × 1,200]" in text
    assert "another row begins" in text and "cut off" in text and "--packed shows them so" not in text


def test_figures_stand_below() -> None:
    text = printed(previewed(*ROW))
    for words in ("14 rows read, 10 kept for training, 0 held out, 2 too long, 1 too short, 1 with nothing to train on",
                  "1,000 tokens, 400 trained (40%)", "2 duplicate rows", "English 90%", "20 user, 1 [bold]",
                  "1 rows with an empty answer, first a.jsonl:2",
                  "warning [untrained_end]: In 1 of 10 rows [red]no end[/red].", "edit: train_on_eos: turn", "--packed shows them so"):
        assert words in text, words
    bars = [line for line in text.splitlines() if "▒" in line and "-" in line]
    assert bars[0].count("█") == 6 and bars[0].count("▒") == 24 and bars[0].endswith(" 7")
