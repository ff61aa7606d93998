"""Sheets and trees that say hostile things in every field, and a reader of pages that lets nothing active through."""

from __future__ import annotations

from html.parser import HTMLParser

from tests.unit.report.samples import HOSTILE

from tunelab.config.finding import Finding, Severity
from tunelab.hub.card import Card
from tunelab.hub.crosscheck import CardFinding
from tunelab.hub.evidence import Answer, Candidate, Evidence
from tunelab.hub.fields.evaluation import EvaluationClaim
from tunelab.hub.fields.example import Example
from tunelab.hub.record import ModelRecord
from tunelab.hub.sheet import ModelSheet
from tunelab.hub.tree import Branch, Child, FamilyTree, Relative
from tunelab.report.sheets import AboutBase, Shown, ShownConfig

_TAGS = frozenset({
    "html", "head", "meta", "title", "style", "body", "script", "a", "div", "p", "ul", "li", "main", "h1", "h2", "h3", "h4", "span", "figure",
    "figcaption",
    "dl", "dt", "dd", "article", "header", "details", "summary", "q", "table", "thead", "tbody", "tr", "th", "td", "strong", "code", "svg", "g", "rect",
    "path", "text"})


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS, f"<{tag}>"
        for name, value in attrs:
            assert not name.startswith("on"), f"{name} in <{tag}>"
            assert name not in ("src", "srcset", "xlink:href", "action", "style"), f"{name} in <{tag}>"
            assert name != "href" or (value or "").startswith(("#", "./", "https://huggingface.co/")), value
        self.scripts += tag == "script"
        if tag != "meta" and not (self.get_starttag_text() or "").endswith("/>"):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]}"
        self.stack.pop()


def check_page(text: str) -> None:
    """A page is whole, has one script (ours), links to the Hub alone, and shows no control characters."""
    page = _Page()
    page.feed(text)
    page.close()
    assert not page.stack and page.scripts == 1
    assert not any(one in text for one in ("\x00", "\x1b", "\u202e", "\ud800"))


def answer(*values: str, many: bool = False) -> Answer:
    return Answer(tuple(Candidate(one, 0.9 - index / 10, (Evidence("card text", one, one, 3), Evidence("name", one)), one)
                        for index, one in enumerate(values)), many)


def hostile_sheet(text: str = "\n".join(HOSTILE)) -> ModelSheet:
    """A sheet in which every text is hostile."""
    said, place = answer(text, text + "2"), Evidence("card text", text, text, 3)
    record = ModelRecord(text, Card(text, text, problems=(text,)), is_hub_id=True, gated=text, downloads=12, missing=(text,))
    return ModelSheet(record, said, said, said, answer(text, text + "2", many=True),
                      (Example(text, text, 0.9, place, text), Example(text, None, 0.9, place)), said, said, said, said, said, said, {text: said}, None,
                      (EvaluationClaim(text, text, text, place, text),),
                      (CardFinding("TH1", "error", text, (place,)),))


def hostile_shown(text: str = "\n".join(HOSTILE)) -> Shown:
    finding = Finding("TL101", Severity.ERROR, text, text, 3)
    return Shown(hostile_sheet(text), text, ShownConfig(3, (), (finding,), text), AboutBase(text, answer("finetune"), answer(text)))


def hostile_tree(text: str = "\n".join(HOSTILE)) -> FamilyTree:
    place = (Evidence("card text", text, text, 3),)
    far = Relative(text + "far", text, place, 0.9, "missing", text)
    near = Relative(text + "near", "merge", place, 0.9, "gated", text, 3, (far, Relative(text, "finetune", place, 0.9, "cycle", text)))
    return FamilyTree(text, text, text, 3, (near, Relative("a/b", "merge", place, 0.9)),
                      (Branch(text, 3, (Child(text, 1, 2),)), Branch("adapter", None)), (text,))
