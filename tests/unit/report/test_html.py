"""The page: one file that loads nothing, in which nothing from outside is markup, and whose numbers are those of its content."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.unit.report.samples import HOSTILE, hostile, sample, training

from tunelab.data.gate import GateProblem
from tunelab.data.prepare import Counts
from tunelab.data.sample import Origin
from tunelab.data.statistics import Bucket, Language, Statistics
from tunelab.data.turns import Turns
from tunelab.report.content import Content, StepPoint, as_json
from tunelab.report.html import SCRIPT, relative_link, render_html, render_preview_html

_TAGS = frozenset({
    "html", "head", "meta", "title", "style", "body", "script", "a", "div", "nav", "p", "ol", "ul", "li", "main", "section", "h1", "h2",
    "h3", "h4", "span", "figure", "figcaption", "dl", "dt", "dd", "data", "article", "header", "details", "summary", "button", "del", "ins",
    "table", "thead", "tbody", "tr", "th", "td", "strong", "code", "pre", "svg", "g", "line", "rect", "circle", "path", "polyline", "text"})
_ATTRIBUTES = frozenset({
    "lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "aria-label", "aria-hidden", "aria-pressed", "aria-live",
    "aria-current", "role", "value", "type", "hidden", "dir", "title", "scope", "colspan", "data-label", "data-outcome", "data-filters",
    "data-shown", "data-tokens", "viewbox", "width", "height", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "d", "points", "text-anchor"})
_VOID = {"meta"}


class _Page(HTMLParser):
    """Everything in a page: elements, the stack at its end, text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.stack: list[str] = []
        self.shown: list[str] = []
        self.script = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"a doubled attribute in <{tag}>"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]}"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            self.script += data
        elif not {"style", "ins"} & set(self.stack):  # <ins> is what an answer lacks
            self.shown.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:80]}")

    @property
    def text(self) -> str:
        return "".join(self.shown)

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def _numbers(value: Any) -> set[float]:
    if isinstance(value, dict):
        return set().union(*(_numbers(one) for one in value.values()), {float(len(value))})
    if isinstance(value, list):
        return set().union(*(_numbers(one) for one in value), {float(len(value))})
    if isinstance(value, str):
        return {float(len(value))}
    return {float(value)} if isinstance(value, int | float) else set()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_is_never_markup(text: str) -> None:
    page = _Page(render_html(hostile(text)))
    assert page.stack == []
    assert {tag for tag, _ in page.elements} <= _TAGS
    assert {name for _, attributes in page.elements for name in attributes} <= _ATTRIBUTES
    assert sum(tag == "script" for tag, _ in page.elements) == 1 and page.script == SCRIPT


@pytest.mark.parametrize("text", HOSTILE)
def test_links_lead_into_the_page_or_to_files_beside_it(text: str) -> None:
    page = _Page(render_html(hostile(text)))
    assert all(re.fullmatch(r"#[\w-]+|\./[\w./%~-]+", href) for href in page.values("href"))


def test_every_link_into_the_page_has_its_place() -> None:
    page = _Page(render_html(sample()))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids)


def test_hidden_characters_are_written_out_and_the_page_is_utf8() -> None:
    page = render_html(hostile("a\x1b[31mb\u202ec\ud800d\x00e\u200bf"))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u200b\ud800-\udfff]", page)
    assert "␛[31m" in page and "⟨U+202E⟩" in page and page.encode("utf-8")


def test_the_policy_allows_only_the_script_of_the_page() -> None:
    page = _Page(render_html(sample()))
    policy = next(attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + digest + "'")


def test_nothing_is_loaded_from_anywhere() -> None:
    html = render_html(sample())
    page = _Page(html)
    style = html[html.index("<style>") : html.index("</style>")]
    assert not {"src", "srcset", "action", "style"} & {name for _, attributes in page.elements for name in attributes}
    assert not re.search(r"url\(|@import|https?:", style)
    assert not re.search(r"fetch|XMLHttp|import\(|innerHTML|eval|https?:", SCRIPT)


def test_every_number_that_is_shown_comes_from_the_content() -> None:
    content = sample()
    known = _numbers(as_json(content)) | {float(value) for row in (content.plan.rows if content.plan else ()) if (value := row.ratio) is not None}
    values = [float(value) for value in _Page(render_html(content)).values("value") if re.fullmatch(r"[-\d.e+]+", value)]
    made = {9.0}  # of how many steps the smoothed line is the mean
    assert len(values) > 60
    assert [value for value in values if value not in known | made] == []


def test_a_changed_number_changes_the_page() -> None:
    content = sample()
    assert content.plan is not None
    row = replace(content.plan.rows[0], measured=31_337)
    page = _Page(render_html(replace(content, plan=replace(content.plan, rows=(row,)))))
    assert "31,337" in page.text


def test_figures_name_the_file_that_they_came_from() -> None:
    page = render_html(sample())
    for place, label in ((1, "manifest"), (2, "events"), (3, "config"), (4, "preview"), (5, "comparison")):
        assert f'<a class="from" href="#source-{place}">{label}</a>' in page
        assert f'id="source-{place}"' in page
    assert 'href="./run/events.jsonl"' in page


def test_the_order_is_verdict_answers_general_run_plan_rows_config_provenance() -> None:
    page = _Page(render_html(sample()))
    sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert sections == ["verdict", "answers-1", "answers-2", "run", "plan", "trained-on", "config", "provenance"]


def test_every_answer_is_there_in_full_and_without_the_script() -> None:
    content = sample()
    assert content.comparison is not None
    page = _Page(render_html(content))
    for pair in content.comparison.pairs:
        assert pair.tuned in page.text and pair.base in page.text
    articles = [attributes for tag, attributes in page.elements if tag == "article"]
    assert len(articles) == len(content.comparison.pairs)
    assert not any("hidden" in attributes for attributes in articles)


def test_examples_come_first_and_losses_are_drawn_like_gains() -> None:
    content = sample()
    html = render_html(content)
    assert html.index(">task-13<") < html.index('id="prompt-1"')
    charts = re.findall(r'<svg class="chart intervals" viewBox="([^"]+)"', html)
    assert len(charts) == 4 and charts[0] == charts[2]


def test_answers_of_two_megabytes_are_kept_whole() -> None:
    content = sample()
    assert content.comparison is not None
    big = ("<b>&" + "x" * 60 + "\n") * 32_000
    pairs = (replace(content.comparison.pairs[0], base=big, tuned=big),)
    page = _Page(render_html(replace(content, comparison=replace(content.comparison, pairs=pairs))))
    assert page.text.count(big) == 2


@pytest.mark.parametrize("losses", [(), (1.5,), (1.5, math.nan), (math.nan,) * 3, (math.inf, 2.0, -math.inf)])
def test_a_run_with_few_or_broken_steps_still_has_a_page(losses: tuple[float, ...]) -> None:
    steps = tuple(StepPoint(index, loss, 1e-3, math.nan, 10, 0.1) for index, loss in enumerate(losses, start=1))
    content = replace(sample(), training=replace(training(), steps=steps, evaluations=(), status="failed", reason="The loss became nan."))
    assert "The loss became nan." in _Page(render_html(content)).text


def test_a_report_of_a_bare_run_has_only_its_parts() -> None:
    content = sample()
    bare = Content(content.title, content.made, content.tunelab, ("It was trained.",), replace(content.config, settings=(), findings=()),
                   replace(training(0), steps=(), evaluations=()))
    page = _Page(render_html(bare))
    assert [attributes["id"] for tag, attributes in page.elements if tag == "section"] == ["verdict", "run", "config", "provenance"]
    assert "It was trained." in page.text


def test_settings_of_the_lab_come_first_with_their_lines() -> None:
    html = render_html(sample())
    names = re.findall(r'<code class="name">([^<]+)</code>', html)
    assert names[:4] == ["base_model", "datasets", "datasets[0].type", "tokenizer_type"]
    assert names[-2:] == ["lr_scheduler", "weight_decay"]
    assert 'href="#line-16"' in html and 'id="line-27" class="warning"' in html


@pytest.mark.parametrize("path", ["/etc/passwd", "//host/x", "C:\\x", "\\\\host\\x", "", "a\u202eb", "c:/x"])
def test_a_path_that_is_not_beside_the_report_is_not_linked(path: str) -> None:
    assert relative_link(path) is None


def test_a_path_with_a_scheme_is_only_a_file_name() -> None:
    assert relative_link("javascript:alert(1)") == "./javascript%3Aalert%281%29"
    assert relative_link("../run/a b.jsonl") == "./../run/a%20b.jsonl"


@pytest.mark.parametrize("text", HOSTILE)
def test_the_preview_page_is_as_safe(text: str) -> None:
    states = ("context", "end_of_turn_trained", "truncated", "padding", "pack_border")
    row = {"index": 0, "origin": {"dataset": 0, "file": text, "row": 7}, "why": [text], "others": [{"dataset": 0, "file": text, "row": 8}],
           "tokens": [{"text": text, "id": number, "state": state} for number, state in enumerate(states)]}
    problem = GateProblem("overlap", text, text, 1, 2, True, (Origin(0, text, 1),))
    turns = Turns(3, {text: 2}, 1, (Origin(0, text, 1),))
    page = _Page(render_preview_html([row], {"rows": 3, "share": 0.25}, text, problems=[problem], turns=turns))
    assert page.stack == [] and {tag for tag, _ in page.elements} <= _TAGS
    assert {name for _, attributes in page.elements for name in attributes} <= _ATTRIBUTES
    assert "1 of 5 tokens trained" in " ".join(page.text.split()) and "25 %" in page.text


def test_the_preview_page_shows_tokens_figures_and_problems() -> None:
    emoji = [{"text": "", "id": 8, "state": "trained", "joined": True}, {"text": "🙂", "id": 9, "state": "trained"}]
    padding = [{"text": "<pad>", "id": 0, "state": "padding", "special": True}] * 30
    row = {"index": 4, "origin": {"dataset": 0, "file": "a.jsonl", "row": 5}, "why": ["longest: 33 tokens"],
           "tokens": [{"text": "Hi \n", "id": 7, "state": "context"}, *emoji, *padding]}
    buckets = tuple(Bucket(start, start + 9, count, 10 * count, 4 * count) for start, count in ((1, 30), (11, 0), (21, 12_345)))
    figures = Statistics(12_375, 99, 40, 0.4, 1, 5, 6, 20, 30, buckets, 3, 2, 1, 0, (Language("German", 3), Language("English", 1)), 4)
    html = render_preview_html([row], figures, "T", counts=Counts(20, 12, 5, 0, 3, 2), turns=Turns(20, {"user": 20}, 2),
                               problems=[GateProblem("rows_lost", "Lost.", "Raise it", 5, 20, False)])
    page = _Page(html)
    text = " ".join(page.text.split())
    for words in ("row 4", "longest: 33 tokens", "2 of 33 tokens trained", "<pad> × 30", "Hi·↵", "warning: rows_lost", "Raise it",
                  "What became of 20 rows", "Languages of what is trained", "Turns by role", "12.3k"):
        assert words in text, words
    assert text.count("🙂") == 1 and "\ufffd" not in html
    [shown] = [attributes for tag, attributes in page.elements if attributes.get("title") == "2 tokens: 8 9"]
    assert shown["data-tokens"] == "2" and "many" in shown["class"]
    labels = {attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"}
    assert "Rows by length: 12,375 rows of 1 to 30 tokens" in labels and "Languages: German 75 %, English 25 %" in labels
    assert "Rows: trained on 10, held out 2, too long 5, with nothing to train on 3" in labels
    assert not re.search(r"(?:src|href)=|https?://|@import|url\(", html)
