"""Data sets in running text: what a sentence says that the model was trained on, and not what it only was measured with or what others used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tunelab.hub.card import Block, Card, links, plain_text
from tunelab.hub.data_names import data_id, is_hub_id, is_model, is_name_like, is_well_known, trimmed
from tunelab.hub.evidence import Evidence
from tunelab.hub.model_names import is_model_like

NOUN = (r"(?:\b(?:data ?sets?|corpus|corpora|training data)\b|datensatz\w{0,3}|datensätze\w?|korpus|jeux? de données|conjuntos? de (?:datos|dados)|set di dati|数据集|資料集|数据集合|データセット|データ|コーパス|데이터 ?셋|데이터|말뭉치|датасет\w{0,3}|набор\w{0,3} данных|данных|"
        r"корпус\w{0,3}|veri set\w{0,6}|bộ dữ liệu|مجموعة بيانات|zbior\w{0,3} danych|datamängd\w{0,3}|datasett\w{0,3}|datensets?)")
"""What data sets are called, in several languages."""
_NOUN = re.compile(NOUN, re.IGNORECASE)
_VERB = re.compile(
    r"\b(?:fine-?\s?-?tun(?:ed|es|e|ing)|finetun(?:ed|es|e|ing)|(?:re)?train(?:ed|s|ing)?|tuned|distill?ed|aligned|adapted|sft|dpo|learn(?:ed|t|s)|pre-?train(?:ed|ing)|rl-trained|instruct-tuned|built|created|developed)\b|trainiert|feinabgestimm|feinjustier|entraîn|affin[ée]|fine-?tuné|entrenad|ajustad|treinad|addestrat|обуч|дообуч|"
    r"训练|訓練|微调|微調|学習|ファインチュー|チューニング|학습|훈련|파인 ?튜닝|미세|eğit|huấn luyện|tinh chỉnh|dilatih|تدريب|ضبط|getraind|tränad|trent\b|trenowan|प्रशिक्षित", re.IGNORECASE)
_PREPOSITION = re.compile(r"\b(?:on|using|with|over|from|off of|via|auf|sur|sobre|con|em|na|su|на|op|på|med|mit|usando|avec)\b(?! top)", re.IGNORECASE)
_USES = re.compile(r"\b(?:we|i) (?:have )?(?:used?|combined?|collected|chose|employed)\b|\b(?:uses?|using|utili[sz]es|leverag\w+) the\b|\bdata ?sets?,? (?:that was |which was |that were )?(?:used|for|includes?|consists?|comes?|are|is|were|was)\b|\btraining data (?:is|was|comes|came|consists|are|were|contains?|includes?)\b|"
                   r"verwendet|utilis|usad|utilizad|использ|使用|利用|사용|kullan|来自", re.IGNORECASE)
_AGAIN = re.compile(r"continu|further|domain-adapt|additional|fine-?tun|finetun", re.IGNORECASE)
_EVALUATED = re.compile(r"\b(?:evaluat\w+|tested|benchmark\w*|test set|test split|validation set|dev set|held-?out|scores?|accuracy of|achiev\w+|outperform\w*|zero-shot|measured|compar\w+|calibrat\w+|contaminat\w+)\b|imatrix|评测|评估|評価|평가", re.IGNORECASE)
_NOT_THIS = re.compile(r"\bnot (?:been )?(?:fine-?|pre-?)?(?:trained|tuned|included|used)|\b(?:you can|can be|could be|to be|should be|will be|plan to|future|would)\b (?:\w+ )?(?:fine-?tuned|trained|used|adapted)|\be\.g\.|inspired by|similar to|tokenizer|reward model was|in contrast|thanks? to", re.IGNORECASE)
_TRAINER = re.compile(r"(?:fine-?tuned version of .{1,300}?|trained from scratch|has been trained|was (?:fine-tuned|trained)) on (?:the |an? )?(.{1,160}?) dataset", re.IGNORECASE)
_MEANS = frozenset({"using", "with", "via", "mit", "avec", "con", "com", "med", "met", "usando", "em", "over"})
"""Prepositions that stand before tools as often as before data."""
_DATA_WORD = re.compile(r"wiki|corpus|corpora|news|tweets|reviews|collection|bank|crawl|pile|books?|dump|qa\b|bench|challenge|sequences|dialog|conversations|instruct|articles|pairs|papers|abstracts|forum|posts|comments|stories|\bset\b|archive|library|database", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'`(\[*À-ÞА-Я\d])|[。！？।؟]|\n\s*\n|\n(?=\s*[-*•|#>])|(?<=:)\n|<br>")
_WORD = re.compile(r"[^\s,;|]+")
_GAP = re.compile(r"(?<![\w-])(?:conversational|instruction|instruct|training|train|text|chat|dialogue?|sentiment|movie|reviews?|news|classification|translation|summari[sz]ation|preference|code|math|speech|question-answering|qa|multilingual|parallel|ner|benchmark|language|fine-?tuning|following|emotion|sms|public|open|image|web|[a-z]+-language) ?-?\Z",
                  re.IGNORECASE)
_ENDS = frozenset(["for", "using", "with", "by", "at", "to", "which", "that", "where", "in", "until", "achieving", "via", "during", "and/or", "so", "because", "before", "after", "while", "but", "when", "as", "then", "whose", "hosted", "provided", "see", "resulting", "containing", "consisting", "curated", "generated", "created", "collected", "such", "including"])
_KNOWN = frozenset(["alpaca", "dolly", "sharegpt", "squad", "imdb", "wikipedia", "oscar", "c4", "pile", "orca", "openorca", "slimorca", "ultrachat", "openhermes", "guanaco", "oasst", "oasst1", "oasst2", "samsum", "xsum", "cnn/dailymail", "cnn", "gsm8k", "metamath", "metamathqa", "spider", "wikisql", "bookcorpus", "dialogsum", "conll2003", "multinli", "snli", "mnli", "xnli", "sst-2", "sst2", "ultrafeedback", "fineweb", "redpajama", "slimpajama", "starcoderdata", "opus", "wmt", "flan", "tulu", "lima", "moss", "belle", "firefly", "capybara", "airoboros", "platypus", "evol-instruct", "wizardlm", "magicoder", "glaive", "commonvoice", "librispeech", "fleurs", "mc4", "cc100", "openassistant", "tinystories", "soda", "hh-rlhf", "pippa", "limarp"])
_STEMS = ("data", "corp", "train", "tun", "distill", "dpo", "sft", "align", "korpus", "learn", "daten", "fein", "entren", "trein", "addestr", "affin", "ajust", "conjunto", "trenow", "tränad", "trent", "latih", "veri set")
_OTHER_STEMS = ("数据", "資料", "データ", "コーパス", "学習", "데이터", "말뭉치", "학습", "данных", "датасет", "обуч", "корпус", "训练", "微调", "dữ liệu", "بيانات", "données", "entraîn", "veri ")
MAX_TEXT = 6000


def is_worth_reading(low: str) -> bool:
    """Whether a text in small letters has a word that goes with training or data: a quick look before the slow ones."""
    return any(one in low for one in _STEMS) or (not low.isascii() and any(one in low for one in _OTHER_STEMS))


@dataclass(frozen=True, slots=True)
class Named:
    """A data set that the text names: how sure it is that it was trained on, and where."""

    name: str
    confidence: float
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the sentences of one card. `is_base`: what was used in pretraining counts; `own_name`: the model's."""

    card: Card
    is_base: bool
    own_name: str

    def sentences(self, block: Block, section: str) -> Iterator[Named]:
        """What each sentence of a block names; `section`: what sort of section it stands in."""
        text = block.text[:MAX_TEXT]
        begin = 0
        for stop in (*(found.end() for found in _SENTENCE.finditer(text)), len(text)):
            sentence = text[begin:stop]
            if len(sentence) > 12 and is_worth_reading(sentence.lower()):
                noun, verb = _NOUN.search(sentence), _VERB.search(sentence)
                if noun or verb or "/datasets/" in sentence:
                    weight = self._weight(sentence, section, verb)
                    if weight > 0:
                        yield from self._in_sentence(sentence, block.line + text.count("\n", 0, begin), weight, verb if weight >= 0.5 else None)
            begin = stop

    def _weight(self, sentence: str, section: str, verb: re.Match[str] | None) -> float:
        """How sure it is that a data set in this sentence is one that the model was trained on; 0: not at all."""
        if _NOT_THIS.search(sentence) and section != "data":
            return 0.0
        weight = 0.84 if verb or _USES.search(sentence) else 0.68 if section == "data" else 0.42
        if section == "quiet":
            weight = min(weight, 0.56 if re.search(r"train|task data|fine-?tun", sentence, re.IGNORECASE) else 0.35)
        if section == "eval" or _EVALUATED.search(sentence, 0, verb.start() if verb else len(sentence)):
            weight *= 0.9 if section == "data" and verb else 0.5
        if verb and not self.is_base:
            said = verb.group().lower()
            if said.startswith("pre") and not _AGAIN.search(sentence):
                weight *= 0.45
            elif said.startswith(("train", "pre", "learn")) and self._is_of_another(sentence[: verb.start()]):
                weight *= 0.5
        return weight

    def _is_of_another(self, before: str) -> bool:
        """Whether the words ahead of "trained" speak of another model: "BERT was trained on ..." on the card of its fine-tune."""
        if re.search(r"\b(?:this|our|we|i|the model|it)\b", before, re.IGNORECASE) and not re.search(r"\b(?:which|that) (?:is|was|has been)\b|\bbase model\b", before, re.IGNORECASE):
            return False
        own = self.own_name.lower()
        return any(is_model_like(word) and word.lower() not in own for word in re.findall(r"[A-Za-z][\w.-]{2,40}", before[-120:]))

    def _in_sentence(self, sentence: str, line: int, weight: float, verb: re.Match[str] | None) -> Iterator[Named]:
        here = Evidence("card text", self.card.quote(line), self.card.file, line)
        if "](" in sentence:
            for label, address in links(sentence):
                name = data_id(address)
                if name:
                    place = self._line_of(line, address)
                    yield Named(name, weight, Evidence("card text", self.card.quote(place), self.card.file, place))
                elif weight >= 0.6 and "huggingface.co" not in address and _is_beside_noun(sentence, label) and is_name_like(trimmed(label)) and not is_model(label):
                    yield Named(trimmed(label), weight - 0.16, here)
        if weight < 0.5:
            return
        exact = list(_trainers(sentence))
        yield from (Named(name, weight, here) for name in exact)
        if exact:
            return
        for found in list(_NOUN.finditer(sentence))[:8]:
            for name in _before_noun(sentence, found.start()):
                yield Named(name, weight - 0.1, here)
            for name in _behind_noun(sentence, found.end()):
                yield Named(name, weight - 0.22, here)
        if verb:
            flat = plain_text(_ELSEWHERE.sub("", sentence[verb.end() :][:900]))[:600]
            for prep in list(_PREPOSITION.finditer(flat))[:3]:
                means = prep.group().lower() in _MEANS
                for name in _enumerated(flat[prep.end() :]):
                    if means and not (is_hub_id(name) or is_well_known(name) or name.lower() in _KNOWN):
                        continue
                    yield Named(name, weight - (0.14 if is_hub_id(name) else 0.22), here)

    def _line_of(self, line: int, address: str) -> int:
        """The line on which an address stands, from a sentence's first line on."""
        lines = self.card.lines
        return next((number for number in range(line, min(line + 12, len(lines) + 1)) if address in lines[number - 1]), line)


_ELSEWHERE = re.compile(r"\[[^\[\]]{0,120}\]\((?!https?://(?:www\.)?(?:huggingface\.co|hf\.co|kaggle\.com))[^()\s]{4,300}\)(?![\s-]{0,2}(?:data|corpus|corpora))")
"""Links to code, papers, homepages that nothing calls data."""


def _trainers(sentence: str) -> Iterator[str]:
    """The data sets in Trainer's own sentence, as it writes them: "... on the samsum and xsum datasets"."""
    found = _TRAINER.search(sentence) if "dataset" in sentence else None
    if found is None or "](" in found.group(1):
        return
    value = found.group(1).strip()
    value = re.sub(r"\s-\s[\w-]{2,12}\Z", "", value)
    pieces = re.split(r",\s*(?:and\s+)?|\s+and\s+", value)
    for piece in pieces if len(pieces) < 12 else ():
        name = trimmed(piece)
        if name and len(name.split()) == 1 and is_name_like(name) and (is_strong(name) or "fine-tuned version of" in sentence):
            yield name.lower() if is_hub_id(name) and name.isupper() else name


def _is_beside_noun(sentence: str, label: str) -> bool:
    place = sentence.find(f"[{label}](")
    if place < 0 or not label:
        return False
    end = sentence.find(")", place + len(label))
    return _NOUN.search(sentence[max(0, place - 24) : place]) is not None or _NOUN.search(label) is not None or (end > 0 and _NOUN.search(sentence[end : end + 26]) is not None)


def is_strong(name: str) -> bool:
    """Whether a word has the form of a name: capitals inside, digits, an underscore; or is one that is known."""
    return "_" in name or "/" in name or any(letter.isupper() or letter.isdigit() for letter in name) or is_well_known(name)


_MARKED = re.compile(r"(?:\*\*|`|\"|“|「|『|«|')([^\"'`*“”「」『』«»\n]{2,70})(?:\*\*|`|\"|”|」|』|»|')[\s-]{0,2}の?\Z")
_LINKED = re.compile(r"\[[^\[\]]{1,100}\]\([^()\s]{1,300}\)[\s-]{0,2}の?\Z")
_RUN = re.compile(r"(?:[^\W_][\w.+/&'’-]{0,60}[ ]){0,7}[^\W_][\w.+/&'’-]{0,60}[\s-]{0,2}の?\Z")


def _before_noun(sentence: str, stop: int) -> Iterator[str]:
    """The name right before "dataset": marked, or a run of words with capitals."""
    before = sentence[max(0, stop - 130) : stop]
    gap = _GAP.search(before)
    for _ in range(2):
        if gap:
            before = before[: gap.start()]
            gap = _GAP.search(before)
    if _LINKED.search(before):
        return
    marked = _MARKED.search(before)
    if marked:
        name = trimmed(marked.group(1))
        if name and is_name_like(name) and not is_model(name):
            yield name
        return
    run = _RUN.search(before)
    words: list[str] = []
    for word in reversed(run.group().strip(" -の\n").split(" ") if run else []):
        if word.endswith((".", ",", ":")) or not (word[:1].isupper() or is_strong(word) or (word == "of" and words)):
            if word.endswith(".") or not words:
                break
            break
        words.insert(0, word)
    while words and words[0] in ("of", "The", "This", "These", "Our", "We", "A", "An", "Training", "All", "In", "On", "For", "Using", "Trained", "Fine-tuned", "Finetuned"):
        words.pop(0)
    name = trimmed(" ".join(words))
    if name and is_name_like(name) and not is_model(name):
        yield name


_BEHIND = re.compile(r"\s{0,2}(?:de |du |di |do |da |del |called |named |известн\w{0,4} |:? ?)(?:\*\*|`|\"|“|«|「)?([A-Z\d][\w./+-]{1,60}(?: [A-Z\d][\w./+-]{0,40}){0,4}|[a-z][\w.-]{1,40}/[\w.-]{2,60})")


def _behind_noun(sentence: str, start: int) -> Iterator[str]:
    """The name behind the word, as in French or Russian: "le jeu de données Allociné"."""
    found = _BEHIND.match(sentence, start)
    name = trimmed(found.group(1)) if found else ""
    if name and is_name_like(name) and not is_model(name) and (len(name.split()) > 1 or is_strong(name[1:])):
        yield name


def _enumerated(text: str) -> list[str]:
    """Names that follow "trained on": words with capitals, ids, words with digits; up to the end of the phrase."""
    found: list[str] = []
    current: list[str] = []
    waiting = 6

    def close() -> None:
        name = trimmed(" ".join(current))
        if name and is_name_like(name) and not is_model(name) and _stands_alone(name):
            found.append(name)
        current.clear()

    inside = [name for part in re.findall(r"\(([^()]{4,200})\)", text)[:2] for piece in re.split(r"[,;+]|\band\b", part) if (name := trimmed(piece.partition("→")[0])) and len(name.split()) < 4 and is_name_like(name) and _stands_alone(name)]
    text = re.sub(r"\([^()]{0,200}\)", "", text)
    for token in _WORD.finditer(text[:500]):
        word = token.group().strip("\"'`*“”()[]")
        bare = word.rstrip(".:!?")
        named = bool(bare) and (bare[0].isupper() or "_" in bare or (is_hub_id(bare) and bare.count("/") == 1) or any(letter.isupper() or letter.isdigit() for letter in bare[1:]))
        if named:
            current.append(bare)
            waiting = 5
        else:
            close()
            waiting -= 1
        if text[token.end() : token.end() + 1] in (",", ";") or word != bare:
            close()
            waiting = 5
        if (not named and (bare.lower() in _ENDS or waiting < 0)) or (word != bare and len(bare) > 1):
            break
    close()
    return [*found, *(inside if len(inside) > 1 else ())][:20]


def _stands_alone(name: str) -> bool:
    """Whether a name needs no "dataset" beside it to be one."""
    if is_hub_id(name):
        return not name.endswith((".com", ".org"))
    inner = any(letter.isupper() for word in name.split() for letter in word[1:]) or any(letter.isdigit() for letter in name)
    if len(name.split()) >= 2:
        return name[0].isupper() and (inner or _DATA_WORD.search(name) is not None or any(is_well_known(word) for word in name.split()))
    return name.lower() in _KNOWN or is_well_known(name) or "_" in name or (sum(letter.isupper() for letter in name) >= 2 and name.isascii() and len(name) > 3)
