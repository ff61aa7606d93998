"""Licence and languages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

from tunelab.hub.card import Card, plain_text
from tunelab.hub.evidence import Answer, Candidate, Evidence, ranked
from tunelab.hub.licence_names import IN_TEXT, hub_licence
from tunelab.hub.record import ModelRecord

_NO_LICENCE = frozenset({"other", "unknown", "none", "n/a", "tbd", "todo", "[more information needed]", "more information needed", "custom", "-", "unlicensed"})
_LICENCE_LINE = re.compile(r"\W{0,8}(?:model |weights? )?(?:licen[sc]e|lizenz|licencia|licença|licenza|лицензия|许可证|许可协议|ライセンス|라이선스)(?: ?\(s\))?[*_` ]{0,6}[:：|][\s*_`]{0,6}(.{2,120})", re.IGNORECASE)
_LICENSED = re.compile(r"licen[sc]|lizenz|licenci|licenç|лиценз|许可|ライセンス|라이선스|released under|terms", re.IGNORECASE)
_OTHERS_LICENCE = re.compile(r"\b(?:data ?sets?|data|code|scripts?|base model|original model|llama\.cpp|repository's code|paper|tokenizer|images?)\b", re.IGNORECASE)
_LICENCE_HEADING = re.compile(r"licen[sc]e|lizenz|licencia|лиценз|许可|ライセンス|라이선스", re.IGNORECASE)
_LANGUAGE_LINE = re.compile(r"\W{0,8}(?:(?:source |target |model |supported |training )?languages?(?: ?\(s\))?(?: ?\(nlp\))?(?: supported| covered)?|sprachen?|langues?|idiomas?|lingu[ae]|языки?|语言|言語|언어|diller?|ngôn ngữ|bahasa)[*_` ]{0,6}[:：|][\s*_`]{0,6}(.{2,300})", re.IGNORECASE)
_CODE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,2}\Z")
_IS_LANGUAGE_MODEL = re.compile(r"\b(?:model|llm|bert|gpt|t5|adapter|lora|fine-?tune|classifier|assistant|chatbot|version|checkpoint|text|language)\b", re.IGNORECASE)
_PAIR = re.compile(r"(?:\A|[-_/])(?:opus-mt(?:-tc)?(?:-big|-base)?-)?([a-z]{2,3})[-_](?:to[-_])?([a-z]{2,3})(?:[-_]|\Z)")
MAX_BLOCKS, LEAD = 80, 700


def read_licence(record: ModelRecord) -> Answer:
    """The licence, as the Hub's identifier where it is one."""
    return ranked([*_licence_metadata(record), *_licence_text(record.card)])


def _licence_metadata(record: ModelRecord) -> Iterator[Candidate]:
    card = record.card
    named = list(card.strings("license_name"))
    for value, path in card.strings("license", "licence"):
        line = card.line(path[0], *path[1:])
        evidence = Evidence("card metadata", card.quote(line) or f"license: {value}", card.file, line)
        if value.lower().strip("[] ") in _NO_LICENCE:
            if named or value.lower() != "other":
                continue
            link = next((one for one, _ in card.strings("license_link")), "")
            found = _from_link(link)
            yield Candidate(found or "other", 0.9 if found else 0.6, (evidence,), "" if found else "The licence is none that the Hub has a name for.")
        else:
            yield Candidate(hub_licence(value) or value.lower()[:80], 0.95, (evidence,))
    for value, path in named:
        line = card.line(path[0], *path[1:])
        if value.lower() not in _NO_LICENCE:
            yield Candidate(hub_licence(value) or value.lower()[:80], 0.93, (Evidence("card metadata", card.quote(line), card.file, line),), "A licence of its own: `license: other` with this name.")
    for tag in record.tags:
        if tag.startswith("license:") and tag[8:].lower() not in _NO_LICENCE:
            yield Candidate(hub_licence(tag[8:]) or tag[8:].lower(), 0.93, (Evidence("tag", tag),))


def _from_link(link: str) -> str | None:
    """The licence at an address: ".../licenses/by-nc/4.0/", ".../LICENSE-2.0", "ai.google.dev/gemma/terms"."""
    low = link.lower()
    creative = re.search(r"creativecommons\.org/licenses/([a-z-]{2,8})/(\d\.\d)", low)
    if creative:
        return hub_licence(f"cc-{creative.group(1)}-{creative.group(2)}")
    for part, name in (("gemma/terms", "gemma"), ("apache.org/licenses/license-2.0", "apache-2.0"), ("opensource.org/licenses/mit", "mit"), ("llama3_3", "llama3.3"), ("llama3_2", "llama3.2"), ("llama3_1", "llama3.1"), ("llama-3.1", "llama3.1"),
                       ("llama-3.2", "llama3.2"), ("llama-3.3", "llama3.3"), ("llama3/license", "llama3"), ("llama-2", "llama2"), ("llama.meta.com/license", "llama2")):
        if part in low:
            return name
    return None


def _licence_text(card: Card) -> Iterator[Candidate]:
    for block in card.blocks[: MAX_BLOCKS * 3]:
        if block.kind in ("fence", "heading") or ("license" not in (low := block.text[:3000].lower()) and not _LICENSED.search(low) and not (block.headings and _LICENCE_HEADING.search(block.headings[-1]))):
            continue
        lines = [" | ".join(row) for row in block.rows[:60]] if block.kind == "table" else block.text[:3000].split("\n")
        for number, text in enumerate(lines):
            found = _LICENCE_LINE.match(text)
            place = block.line + number + (1 if block.kind == "table" and number else 0)
            evidence = Evidence("card text", plain_text(text), card.file, place)
            if found:
                value = plain_text(found.group(1)).strip(" |*_.")
                known = hub_licence(value) or _named_in(value) or _from_link(found.group(1))
                if known or (value.lower() not in _NO_LICENCE and len(value.split()) <= 5 and _NAMED.match(value)):
                    yield Candidate(known or value.lower(), 0.72, (evidence,))
            elif _LICENSED.search(text) or (block.headings and _LICENCE_HEADING.search(block.headings[-1])):
                known = _named_in(text)
                if known:
                    yield Candidate(known, 0.4 if _OTHERS_LICENCE.search(text) else 0.66, (evidence,))


_NAMED = re.compile(r"[A-Za-z][\w .+-]{1,60}\Z")


def _named_in(text: str) -> str | None:
    found = IN_TEXT.search(text)
    return hub_licence(found.group()) if found else None


def read_languages(record: ModelRecord) -> Answer:
    """Languages as ISO 639 codes."""
    return ranked([*_language_metadata(record), *_language_text(record)], many=True)


def _language_metadata(record: ModelRecord) -> Iterator[Candidate]:
    card = record.card
    for value, path in card.strings("language", "languages"):
        line = card.line(path[0], *path[1:])
        for one in re.split(r"[,;/]|\band\b", value)[:200]:
            code = language_code(one)
            if code:
                yield Candidate(code, 0.95, (Evidence("card metadata", card.quote(line) or f"language: {one}", card.file, line),))
    for value, path in card.strings("tags"):
        code = _names().get(value.lower()) or (value if value in _codes() and value not in ("id", "or", "as", "is", "it", "no", "my") else None)
        if code:
            yield Candidate(code, 0.5, (Evidence("card metadata", card.quote(card.line(path[0], *path[1:])), card.file, card.line(path[0], *path[1:])),))
    for tag in record.tags:
        if tag in _codes() or tag in ("multilingual", "code"):
            yield Candidate(tag, 0.85, (Evidence("tag", tag),))
    if "translation" in (record.pipeline_tag, card.front.get("pipeline_tag")) or "opus-mt" in record.name:
        pair = _PAIR.search(record.name.rpartition("/")[2].lower())
        if pair and set(pair.groups()) <= _codes():
            yield from (Candidate(code, 0.6, (Evidence("name", record.name),)) for code in pair.groups())


def language_code(text: str) -> str | None:
    """The code of a language given as a code ("pt-BR"), a locale or a name ("English", "日本語"); None for anything else."""
    said = text.strip().strip("\"'[]").strip()
    low = said.lower()
    if low in ("multilingual", "code", "mul"):
        return "multilingual" if low == "mul" else low
    if low in _names():
        return _names()[low]
    if low in ("iw", "in", "cn", "jp", "kr", "cz", "ua", "gr", "dk", "se", "vn"):
        return {"iw": "he", "in": "id", "cn": "zh", "jp": "ja", "kr": "ko", "cz": "cs", "ua": "uk", "gr": "el", "dk": "da", "se": "sv", "vn": "vi"}[low]
    if _CODE.match(said) or _CODE.match(low):
        head = re.split(r"[-_]", low)[0]
        return head if head in _codes() else low if len(head) == 3 else None
    return None


def _language_text(record: ModelRecord) -> Iterator[Candidate]:
    card, lead = record.card, LEAD
    for block in card.blocks[:MAX_BLOCKS]:
        if block.kind in ("fence",):
            continue
        lines = [" | ".join(row) for row in block.rows[:40]] if block.kind == "table" else block.text[:1500].split("\n")
        for number, text in enumerate(lines):
            found = _LANGUAGE_LINE.match(text)
            place = block.line + number + (1 if block.kind == "table" and number else 0)
            if found:
                for code in _codes_in(plain_text(found.group(1))):
                    yield Candidate(code, 0.74, (Evidence("card text", plain_text(text), card.file, place),))
            elif lead > 0 and block.kind in ("heading", "paragraph") and _IS_LANGUAGE_MODEL.search(text):
                for code in _codes_in(plain_text(text), capitals=True)[:3]:
                    yield Candidate(code, 0.42, (Evidence("card text", plain_text(text), card.file, place),))
        lead -= len(block.text)


def _codes_in(text: str, *, capitals: bool = False) -> list[str]:
    """Languages named in a text. `capitals`: names only where they are written with a capital, as in running text."""
    found: dict[str, None] = {}
    for word in re.findall(r"[^\W\d_]{2,24}(?:-[A-Za-z]{2,4})?", text[:300]):
        code = _names().get(word.lower()) if not capitals or word[0].isupper() or not word.isascii() else None
        if code is None and not capitals and (word in _codes() or word == "multilingual"):
            code = word
        if code:
            found[code] = None
    if not text.isascii():
        found |= dict.fromkeys(code for name, code in _names().items() if not name.isascii() and name in text)
    return list(found)


@cache
def _names() -> Mapping[str, str]:
    lines = resources.files("tunelab.hub").joinpath("known", "languages.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {name: code for code, _, names in (line.partition("\t") for line in lines) for name in names.split("|")}


@cache
def _codes() -> frozenset[str]:
    return frozenset(_names().values())
