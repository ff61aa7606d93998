"""Data sets that a card's text names as this model's training data: sections, "Dataset: ..." lines, tables; sentences are `data_sentences`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from tunelab.hub.card import Block, Card, links, plain_text
from tunelab.hub.data_names import data_id, data_name, is_hub_id, is_model, is_name_like, is_well_known, trimmed
from tunelab.hub.evidence import Evidence
from tunelab.hub.fields.data_sentences import NOUN, Named, Reader, is_worth_reading

_DATA_HEADING = re.compile(
    rf"(?:\A|\b)(?:training|train|fine-?tun\w+|finetun\w+|sft|dpo|instruction|preference|pre-?training|trainings?)[ -]?(?:and (?:evaluation|validation|test(?:ing)?) |/ ?\w+ )?(?:{NOUN}|data|daten)|\A\W{{0,8}}(?:\d[\d.]* )?(?:the |our |model )?(?:training )?{NOUN}(?:\(s\))?(?: (?:used|sources?|details?|description|"
    r"information|overview|composition|summary|mix(?:ture)?|리스트|목록|列表))?\W{0,4}\Z|\A\W{0,8}(?:data|data sources?|data mix(?:ture)?|data used|data details|training sets?|datasets? (?:and|&) .{0,30}|.{1,20} (?:and|&) (?:training )?(?:data ?sets?|data))\W{0,4}\Z|训练数据|数据来源|学習データ|学習に使用|学習データセット|使用データ|"
    r"학습 ?데이터|훈련 ?데이터|사용 ?데이터|обучающ|данные для обучения|trainingsdaten|données d['’]entraînement|datos de entrenamiento|dados de treinamento|dati di addestramento|eğitim verisi|dữ liệu huấn luyện", re.IGNORECASE)
_EVAL_HEADING = re.compile(r"\beval\w*|benchmark|testing|\btest (?:set|data|results?|metrics)|\A\W*tests?\W*\Z|results?\b|performance|metrics|leaderboard|scores?\b|评测|评估|評価|평가|оценк", re.IGNORECASE)
_QUIET_HEADING = re.compile(r"citation|cite|bibtex|licen[sc]e|acknowledg|related|references|see also|other models|thanks|credits|\busage\b|how to|quick ?start|inference|limitation|bias|risk|disclaimer|intended|out[- ]of[- ]scope|prompt|faq|install|hyper-?param|framework|requirements|"
                            r"training logs|formatos?\b|引用|致谢|謝辞|original (?:model )?card|base model|format\b|structure|preprocessing|environment|repository", re.IGNORECASE)
_LABEL = re.compile(
    rf"\W{{0,8}}(?:the )?(?:(?:training|train|fine-?tun(?:ing|ed)|finetun(?:ing|ed)|sft|dpo|tuning|instruction|primary|main|source|preference|model|hf|used|task|base)[ -]?)?(?:(?:data ?sets?|data|corpus|corpora|data sources?|{NOUN})(?: ?\(s\))?(?: used| name| source| link| id| 이름)?(?: for (?:fine-?)?(?:training|tuning))?|"
    r"(?:trained|fine-?tuned|finetuned) on|训练数据|学習データ(?:セット)?|使用データ(?:セット)?|학습 ?데이터(?: ?셋)?|사용 ?데이터|trainingsdaten|données(?: d['’]entraînement)?|datos(?: de entrenamiento)?|dados(?: de treinamento)?|обучающие данные|данные|dati)"
    r"[^\S\n]{0,3}[*_`]{0,3}[^\S\n]{0,3}(?:\([^()\n]{0,40}\)[*_ ]{0,4})?(?:[:：|→]|->|=| [-–—] )[\s*_`]{0,6}", re.IGNORECASE)
_COLUMN = re.compile(rf"\W{{0,4}}(?:training |hf |hugging ?face )?(?:{NOUN}|dataset name|data source|corpus|source dataset|data)(?: ?(?:name|id|이름)| \(.{{1,20}}\))?\W{{0,4}}\Z", re.IGNORECASE)
_SCORES = re.compile(r"score|\bacc|\bf1\b|bleu|rouge|metric|benchmark|perplex|wer\b|shot|mmlu|\bem\b|precision|recall|pass@", re.IGNORECASE)
_EVALUATED = re.compile(r"\b(?:evaluat|test\b|test set|validation|benchmark|held-?out)", re.IGNORECASE)
_SPLIT = re.compile(r",(?!\d{3})|;|、|，|؛|&|\+(?=\s)|\s+and\s+|\s+und\s+|\s+et\s+|\s+y\s+|\s+и\s+|→|\n|\s/\s|<br>|•")
_DESCRIBES = re.compile(r"\.\s|\s[-–—]\s|\.\Z|:\s|\s(?:from|for|which|that|with|by|in|consisting|containing|using|on|split|via)\s", re.IGNORECASE)
_COUNTED = re.compile(r"\d[\d,. ]*\s?(?:件|条|건|개|文|만|万|samples|examples|rows|pairs|k\b|张|行)", re.IGNORECASE)
_LIST_FOLLOWS = re.compile(r"(?:\bdata ?sets|\bcorpora|\bdata sources|datensätze\w?|jeux de données|conjuntos de (?:datos|dados)|数据集|データセット|데이터 ?셋|датасет\w{0,3}|корпус\w{0,3})[^.:：\n]{0,40}[:：]\W{0,3}\Z", re.IGNORECASE)
MAX_BLOCKS = 500


def read_named(card: Card, *, is_base: bool, own_name: str) -> list[Named]:
    """All that the text says, in its order. `is_base`: what was used in pretraining counts; `own_name`: the model's own name."""
    found: list[Named] = []
    reader = Reader(card, is_base, own_name)
    under: int | None = None
    after = 0
    for block in card.blocks[:MAX_BLOCKS]:
        if under is not None and block.kind == "item" and _indent(card, block) > under and block.line - after <= 3:
            found += _value(card, block, block.text.split("\n")[0], block.line, 0.74 if under >= 0 else 0.68)
            after = block.end
            continue
        under = None
        low = block.text.lower()
        section = _section(block)
        if block.kind in ("fence", "heading") or (section == "quiet" and "datasets/" not in low) or not (section == "data" or is_worth_reading(low)):
            continue
        if block.kind == "table":
            found += _of_table(card, block, section)
            continue
        label = _LABEL.match(block.text) if section not in ("eval", "quiet") else None
        if label is not None:
            rest = block.text[label.end() :]
            first = rest.split("\n")[0]
            if first.strip(" *_`") and not re.search(r":\W{0,3}\Z", first):
                found += _value(card, block, rest if "](" in rest else first, block.line, 0.74)
            else:
                under, after = _indent(card, block) if block.kind == "item" else -1, block.end
        if section not in ("eval", "quiet"):
            found += _labelled_lines(card, block)
            last = block.text[-160:]
            if under is None and block.kind == "paragraph" and _LIST_FOLLOWS.search(last):
                under, after = -1, block.end
        if label is None:
            found += reader.sentences(block, section)
        if section == "data" and block.kind == "item" and label is None:
            found += _entry(card, block)
    return found


def _section(block: Block) -> str:
    """"data", "eval", "quiet" or "": what the nearest heading that says so makes of it."""
    for heading in reversed(block.headings if len(block.headings) < 2 else block.headings[1:]):  # the title says nothing of this
        said = _sort_of(heading)
        if said:
            return said
    return ""


@lru_cache(maxsize=2048)
def _sort_of(heading: str) -> str:
    if _DATA_HEADING.search(heading) and not re.match(r"\W*(?:evaluation|testing|eval|test|base)\b", heading, re.IGNORECASE):
        return "data"
    return "eval" if _EVAL_HEADING.search(heading) else "quiet" if _QUIET_HEADING.search(heading) else ""


def _indent(card: Card, block: Block) -> int:
    line = card.lines[block.line - 1].expandtabs(4) if block.line <= len(card.lines) else ""
    return len(line) - len(line.lstrip())


def _labelled_lines(card: Card, block: Block) -> Iterator[Named]:
    """"Dataset: value" on a later line of a block."""
    if "\n" not in block.text:
        return
    for number, line in enumerate(block.text.split("\n")[1:60], 1):
        label = _LABEL.match(line)
        if label:
            yield from _value(card, block, line[label.end() :], block.line + number, 0.7)


def _value(card: Card, block: Block, text: str, line: int, confidence: float) -> Iterator[Named]:
    """The names in a field's value: links, ids, then what lies between commas."""
    text = text[:1500]
    evidence = Evidence("card text", card.quote(line), card.file, line)
    linked = [name for label, address in links(text) if (name := data_id(address) or (data_name(label) if "huggingface.co" not in address and not label.startswith(("http", "!")) and is_name_like(label) else None))]
    if linked:
        for name in linked:
            yield Named(name, confidence + 0.08 if is_hub_id(name) else confidence, evidence)
        return
    flat = re.sub(r"\([^()]{0,300}\)?|（[^（）]{0,300}）", " ", plain_text(text.split("\n")[0])).strip()
    flat = _DESCRIBES.split(flat, maxsplit=1)[0]
    for number, piece in enumerate(_SPLIT.split(flat)[:40]):
        name = trimmed(piece)
        if name and not _COUNTED.search(piece) and is_name_like(name) and _is_value_name(name, "`" in text or "**" in text, first=number == 0) and not is_model(name.split()[0] if " " not in name else name):
            yield Named(name, confidence, evidence)


def _is_value_name(name: str, marked: bool, *, first: bool) -> bool:
    """Whether a value is a name and not a description ("high-quality dialogues in German")."""
    words = name.split()
    if any(is_hub_id(word) for word in words):
        return len(words) == 1
    if not name.isascii():
        return (first and len(name) <= 40 and len(words) <= 6) or any(word[0].isupper() for word in words)
    strong = sum(word[0].isupper() or word[0].isdigit() or "_" in word or any(letter.isupper() for letter in word) for word in words)
    if len(words) == 1:
        return strong > 0 or marked or "-" in name or is_well_known(name)
    return len(words) <= 7 and strong >= (len(words) + 1) // 2


def _of_table(card: Card, block: Block, section: str) -> Iterator[Named]:
    head, *rows = block.rows or ((),)
    if not head or section == "quiet":
        return
    wanted = next((number for number, cell in enumerate(head) if _COLUMN.match(plain_text(cell))), None)
    if wanted is not None and section in ("data", "") and not any(_SCORES.search(cell) for cell in head) and len(head) > 1:
        for number, row in enumerate(rows[:40]):
            if wanted < len(row) and not re.search(r"\btest\b|total|evaluation", " ".join(row), re.IGNORECASE):
                yield from _value(card, block, row[wanted], block.line + 2 + number, 0.72 if section == "data" else 0.6)
        return
    for number, row in enumerate(block.rows[:60]):
        if len(row) == 2 and section != "eval" and plain_text(row[0]).strip() and _LABEL.match(f"{row[0]}: "):
            yield from _value(card, block, row[1], block.line + number + (1 if number else 0), 0.74)


_ENTRY = re.compile(r"\W{0,4}(?:\d+[.)] )?(\*\*|`|__)([^*`\n]{2,90})(?:\*\*|`|__)|\W{0,3}([^:–—(\n]{2,70}?)(?:\s[-–—:(]|:|\Z)")
_PROPERTY = re.compile(r"(?:size|columns?|samples?|loss|source|format|license|split|splits|languages?|train|test|validation|total|fields?|description|domains?|number|type|types|preprocessing|quality|tokens?|filtering|epochs?|content|input|output|label|labels|classes|features?|notes?|task|evaluation|eval|dev|training|train set|test set|"
                       r"coverage|collection|annotations?|approximate|average|max\w*|data\w*|version|date|year|language\(s\)|structure|schema|creation|augmentation|cleaning|balance|limitations?|bias|prompt|response|instruction|text|words|examples?|rows|entries|images|hours|duration|time|sampling)\b", re.IGNORECASE)


def _entry(card: Card, block: Block) -> Iterator[Named]:
    """An item of a section on data: the name with which it begins."""
    text = block.text.split("\n", 1)[0][:400]
    head = _ENTRY.match(text)
    if head is None or links(text) or _EVALUATED.search(text[:60]):
        return
    name = trimmed(head.group(2) or head.group(3) or "")
    if not name or _PROPERTY.match(name) or not is_name_like(name) or is_model(name) or not _is_value_name(name, False, first=True):
        return
    words = name.split()
    strong = len(words) > 1 or "_" in name or any(letter.isupper() for letter in name[1:]) or any(letter.isdigit() for letter in name) or not name.isascii()
    if strong:
        yield Named(name, 0.6, Evidence("card text", text, card.file, block.line))
