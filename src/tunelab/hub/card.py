"""A model card taken apart: its front matter with line numbers, its body as blocks (headings, paragraphs, fences, tables, ...) with theirs.

Whatever the bytes are, there is a `Card`: what could not be read stands in `problems`. Markdown is parsed by markdown-it-py (block structure
only), YAML by the bounded event reader of `config.yaml_events`; a front matter that is not YAML as a whole is read entry by entry.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any, Literal

from tunelab.config.finding import KeyPath
from tunelab.config.source import Position
from tunelab.config.yaml_events import parse
from tunelab.errors import ConfigError

MAX_BODY = 400_000
"""Characters of the body that are taken apart; cards beyond are cut there, and say so."""
MAX_FRONT = 200_000
_FENCE = re.compile(r"---[ \t]*\Z")
_ENTRY = re.compile(r"""["']?[A-Za-z_][\w .-]{0,60}["']?[ \t]*:(?:[ \t]|\Z)""")
_LINK = re.compile(r"!?\[([^\[\]]{0,400})\]\(\s*<?([^\s()<>]{1,1000}(?:\([^\s()<>]{0,200}\))?)>?[^()]{0,200}\)")
_ANCHOR = re.compile(r"""<a\s[^<>]{0,400}?href\s*=\s*["']?([^"'\s<>]{1,1000})["']?[^<>]{0,200}>([^<]{0,400})""", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,2000}>")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_MARKS = re.compile(r"\*\*|__|(?<![\w`])[*_](?=\S)|(?<=\S)[*_](?![\w`])|`+|~~")

BlockKind = Literal["heading", "paragraph", "item", "quote", "fence", "table", "html"]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the body, in the order of the page.

    `text`: its Markdown source without the marks of its kind (of a fence what is between the fences, of HTML the text without tags, of a
    table its rows joined by line feeds and cells by " | "). `line`..`end`: its 1-based lines in the file. `info`: of a fence the language, of
    a heading its level as a digit. `rows`: of a table. `headings`: the headings above it, outermost first, as plain text.
    """

    kind: BlockKind
    text: str
    line: int
    end: int
    info: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    headings: tuple[str, ...] = ()

    @property
    def plain(self) -> str:
        """The text without Markdown's marks: links are their labels, emphasis is gone."""
        return plain_text(self.text) if self.kind != "fence" else self.text


@dataclass(frozen=True)
class Card:
    """A card's `text` as it was read; `front`: the values of its front matter, `positions`: where each of its keys stands (lines of the file);
    `start`: the line on which the body begins; `problems`: what is wrong with it, in sentences with lines."""

    text: str
    file: str = "README.md"
    front: Mapping[str, Any] = field(default_factory=dict)
    positions: Mapping[KeyPath, Position] = field(default_factory=dict)
    start: int = 1
    problems: tuple[str, ...] = ()

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the file."""
        return self.text.split("\n")

    @cached_property
    def body(self) -> str:
        """The Markdown behind the front matter, at most MAX_BODY characters of it."""
        return "\n".join(self.lines[self.start - 1 :])[:MAX_BODY]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The body taken apart."""
        return tuple(_blocks(self.body, self.start))

    def line(self, *path: str | int) -> int | None:
        """The line of a key of the front matter."""
        place = self.positions.get(path)
        return place.line if place else None

    def strings(self, *keys: str) -> Iterator[tuple[str, KeyPath]]:
        """Every text under the given top-level keys, one or a list of them, with its key path: what a card gives as `datasets: x` or as a list.

        Numbers and booleans are given as they are written in the file (YAML reads the language code `no` as false).
        """
        for key in keys:
            value = self.front.get(key)
            for path, one in ([((key, index), one) for index, one in enumerate(value)] if isinstance(value, list) else [((key,), value)]):
                text = self.written(path) if isinstance(one, (bool, int, float)) else one
                if isinstance(text, str) and text.strip():
                    yield text.strip(), path

    def written(self, path: KeyPath) -> str:
        """A scalar as the file writes it, "" when its place is not known."""
        place = self.positions.get(path)
        if place is None:
            return ""
        line = self.lines[place.line - 1] if place.line <= len(self.lines) else ""
        found = re.match(r"""\s*(?:-\s+)?(?:["']?[\w.-]+["']?\s*:\s+)?(.*)""", line)
        return re.sub(r"\s+#.*", "", found.group(1)).strip().strip("\"'") if found else ""

    def quote(self, line: int | None) -> str:
        """A line of the file, for evidence."""
        return self.lines[line - 1].strip() if line is not None and 0 < line <= len(self.lines) else ""


EMPTY = Card("", problems=("There is no card (README.md).",))


def read_card(content: bytes | str, file: str = "README.md") -> Card:
    """Take a card apart. Never fails: bytes that are not UTF-8 are replaced, and said."""
    text, problems = _decoded(content)
    if not text.strip():
        return Card(text, file, problems=(*problems, "The card is empty."))
    front, positions, start = _front_matter(text.split("\n"), file, problems)
    if len(text) > MAX_BODY + MAX_FRONT:
        problems.append(f"The card has {len(text):,} characters; its first {MAX_BODY:,} were read.")
    return Card(text, file, front, positions, start, tuple(problems))


def plain_text(text: str) -> str:
    """Markdown (or HTML) of a line or paragraph as a reader sees it: links are their labels, emphasis, code marks and tags are gone."""
    text = _LINK.sub(r"\1", text)
    text = _TAG.sub("", text)
    return html.unescape(_MARKS.sub("", text))


def links(text: str) -> list[tuple[str, str]]:
    """(label, address) of the links in Markdown or HTML text, images too."""
    found = [(label, address) for label, address in _LINK.findall(text)]
    if "<a" in text or "<A" in text:
        found += [(label, html.unescape(address)) for address, label in _ANCHOR.findall(text)]
    return found


def _decoded(content: bytes | str) -> tuple[str, list[str]]:
    problems: list[str] = []
    if isinstance(content, str):
        text = content
    elif content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", "replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            problems.append(f"Line {line}: bytes that are not UTF-8; they were replaced.")
            text = content.decode("utf-8-sig", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd"), problems


def _front_matter(lines: list[str], file: str, problems: list[str]) -> tuple[Mapping[str, Any], Mapping[KeyPath, Position], int]:
    """(values, places, first line of the body)."""
    first = next((index for index, line in enumerate(lines) if line.strip()), 0)
    if not _FENCE.match(lines[first]):
        return {}, {}, 1
    end = next((index for index in range(first + 1, len(lines)) if _FENCE.match(lines[index])), None)
    if end is None:
        end = next((index for index in range(first + 1, len(lines)) if not _belongs(lines[index])), len(lines))
        problems.append(f"Line {first + 1}: the front matter is not closed by a line of three dashes.")
        body = end + 1
    else:
        body = end + 2
    if first:
        problems.append(f"Line {first + 1}: the front matter does not begin on the first line, so that the Hub does not read it.")
    yaml = "\n" * (first + 1) + "\n".join(lines[first + 1 : end])
    if len(yaml) > MAX_FRONT:
        problems.append(f"The front matter has {len(yaml):,} characters; its entries were not read beyond {MAX_FRONT:,}.")
        yaml = yaml[: yaml.rfind("\n", 0, MAX_FRONT)]
    return (*_values(yaml, file, problems), body)


def _belongs(line: str) -> bool:
    """Whether a line can be part of a front matter that nobody closed."""
    return bool(_ENTRY.match(line)) or line.lstrip().startswith("- ") or line.startswith(("  ", "\t"))


def _values(yaml: str, file: str, problems: list[str]) -> tuple[Mapping[str, Any], Mapping[KeyPath, Position]]:
    try:
        value, positions, repeats = parse(file, yaml)
    except ConfigError as error:
        problems.append(f"{(error.where or '').removeprefix(f'{file}:') or 'Front matter'}: {error.message} Its entries were read one by one.")
        return _entry_by_entry(yaml, file, problems)
    if value is None:
        return {}, {}
    if not isinstance(value, dict):
        problems.append("The front matter is not a list of `key: value` entries.")
        return {}, {}
    problems.extend(f"Line {one.line}: `{one.path[-1]}` is written twice (first on line {one.first_line}); the last one counts." for one in repeats)
    return {str(key): one for key, one in value.items()}, positions


def _entry_by_entry(yaml: str, file: str, problems: list[str]) -> tuple[Mapping[str, Any], Mapping[KeyPath, Position]]:
    """Each top-level entry parsed alone, on its own lines; one that is not YAML even so keeps its first line as text."""
    lines = yaml.split("\n")
    starts = [index for index, line in enumerate(lines) if _ENTRY.match(line)]
    values: dict[str, Any] = {}
    places: dict[KeyPath, Position] = {}
    for begin, end in pairwise((*starts, len(lines))):
        try:
            value, positions, _ = parse(file, "\n" * begin + "\n".join(lines[begin:end]))
        except ConfigError:
            key, _, rest = lines[begin].partition(":")
            key = key.strip().strip("\"'")
            value = {key: rest.strip().strip("\"'")} if rest.strip() else {key: _plain_items(lines[begin + 1 : end])}
            positions = {(key,): Position(begin + 1, 1, 0, 0, 0)}
            problems.append(f"Line {begin + 1}: the entry `{key}` is not valid YAML.")
        if isinstance(value, dict):
            values.update({str(key): one for key, one in value.items()})
            places.update(positions)
    return values, places


def _plain_items(lines: list[str]) -> list[str]:
    """The items of a broken list, as text."""
    return [line.strip()[2:].strip().strip("\"'") for line in lines if line.strip().startswith("- ")]


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"maxNesting": 12}).enable("table").disable(["inline", "reference", "code"], ignoreInvalid=True)


def _blocks(body: str, start: int) -> Iterator[Block]:
    """The blocks of a body whose first line is line `start` of the file."""
    headings: list[tuple[int, str]] = []
    container: list[str] = []
    rows: list[list[str]] | None = None
    for token in _markdown().parse(_COMMENT.sub(_blank, body)):
        kind = token.type
        above = tuple(text for _, text in headings)
        line, end = (token.map[0] + start, token.map[1] + start - 1) if token.map else (start, start)
        if kind == "table_open":
            rows, table_lines = [], (line, end)
        elif kind == "table_close" and rows is not None:
            cells = tuple(tuple(row) for row in rows)
            yield Block("table", "\n".join(" | ".join(row) for row in cells), *table_lines, rows=cells, headings=above)
            rows = None
        elif rows is not None:
            if kind == "tr_open":
                rows.append([])
            elif kind == "inline" and rows:
                rows[-1].append(token.content)
        elif kind == "fence":
            yield Block("fence", token.content.rstrip("\n"), line, end, token.info.strip().lower(), headings=above)
        elif kind == "html_block":
            text = _html_text(token.content)
            if text:
                yield Block("html", text, line, end, headings=above)
        elif kind in ("heading_open", "bullet_list_open", "ordered_list_open", "blockquote_open"):
            container.append(token.tag if kind == "heading_open" else kind)
        elif kind in ("heading_close", "bullet_list_close", "ordered_list_close", "blockquote_close"):
            container.pop()
        elif kind == "inline" and token.content.strip():
            inside = container[-1] if container else ""
            if inside[:1] == "h" and inside[1:].isdigit():
                level, text = int(inside[1]), plain_text(token.content).strip()
                headings = [one for one in headings if one[0] < level]
                yield Block("heading", token.content, line, end, str(level), headings=tuple(one for _, one in headings))
                headings.append((level, text))
            else:
                yield Block("quote" if inside == "blockquote_open" else "item" if inside else "paragraph", token.content, line, end, headings=above)


def _blank(match: re.Match[str]) -> str:
    """A comment's lines without its text: they are the template's words, not the author's."""
    return "\n" * match.group().count("\n")


class _TextOf(HTMLParser):
    """The text of HTML as lines: blocks and <br> end a line, script and style are left out, links are kept as Markdown."""

    _BREAKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "summary", "details", "ul", "ol", "table", "pre", "blockquote"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0
        self._href: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self._silent += 1
        elif tag in self._BREAKS:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" | ")
        elif tag == "a":
            self._href.append(dict(attrs).get("href") or "")
            self.parts.append("[")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._silent = max(0, self._silent - 1)
        elif tag in self._BREAKS:
            self.parts.append("\n")
        elif tag == "a" and self._href:
            self.parts.append(f"]({self._href.pop()})")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def _html_text(source: str) -> str:
    if "<" not in source:
        return source.strip()
    reader = _TextOf()
    try:
        reader.feed(source)
        reader.close()
    except (ValueError, AssertionError):  # html.parser on markup declarations that make no sense
        return _TAG.sub("", source).strip()
    return "\n".join(line.strip() for line in "".join(reader.parts).split("\n") if line.strip())
