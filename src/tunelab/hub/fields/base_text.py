"""What the sentences, labelled lines and tables of a card say of the model it was made from. Only words about the model itself count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from tunelab.hub.card import Block, Card
from tunelab.hub.evidence import Evidence
from tunelab.hub.mentions import FlatText, Mention, flat, mention_before, mentions_after
from tunelab.hub.model_names import is_model_like, model_name
from tunelab.hub.tables import pieces, stems, table

Where = Literal["after", "before", "many"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence's word on the model's origin. `about`: the other model that the sentence speaks of ("" or this model); `relative`: it is
    said in a clause on that other model ("X, which is a fine-tune of Y")."""

    value: str
    confidence: float
    evidence: Evidence
    about: str = ""
    relative: bool = False
    is_id: bool = False
    cue: str = ""


@dataclass(frozen=True, slots=True)
class _Cue:
    """`stems`: one of them must be in the small-lettered text before the pattern is tried. `strong`: an unknown name behind it counts."""

    name: str
    stems: tuple[str, ...]
    pattern: re.Pattern[str]
    where: Where
    confidence: float
    strong: bool = True
    gap: int = 6

    @property
    def of_other_scripts(self) -> bool:
        """It is of a language that is not written in ASCII."""
        return self.name in ("zh", "zh of", "ja", "ja prior", "ko", "ru uk", "tr fi hu hi")


def _cues(entries: list[dict[str, Any]]) -> Iterator[_Cue]:
    for one in entries:
        pattern = re.compile(pieces(one["pattern"]).replace("<tuned>", _TUNED), re.IGNORECASE)
        yield _Cue(one["name"], stems(one["stems"]), pattern, one["where"], one["confidence"], one.get("strong", True), one.get("gap", 6))


_TABLE = table("base_cues.toml")
_TUNED = pieces(_TABLE["tuned"])
_CUES = tuple(_cues(_TABLE["cue"]))
_LABEL = pieces(_TABLE["label"])
_PATTERNS = {name: re.compile(pieces(parts), re.IGNORECASE) for name, parts in _TABLE["patterns"].items()}
_LABELLED = re.compile(
    rf"[^\w\ue000]{{0,10}}(?:\d[.)] )?(?:训练|使用的?|所用)?{_LABEL}\s{{0,3}}(?:\[[^\[\]]{{0,80}}\]\s{{0,3}})?(?:\([^()]{{0,60}}\)\s{{0,3}})?"
    rf"[^\S\n]{{0,3}}(?:(?::|：|=|\||–|—|->|→| - )[\s:|*]{{0,6}}(?=\S)|\s(?=\ue000))",
    re.IGNORECASE,
)
_OF_COPY = re.compile(r"\W{0,10}(?:original|source|quanti[sz]ed from|converted from|parent)", re.IGNORECASE)
_LABEL_ONLY = re.compile(rf"\W{{0,6}}{_LABEL}\W{{0,4}}\Z", re.IGNORECASE)
_LABEL_STEMS = stems(_TABLE["label_stems"])
_STEMS = tuple(dict.fromkeys((*(stem for cue in _CUES for stem in cue.stems), *_LABEL_STEMS)))
_ASCII_STEMS = tuple(stem for stem in _STEMS if stem.isascii())
_CUES_OF = {stem: tuple(number for number, cue in enumerate(_CUES) if stem in cue.stems) for stem in _STEMS}
_OF_TUNING = frozenset({"tuned from", "tuned on", "tuned with", "tuning", "x tuned", "x trained", "trained from", "merge of"})
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\ue000\"'(\[*\d«À-Þ])|[。！？؟।]|\n\s*\n|\n(?=\s*[-*|#>\d])")
_SENTENCE_OR_LINE = re.compile(_SENTENCE.pattern + r"|\n")
_RELATIVE = re.compile(r"(?:,|\()?\s?\b(?:which|that|itself|who|in turn|und das|qui est|que es)\b[^.;]{0,40}\Z", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\ue000(\d+)\ue001")
_SCRATCH = re.compile(r"from scratch|from random|ground up", re.IGNORECASE)


def read_claims(card: Card, *, packed: bool, merged: bool) -> list[Claim]:
    """All that the card's text says, in its order. `packed`: it is a quantised copy, so that what follows "Original model card" speaks of
    another model; `merged`: enumerations of parents are expected."""
    found: list[Claim] = []
    weight, listing = 1.0, False
    for block in card.blocks:
        if block.kind == "heading" and is_original_card(block.text):
            weight = 0.35 if packed else 0.6
        if listing and block.kind == "item":
            found += _scaled(_listed(card, block), weight)
            continue
        listing = merged and _PATTERNS["lists_parents"].search(block.text[-200:]) is not None
        factor = weight * _weight_of_section(block)
        if block.kind == "table":
            found += _scaled(_of_table(card, block), factor)
        elif block.kind != "fence" and len(block.text) < 20_000:
            low = block.text.lower()
            hits = [stem for stem in (_ASCII_STEMS if low.isascii() else _STEMS) if stem in low]
            if hits:
                found += _scaled(_of_text(card, block, hits, merged), factor)
            if block.headings and block.kind != "heading" and len(block.text) < 300 and _LABEL_ONLY.match(block.headings[-1]):
                found += _scaled(_under_label(card, block, merged), weight)
    return found


def is_original_card(heading: str) -> bool:
    """Whether a heading says that a copy of the original model's card follows."""
    return "riginal" in heading.lower() and _PATTERNS["original"].search(heading) is not None


def _weight_of_section(block: Block) -> float:
    for heading in block.headings[1:] or (block.headings if block.kind != "heading" else ()):
        if _PATTERNS["quiet"].search(heading):
            return 0.65
        if _PATTERNS["quieter"].search(heading):
            return 0.76
    return 1.0


def _scaled(claims: Iterator[Claim], factor: float) -> list[Claim]:
    if factor == 1.0:
        return list(claims)
    return [replace(one, confidence=round(one.confidence * factor, 3)) for one in claims]


def _of_text(card: Card, block: Block, hits: list[str], merged: bool) -> Iterator[Claim]:
    text = flat(block.text, wrapped=block.kind != "html")
    yield from _labelled_lines(card, block, text, merged)
    low = text.text.lower()
    begin = 0
    for stop in (*(found.start() for found in (_SENTENCE if block.kind != "html" else _SENTENCE_OR_LINE).finditer(text.text)), len(text.text)):
        sentence = low[begin:stop]
        numbers = {number for stem in hits if stem in sentence for number in _CUES_OF[stem]}
        for number in sorted(numbers):
            if _CUES[number].of_other_scripts and sentence.isascii() and _CUES[number].name != "tr fi hu hi":
                continue
            yield from _of_sentence(card, block, text, _CUES[number], begin, stop)
        begin = stop


def _of_sentence(card: Card, block: Block, text: FlatText, cue: _Cue, begin: int, stop: int) -> Iterator[Claim]:
    for found in cue.pattern.finditer(text.text, begin, stop):
        ahead = text.text[max(begin, found.start() - 100) : found.start()]
        confidence = cue.confidence
        if cue.name == "version" and not _PATTERNS["made"].search(text.text[max(begin, found.start() - 90) : found.end()]):
            confidence = 0.58 if _PATTERNS["smaller"].search(ahead) else 0.45
        if _PATTERNS["other_subject"].search(ahead[-60:]) or _SCRATCH.match(text.text, found.end()):
            continue
        if _PATTERNS["compared"].search(ahead) or (cue.name in _OF_TUNING and _PATTERNS["possible"].search(ahead)):
            confidence *= 0.55
        if cue.where == "before":
            one = mention_before(text, found.start())
            mentions = [one] if one is not None and one.start >= begin else []
        else:
            many = cue.where == "many"
            mentions = [one for one in mentions_after(text, found.end(), strong=cue.strong, many=many, gap=cue.gap) if one.start < stop or many]
        for one in mentions:
            if block.kind == "heading" and cue.name == "x lora" and not re.search(r"\d", one.value):
                continue  # the model's own name
            if cue.name == "on x" and (block.kind != "heading" or block.info not in "12" or len(block.headings) > 1):
                continue
            if cue.name == "trained on" and not _is_trained_on(text, one):
                continue
            yield _claim((card, block, text), cue, found, one, confidence, (begin, max(stop, one.end)))


def _is_trained_on(text: FlatText, one: Mention) -> bool:
    """ "Trained on" is said of data, unless what follows is plainly a model."""
    after = text.text[one.end : one.end + 30].lower()
    return (
        one.sure
        and (
            re.match(r"\)?,? (?:base )?(?:model|llm|as (?:the|a) base|with|using|via)\b", after) is not None
            or bool(one.is_id and is_model_like(one.value))
        )
        and re.search(r"instruct-\d+k", one.value.lower()) is None
    )


def _claim(where: tuple[Card, Block, FlatText], cue: _Cue, found: re.Match[str], one: Mention, confidence: float, span: tuple[int, int]) -> Claim:
    (card, block, text), (begin, stop) = where, span
    if not one.sure and not one.is_path:
        confidence *= 0.85
    elif cue.name == "version" and one.is_id:
        confidence = max(confidence, 0.54)
    after = text.text[one.end : one.end + 40].lower()
    if re.match(r"\)?,? (?:model )?(?:architecture|framework|family|tokenizer)", after) and not one.is_id:
        cue = replace(cue, name="architecture")
    about, relative = "", False
    if cue.where != "before":
        ahead = text.text[begin : found.start()]
        last = None
        for mark in _PLACEHOLDER.finditer(ahead):
            last = (text.ids[int(mark.group(1))], mark.start())
        if last is None:
            named = mentions_after(FlatText(ahead, text.sources, text.ids), 0, strong=False, gap=4)
            last = (named[0].value, named[0].start) if named else None
        about = last[0] if last else ""
        clause = _RELATIVE.search(ahead)
        relative = bool(about and clause and re.search("itself|in turn|originally", clause.group(), re.IGNORECASE))
    quote_from = max(begin, min(found.start(), one.start) - 120)
    return Claim(
        one.value,
        round(confidence, 3),
        _evidence(card, block, text, quote_from, max(found.end(), one.end), min(stop, max(found.end(), one.end) + 60)),
        about,
        relative,
        one.is_id,
        cue.name,
    )


def _evidence(card: Card, block: Block, text: FlatText, start: int, needed: int, stop: int) -> Evidence:
    """The words around a claim, with the line that they begin on."""
    while start > 0 and start < needed and not text.text[start - 1].isspace():
        start += 1
    quote = text.written(start, max(stop, needed))
    start += len(text.text[start:needed]) - len(text.text[start:needed].lstrip())
    line = min(block.line + text.lines_before(start), block.end)
    return Evidence("card text", quote.strip(), card.file, line)


def _labelled_lines(card: Card, block: Block, text: FlatText, merged: bool) -> Iterator[Claim]:
    """ "Base model: X", one line of a list or paragraph at a time."""
    begin = 0
    for line in text.text.split("\n"):
        found = _LABELLED.match(line) if len(line) < 1_000 else None
        if found:
            of_copy = _OF_COPY.match(line) is not None
            yield from (
                replace(one, cue="label of copy") if of_copy else one
                for one in _valued(card, block, text, begin, begin + found.end(), begin + len(line), merged)
            )
        begin += len(line) + 1


def _valued(card: Card, block: Block, text: FlatText, begin: int, value: int, stop: int, merged: bool) -> Iterator[Claim]:
    rest = text.text[value:stop].strip()
    if not rest or _SCRATCH.search(rest) or (len(rest) < 30 and _PLACEHOLDER.search(rest) is None and model_name(rest) is None):
        return
    mentions = [one for one in mentions_after(text, value, many=merged, gap=5) if one.start < stop]
    evidence = _evidence(card, block, text, begin, value, stop)
    for one in mentions:
        yield Claim(one.value, 0.3 if one.is_path else 0.9 if one.sure else 0.8, evidence, is_id=one.is_id, cue="label")
    if not mentions and len(rest) < 60 and len(rest.split()) < 6:
        said = model_name(_PLACEHOLDER.sub("", rest).strip())
        if said is not None and not said.is_path and any(letter.isupper() or letter.isdigit() or letter == "-" for letter in said.value):
            yield Claim(said.value, 0.62, evidence, is_id=said.is_id, cue="label")


def _under_label(card: Card, block: Block, merged: bool) -> Iterator[Claim]:
    """The first words below a heading "Base model"."""
    text = flat(block.text)
    yield from _valued(card, block, text, 0, 0, len(text.text), merged)


def _listed(card: Card, block: Block) -> Iterator[Claim]:
    """An item of the list of a merge's parents."""
    text = flat(block.text)
    for one in mentions_after(text, 0, gap=3)[:1]:
        if not one.is_path:
            yield Claim(one.value, 0.88 if one.sure else 0.7, _evidence(card, block, text, 0, one.end, len(text.text)), is_id=one.is_id, cue="list")


def _of_table(card: Card, block: Block) -> Iterator[Claim]:
    """A row "Base model | X", or a column "Base model" whose rows agree."""
    for index, row in enumerate(block.rows[:200]):
        if len(row) >= 2 and len(row[0]) < 60 and row[1].strip() and _LABEL_ONLY.match(flat(row[0]).text):
            yield from _cell(card, block, row[1], index)
    if not block.rows or len(block.rows) > 12:
        return
    for column, title in enumerate(block.rows[0]):
        values = {row[column].strip() for row in block.rows[1:] if column < len(row) and row[column].strip()}
        if column > 0 and len(values) == 1 and len(title) < 60 and _LABEL_ONLY.match(flat(title).text):
            yield from _cell(card, block, next(iter(values)), 1)


def _cell(card: Card, block: Block, content: str, row: int) -> Iterator[Claim]:
    text = flat(content)
    line = min(block.line + row + (row > 0), block.end)
    evidence = Evidence("card text", card.quote(line), card.file, line)
    mentions = mentions_after(text, 0, gap=4)
    for one in mentions:
        yield Claim(one.value, 0.3 if one.is_path else 0.88 if one.sure else 0.75, evidence, is_id=one.is_id, cue="table")
    said = model_name(content) if not mentions and len(content) < 60 else None
    if said is not None and is_model_like(said.value):
        yield Claim(said.value, 0.6, evidence, is_id=said.is_id, cue="table")
