"""A card taken apart: front matter with lines, blocks with lines; and any bytes at all give a card, soon."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelab.hub.card import MAX_BODY, links, plain_text, read_card

CARD = """---
language: no  # bokmål
license: apache-2.0
datasets:
- a/b
- c/d
---
# My model
This is a *fine-tuned* version of [x/y](https://huggingface.co/x/y) on **data**.

| a | b |
|---|---|
| 1 | `2` |

<details><summary>See axolotl config</summary>

```yaml
base_model: x
```
</details>

<!-- a template's remark,
on two lines -->
- item one
  > quote [l](http://x)

## Sub
<div><a href="https://huggingface.co/q/r">Base <b>model</b></a><br>next<script>no()</script></div>
"""


def test_front_matter_with_lines() -> None:
    card = read_card(CARD.encode())
    assert list(card.strings("language", "datasets")) == [("no", ("language",)), ("a/b", ("datasets", 0)), ("c/d", ("datasets", 1))]
    assert (card.line("license"), card.line("datasets", 1), card.start) == (3, 6, 8)
    assert card.quote(card.line("license")) == "license: apache-2.0"
    assert card.problems == ()


def test_blocks_say_what_they_are_and_where() -> None:
    blocks = {block.kind: block for block in read_card(CARD).blocks}
    assert blocks["table"].rows == (("a", "b"), ("1", "`2`")) and blocks["table"].line == 11
    assert (blocks["fence"].text, blocks["fence"].info, blocks["fence"].line) == ("base_model: x", "yaml", 17)
    assert blocks["quote"].plain == "quote l"
    assert blocks["html"].text == "[Base model](https://huggingface.co/q/r)\nnext"
    assert blocks["html"].headings == ("My model", "Sub")
    assert blocks["paragraph"].plain == "This is a fine-tuned version of x/y on data."
    lines = CARD.split("\n")
    for block in read_card(CARD).blocks:
        first = block.plain.split()[0]
        assert first in " ".join(lines[block.line - 1 : block.end]), block
    assert not any("remark" in block.text for block in read_card(CARD).blocks)


def test_what_emphasis_and_links_leave() -> None:
    assert plain_text("**a_b** _c_ `d` [e](f) <b>g</b> &amp; snake_case_name") == "a_b c d e g & snake_case_name"
    assert links('[a](https://x.org/p_(q)) and <a class="k" href="https://y.org">b</a>') == [("a", "https://x.org/p_(q)"), ("b", "https://y.org")]


@pytest.mark.parametrize(("text", "said"), [
    ("", "empty"), ("   \n", "empty"), ("---\nlicense: mit\nbase_model: a/b\n\n# Title\n", "not closed"),
    ("\n\n---\nlicense: mit\nbase_model: a/b\n---\n", "first line"), ("---\nlicense: mit\nbase_model: a/b\ntags: [x, y\n---\n", "one by one"),
    ("---\nlicense: mit\nbase_model: x/x\nbase_model: a/b\n---\n", "written twice"), ("---\n- a\n- b\n---\n", "key: value"),
    ("---\nlicense: mit\nbase_model: a/b\ntitle: a: b: c\n---\n", "`title` is not valid"),
    ("---\nlicense: mit\n\tbase_model: q\nbase_model: a/b\n---\n", "one by one")])
def test_what_is_wrong_is_said_and_the_rest_is_read(text: str, said: str) -> None:
    card = read_card(text)
    assert any(said in problem for problem in card.problems), card.problems
    if "a/b" in text:
        assert card.front["base_model"] == "a/b"


def test_encodings_and_line_ends() -> None:
    for content in (CARD.encode("utf-8-sig"), CARD.encode("utf-16"), CARD.replace("\n", "\r\n").encode(), CARD.replace("\n", "\r").encode()):
        card = read_card(content)
        assert card.line("license") == 3 and card.blocks[0].text == "My model"
    damaged = read_card(b"---\nlicense: mit\n---\n# caf" + b"\xe9\n")
    assert damaged.front["license"] == "mit" and "Line 4" in damaged.problems[0]


def test_a_card_of_two_megabytes_is_cut_and_says_so() -> None:
    card = read_card(CARD + "word " * 400_000)
    assert card.front["license"] == "apache-2.0" and len(card.body) <= MAX_BODY
    assert any("characters" in problem for problem in card.problems)


NASTY = (
    ">" * 300_000, "- " * 200_000, "[" * 300_000, "<" * 300_000, "```\n" * 80_000, "| a " * 90_000 + "\n" + "|-" * 90_000, "*" * 300_000,
    "<a " * 100_000, "---\n" + "- " * 90_000 + "\n---", "---\n" + "a: &a [*a,*a]\n" * 9_000 + "---", "<!--" * 90_000, "1. \n" * 40_000,
    "[a]: b\n" * 50_000, "\n".join(">" * (i % 50) + "- x" for i in range(15_000)), "![a](" * 60_000, "_a" * 150_000, "<a href=" * 40_000,
    "[x](y" * 60_000, "a: b\n" * 60_000)


@pytest.mark.parametrize("text", NASTY, ids=[repr(one[:8]) for one in NASTY])
def test_nothing_hangs(text: str) -> None:
    begun = time.process_time()
    card = read_card(text)
    for block in card.blocks:
        assert block.plain is not None and links(block.text) is not None
    assert time.process_time() - begun < 20  # a hang, not a speed: the slowest takes about two seconds


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"---\n", b"---\nlicense: mit\n---\n# T\n", b"| a |\n|---|\n", b"```\n", b"> - "]))
def test_any_bytes_give_a_card(content: bytes, before: bytes) -> None:
    card = read_card(before + content)
    assert all(1 <= block.line <= block.end for block in card.blocks)
    assert len(list(card.strings("license", "tags"))) >= 0


_yaml = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8)
KEYS = ("base_model", "datasets", "language", "license", "tags", "pipeline_tag", "widget", "model-index", "library_name", "base_model_relation",
        "inference", "metrics")


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), _yaml, max_size=6), st.text(max_size=200))
def test_any_front_matter_gives_a_sheet(front: dict[str, object], body: str) -> None:
    """Wrong types everywhere: no reader may fall over them."""
    import yaml

    from tunelab.hub.record import ModelRecord
    from tunelab.hub.sheet import as_json, read_sheet

    card = read_card(f"---\n{yaml.safe_dump(front, allow_unicode=True)}---\n{body}")
    assert as_json(read_sheet(ModelRecord("org/name", card)))["name"] == "org/name"
