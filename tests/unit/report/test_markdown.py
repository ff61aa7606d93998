"""The Markdown: whole, and nothing that came from outside means anything in it."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from tests.unit.report.samples import HOSTILE, hostile, sample

from tunelab.report.markdown import code, escaped, fenced, render_markdown, table

_SAFE = {"heading", "paragraph", "inline", "text", "softbreak", "strong", "code_inline", "fence", "bullet_list", "list_item", "table", "thead",
         "tbody", "tr", "th", "td", "text_special"}


def _tokens(markdown: str) -> list[Token]:
    flat = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    return [one for token in flat for one in (token, *(token.children or ()))]


def _shape(markdown: str) -> list[str]:
    """The blocks of a document, without what is in them."""
    return [token.type for token in _tokens(markdown) if token.block and token.type != "inline"]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_is_never_markup(text: str) -> None:
    kinds = {re.sub(r"_(open|close)$", "", token.type) for token in _tokens(render_markdown(hostile(text)))}
    assert kinds <= _SAFE


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_does_not_change_the_structure(text: str) -> None:
    assert _shape(render_markdown(hostile(text))) == _shape(render_markdown(hostile("harmless")))


@pytest.mark.parametrize("text", HOSTILE)
def test_addresses_stand_only_in_code(text: str) -> None:
    for token in _tokens(render_markdown(hostile(text))):
        if token.type in ("text", "text_special"):
            assert not re.search(r"://|www\.|@", token.content)


@pytest.mark.parametrize("text", HOSTILE)
def test_hidden_characters_are_written_out(text: str) -> None:
    markdown = render_markdown(hostile(text))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", markdown)


@pytest.mark.parametrize("text", ["`", "``` ````", "a\n```\nb", "x" * 10 + "`" * 40, " ", "~~~"])
def test_a_fence_and_a_code_span_hold_their_text(text: str) -> None:
    (block,) = [token for token in _tokens(fenced(text)) if token.type == "fence"]
    assert block.content.rstrip("\n") == text.rstrip("\n")
    spans = [token.content for token in _tokens(code(text)) if token.type == "code_inline"]
    assert spans == ([text.replace("\n", "↵")] if text.strip() else [])


@pytest.mark.parametrize("text", ["- a", "1. a", "10) a", "+ a", "# a", "> a", "---", "===", "* * *", "    indented", "&amp;", "_a_ *b* ~~c~~",
                                  "a\\"])
def test_escaped_text_reads_as_it_was(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("strikethrough").parse(escaped(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert "".join(one.content for one in tokens[1].children or ()) == " ".join(text.split())


def test_every_answer_is_there_in_full() -> None:
    content = sample()
    assert content.comparison is not None
    blocks = {token.content.rstrip("\n") for token in _tokens(render_markdown(content)) if token.type == "fence"}
    assert {pair.tuned.rstrip("\n") for pair in content.comparison.pairs} <= blocks
    assert {pair.base.rstrip("\n") for pair in content.comparison.pairs} <= blocks


def test_the_parts_are_in_the_order_of_the_page() -> None:
    heads = re.findall(r"^## (.*)$", render_markdown(sample()), re.MULTILINE)
    assert heads == ["The task", "General prompts", "The task: every answer", "General prompts: every answer", "The run",
                     "The plan against what happened", "What it was trained on", "The config, explained", "Where it all comes from"]


def test_trained_tokens_stand_between_marks() -> None:
    assert '⟦{"call": "light", "room": "garage", "level": 25}<|im_end|>⟧↵' in render_markdown(sample())


@pytest.mark.parametrize("text", ["a|b", "|", "``|``", "a\\\\|b"])
def test_a_bar_in_a_cell_does_not_end_it(text: str) -> None:
    tokens = _tokens(table(("one", "two"), [(code(text), escaped(text))]))
    cells = [tokens[index + 1] for index, token in enumerate(tokens) if token.type == "td_open"]
    assert ["".join(one.content for one in cell.children or ()) for cell in cells] == [text, text]
