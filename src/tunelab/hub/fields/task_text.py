"""What a card's text says of the task: its title, its first lines, "Task: ..." and the sentences on what it was tuned for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from tunelab.hub.card import Block, Card, plain_text
from tunelab.hub.evidence import Candidate, Evidence
from tunelab.hub.tasks import broader_than, tasks

LEAD = 1200
"""Characters of running text at the head of a card in which it says what it is."""
MAX_BLOCKS = 120
TITLE, LABELLED, PURPOSE, FIRST = 0.6, 0.78, 0.56, 0.5
_LATER = 0.42
_PURPOSE = re.compile(
    r"fine-? ?tun|finetun|trained (?:for|to|on|with|using|as)|designed|intended|optimi[sz]ed|speciali[sz]|purpose|can be used|used (?:for|to)|capable|aim|adapt|\bmodel for|\bmodel that|performs?\b|"
    r"feinabgestimm|trainiert|entwickelt|affiné|entraîné|conçu|ajustad|entrenad|diseñad|treinad|ajustad|addestrat|обуч|дообуч|предназнач|微调|微調|训练|訓練|用于|用於|ファインチュー|学習|目的|파인튜닝|미세|학습|훈련|"
    r"تدريب|ضبط|eğitil|ince ayar|tinh chỉnh|huấn luyện|dilatih|getraind|tränad|trenowan")
_LABEL = re.compile(r"[^\w]{0,8}(?:(?:down-?stream |nlp |main |primary |fine-?tuning |training |target )?tasks?(?: type)?|problem type|model type|use[- ]case|purpose|objective|primary use|intended use|aufgabe|tâche|tarea|tarefa|задача|任务|任務|タスク|작업|태스크|görev)"
                    r"\W{0,4}[:：|]\W{0,6}(?=\w)")
_QUIET = re.compile(r"evaluat|benchmark|result|limitation|bias|citation|cite|acknowledg|related|licen[sc]e|compar|other models|changelog|news|environment|hardware|hyperparameter|framework|risk|future|todo|out-of-scope|out of scope|how to|usage|"
                    r"original model|credits|references|metrics|performance|training procedure|ethical|files|provided|quant|install|评测|评估|評価|평가|引用", re.IGNORECASE)
_NOT_ITS = re.compile(r"\black of\b|\bbase (?:language )?models? for\b|\bwhereas\b|\bpost-training\b|\bnot (?:\w+ ){0,4}(?:for|intended|suitable|trained|fine-?tuned|be used|a)\b|\bisn't\b|outperform|unlike|compared (?:to|with)|\bcould be\b|can be (?:further )?fine-?tuned|to be fine-?tuned|future|should be fine|instead of|\bdownstream|out of scope")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|[。！？।]|\n")
_NAMES = re.compile(r"\S*/[\w.-]+|(?<!\S)(?=\S{0,80}\d)[a-z][\w.]{0,40}(?:-[\w.]{1,40}){2,8}|\S+\.(?:jsonl?|csv|txt|py)\b")  # ids, paths, "mistral-7b-instruct": they speak of other things
_LATER_STEMS = ("tun", "train", "task", "design", "intend", "purpose", "used", "special", "use case", "use-case", "objective", "problem type", "model type")
_ALL_STEMS = (*_LATER_STEMS, "微", "训", "訓", "用于", "用於", "任", "学習", "タスク", "目的", "학습", "튜닝", "작업", "обуч", "предназ", "задач", "entrena", "entraîn", "tarea", "tâche", "aufgabe", "تدريب", "eğit", "görev")
_TOKEN = re.compile(r"[a-z][a-z0-9;&]*")


@dataclass(frozen=True, slots=True)
class _Zone:
    """A piece of text that counts; `line`: of the file; `weight`: how much a task's word in it says."""

    text: str
    line: int
    weight: float
    item: bool = False


def text_candidates(card: Card) -> list[Candidate]:
    """Each task that the text speaks for, with the sentence that says it best."""
    best: dict[str, tuple[float, _Zone]] = {}
    again: dict[str, int] = {}
    for zone in _zones(card):
        said = words_in(_NAMES.sub(" ", zone.text.lower()) if zone.weight != TITLE else zone.text.lower())
        if not said:
            continue
        weight = zone.weight * (1.0 if len(said) < 3 else 0.7 if len(said) < 4 else 0.45)
        for name in said:
            again[name] = again.get(name, 0) + 1
            if weight > best.get(name, (0.0, zone))[0]:
                best[name] = (weight, zone)
    listed = [name for name, (_, zone) in best.items() if zone.item]
    if len(listed) > 3:  # a list of what an all-round model can do
        best |= {name: (best[name][0] * 0.65, best[name][1]) for name in listed}
    return [Candidate(name, round(1 - (1 - weight) * 0.93 ** min(again[name] - 1, 5), 3), (_evidence(card, zone),)) for name, (weight, zone) in best.items()]


def _evidence(card: Card, zone: _Zone) -> Evidence:
    """The sentence as it stands there; where Markdown's marks are in its way, its line."""
    line = card.quote(zone.line)
    return Evidence("card text", zone.text if zone.text.strip()[:40] in line or "<" in line else line or zone.text, card.file, zone.line)


def words_in(text: str) -> list[str]:
    """The tasks that a text in small letters names, without those that are only the broader ones of another."""
    found: dict[str, None] = {}
    starts, others = _index()
    for head in {word[:3] for word in _TOKEN.findall(text)} & starts.keys():
        for phrase, task in starts[head]:
            if task not in found and (place := text.find(phrase)) >= 0:
                while place > 0 and text[place - 1].isalnum():
                    place = text.find(phrase, place + 1)
                if place >= 0:
                    found[task] = None
    if not text.isascii():
        for phrase, task in others:
            if phrase in text:
                found[task] = None
    general = {one for name in found for one in broader_than(name)}
    return [name for name in found if name not in general]


@cache
def _index() -> tuple[Mapping[str, list[tuple[str, str]]], list[tuple[str, str]]]:
    """(first three letters -> ASCII phrases with their task, the other phrases)."""
    starts: dict[str, list[tuple[str, str]]] = {}
    others: list[tuple[str, str]] = []
    for task in tasks().values():
        for phrase in task.words:
            head = _TOKEN.match(phrase)
            if head:
                starts.setdefault(head.group()[:3], []).append((phrase, task.name))
            else:
                others.append((phrase, task.name))
    return starts, others


def _zones(card: Card) -> Iterator[_Zone]:
    lead, titles = LEAD, 0
    for block in card.blocks[:MAX_BLOCKS]:
        if block.kind == "fence" or (block.kind != "heading" and any(_is_quiet(one) for one in block.headings[1:])):
            continue
        if block.kind == "heading":
            if titles < 1 and block.info in ("1", "2", "3") and lead > 0 and not is_plain_heading(block.text):
                titles += 1
                yield _Zone(plain_text(block.text), block.line, TITLE)
        elif block.kind == "table":
            yield from (_Zone(": ".join(row), block.line, LABELLED) for row in block.rows[:30] if len(row) == 2 and _LABEL.match(": ".join(row).lower()))
        else:
            yield from _sentences(block, lead)
            lead -= len(block.text)


@lru_cache(maxsize=2048)
def _is_quiet(heading: str) -> bool:
    return _QUIET.search(heading) is not None


def is_plain_heading(text: str) -> bool:
    """Whether a heading names a section and not the model ("Model Summary")."""
    return _PLAIN.match(text.strip(" #*:")) is not None


_PLAIN = re.compile(r"(?:model |brief |short |quick |project )?(?:card|summary|description|details?|overview|info(?:rmation)?|introduction|about|intro|usage|example|note|merge)s?\Z", re.IGNORECASE)


def _sentences(block: Block, lead: int) -> Iterator[_Zone]:
    text = plain_text(block.text[:4000])
    line, begin = block.line, 0
    for stop in (*(found.end() for found in _SENTENCE.finditer(text)), len(text)):
        sentence = text[begin:stop]
        low = sentence.lower()
        if len(low) > 3 and (lead > 0 or any(stem in low for stem in (_LATER_STEMS if low.isascii() else _ALL_STEMS))) and not _NOT_ITS.search(low):
            if _LABEL.match(low):
                yield _Zone(sentence, line, LABELLED)
            elif _PURPOSE.search(low):
                yield _Zone(sentence, line, PURPOSE if lead > 0 else _LATER, block.kind == "item")
            elif lead > 0:
                yield _Zone(sentence, line, FIRST if lead == LEAD and begin == 0 else 0.36, block.kind == "item")
        line += sentence.count("\n")
        begin = stop
