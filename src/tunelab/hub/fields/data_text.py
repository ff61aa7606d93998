"""Data sets that a card's text names as this model's training data: sections, "Dataset: ..." lines, tables, links and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tunelab.hub.card import Block, Card, links, plain_text
from tunelab.hub.data_names import data_id, data_name, is_hub_id, is_name_like
from tunelab.hub.evidence import Evidence
from tunelab.hub.model_names import is_model_like

_NOUN = (r"(?:data ?sets?|dataset's|corpus|corpora|training data|datensatz\w{0,3}|datensätze\w?|korpus|jeux? de données|conjuntos? de (?:datos|dados)|set di dati|数据集|資料集|数据集合|データセット|データ|コーパス|데이터 ?셋|데이터|말뭉치|датасет\w{0,3}|набор\w{0,3} данных|"
         r"корпус\w{0,3}|veri set\w{0,6}|bộ dữ liệu|مجموعة بيانات|zbior\w{0,3} danych|datamängd\w{0,3}|datasett\w{0,3}|datensets?)")
_DATA_HEADING = re.compile(
    rf"(?:\A|\b)(?:training|train|fine-?tun\w+|sft|dpo|instruction|pre-?training|trainings?)[ -]?(?:and (?:evaluation|validation|test(?:ing)?) |/ ?\w+ )?(?:{_NOUN}|data|daten)|\A\W{{0,8}}(?:\d[\d.]* )?(?:the |our |model )?(?:training )?{_NOUN}(?:\(s\))?(?: (?:used|sources?|details?|description|information|overview|composition|summary|mix(?:ture)?))?\W{{0,4}}\Z|"
    r"\A\W{0,8}(?:data|data sources?|data mix(?:ture)?|data used|data details|training sets?|datasets? (?:and|&) .{0,30}|.{1,20} (?:and|&) (?:training )?(?:data ?sets?|data))\W{0,4}\Z|训练数据|数据来源|学習データ|学習に使用|学習データセット|使用データ|학습 ?데이터|훈련 ?데이터|обучающ|данные для обучения|trainingsdaten|données d['’]entraînement|"
    r"datos de entrenamiento|dados de treinamento|dati di addestramento|eğitim verisi|dữ liệu huấn luyện", re.IGNORECASE)
_TRAINING_HEADING = re.compile(r"\b(?:training|fine-?tun\w+|model details|model description|about|description|overview|how (?:was )?it)", re.IGNORECASE)
_EVAL_HEADING = re.compile(r"evaluat|benchmark|testing|\btests?\b|results?\b|performance|metrics|leaderboard|scores?\b|评测|评估|評価|평가|оценк", re.IGNORECASE)
_QUIET_HEADING = re.compile(r"citation|cite|bibtex|licen[sc]e|acknowledg|related|references|see also|other models|thanks|credits|usage|how to|quick ?start|inference|limitation|bias|risk|disclaimer|intended|out[- ]of[- ]scope|prompt|faq|install|引用|致谢|謝辞|original (?:model )?card",
                            re.IGNORECASE)
_VERB = re.compile(
    r"\b(?:fine-?\s?-?tun(?:ed|es|e|ing)|finetun(?:ed|es|e|ing)|(?:re)?train(?:ed|s|ing)?|tuned|distill?ed|aligned|adapted|sft|dpo|learn(?:ed|t|s)|pre-?train(?:ed|ing)|instruct-tuned|built|created|developed)\b|trainiert|feinabgestimm|feinjustier|entraîn|affin[ée]|fine-?tuné|entrenad|ajustad|treinad|addestrat|обуч|дообуч|"
    r"训练|訓練|微调|微調|学習|ファインチュー|チューニング|학습|훈련|파인 ?튜닝|미세|eğit|huấn luyện|tinh chỉnh|dilatih|تدريب|ضبط|getraind|tränad|trent\b|trenowan|आधारित|प्रशिक्षित", re.IGNORECASE)
_PREPOSITION = re.compile(r"\b(?:on top of|on|using|with|over|from|off of|via|auf|sur|sobre|con|em|na|su|на|op|på|med|mit|usando|avec|por)\b(?! top)", re.IGNORECASE)
_USES = re.compile(rf"\b(?:we|i) (?:have )?(?:used?|combined?|collected|chose|employed)\b|\b(?:uses?|using|utili[sz]es|leverag\w+) the\b|\bdata ?sets?,? (?:that was |which was |that were )?(?:used|for|includes?|consists?|comes?|are|is|were|was)\b|\btraining data (?:is|was|comes|came|consists|are|were|contains?|includes?)\b|{_NOUN}[^.]{{0,40}}(?:verwendet|utilis|usad|utilizad|использ|使用|利用|사용|kullan)",
                   re.IGNORECASE)
_PRETRAINED = re.compile(r"\bpre-?train", re.IGNORECASE)
_AGAIN = re.compile(r"continu|further|domain-adapt|additional", re.IGNORECASE)
_EVALUATED = re.compile(r"\b(?:evaluat\w+|tested|benchmark\w*|test set|test split|validation set|dev set|held-?out|scores?|accuracy of|achiev\w+|outperform\w*|zero-shot|measured|compar\w+)\b|评测|评估|評価|평가", re.IGNORECASE)
_NOT_THIS = re.compile(r"\bnot (?:been )?(?:fine-?|pre-?)?(?:trained|tuned|included|used)|\b(?:you can|can be|could be|to be|should be|will be|plan to|future|would)\b (?:\w+ )?(?:fine-?tuned|trained|used|adapted)|\bfor example|\be\.g\.|inspired by|similar to|tokenizer|reward model was|in contrast", re.IGNORECASE)
_LABEL = re.compile(
    rf"\W{{0,8}}(?:the )?(?:(?:training|train|fine-?tun(?:ing|ed)|sft|dpo|tuning|instruction|primary|main|source|preference|model|hf|used|base)[ -]?)?(?:(?:data ?sets?|data|corpus|corpora|data sources?|{_NOUN})(?: ?\(s\))?(?: used| name| source| link| id| size and name)?(?: for (?:fine-?)?(?:training|tuning))?|"
    r"trained on|fine-?tuned on|finetuned on|训练数据|学習データ(?:セット)?|使用データ(?:セット)?|학습 ?데이터(?: ?셋)?|trainingsdaten|données(?: d['’]entraînement)?|datos(?: de entrenamiento)?|dados(?: de treinamento)?|обучающие данные|данные|dati)"
    r"[^\S\n]{0,3}[*_`]{0,3}[^\S\n]{0,3}(?:[:：|→]|->|=| [-–—] )[\s*_`]{0,6}", re.IGNORECASE)
_COLUMN = re.compile(rf"\W{{0,4}}(?:training |hf |hugging ?face )?(?:{_NOUN}|dataset name|data source|corpus|source dataset|data)(?: name| id| \(.{{1,20}}\))?\W{{0,4}}\Z", re.IGNORECASE)
_SCORES = re.compile(r"score|acc|\bf1\b|bleu|rouge|metric|benchmark|perplex|wer\b|shot|mmlu|\bem\b|precision|recall|pass@", re.IGNORECASE)
_BEFORE_NOUN = re.compile(rf"(?P<name>(?:\[[^\[\]]{{1,80}}\]\([^()\s]{{1,200}}\))|(?:[\"'`“*]{{1,3}}[^\s\"'`“”*][^\"'`“”*\n]{{1,70}}[\"'`”*]{{1,3}})|(?:[^\W_][\w.+/&'-]{{0,60}}(?: [A-Z\d][\w.+/&'-]{{0,40}}){{0,6}}))[ -]?の?(?:[a-z-]{{1,20}} ){{0,2}}{_NOUN}", re.IGNORECASE)
_AFTER_NOUN = re.compile(rf"{_NOUN}\s(?:de |du |di |do |da |del |called |named |известн\w+ |\"|«|`|\*)?\s?(?P<name>[\"'`“«*]{{0,3}}[A-Z\d][\w./+-]{{1,60}}(?: [A-Z\d][\w./+-]{{0,40}}){{0,4}})")
_BARE_ID = re.compile(r"(?<![\w/.@:~(\[-])([A-Za-z0-9][\w.-]{1,60}/[A-Za-z0-9][\w.-]{2,95})(?![\w/-])")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'`(\[*À-ÞА-Я\d])|[。！？।؟]|\n\s*\n|\n(?=\s*[-*•|#>])|(?<=:)\n")
_WORD = re.compile(r"[^\s,;|]+")
_SPLIT = re.compile(r",(?!\d{3})|;|、|，|؛|&|\+(?=\s)|\s+and\s+|\s+und\s+|\s+et\s+|\s+y\s+|\s+и\s+|→|\n|\s/\s|<br>|•")
MAX_BLOCKS, MAX_TEXT = 500, 6000


@dataclass(frozen=True, slots=True)
class Named:
    """A data set that the text names: how sure it is that it was trained on, and where; `labelled`: an entry of a list, not a sentence's word."""

    name: str
    confidence: float
    evidence: Evidence
    labelled: bool = False


def read_named(card: Card, *, is_base: bool, own_name: str) -> list[Named]:
    """All that the text says, in its order. `is_base`: what was used in pretraining counts; `own_name`: the model's own name."""
    found: list[Named] = []
    label_at: tuple[int, int] | None = None
    for block in card.blocks[:MAX_BLOCKS]:
        section = _section(block)
        if label_at is not None and block.kind == "item" and _indent(card, block) > label_at[0] and block.line - label_at[1] <= 2:
            found += _value(card, block, block.text, block.line, 0.74)
            label_at = (label_at[0], block.end)
            continue
        label_at = None
        if block.kind in ("fence", "heading") or section == "quiet":
            continue
        if block.kind == "table":
            found += _of_table(card, block, section)
            continue
        label = _label(block)
        if label is not None and section != "eval":
            rest = block.text[label:]
            if rest.strip(" *_`"):
                found += _value(card, block, rest.split("\n")[0] if block.kind != "item" else rest, block.line, 0.74)
            if not rest.strip(" *_`\n") or ":" in rest[-3:] or re.match(r"[^\n]{0,120}:\W{0,3}\Z", rest):
                label_at = (_indent(card, block), block.end)
        found += _labelled_lines(card, block, section)
        found += _sentences(card, block, section, is_base=is_base, own_name=own_name)
        if section == "data" and block.kind in ("item", "paragraph", "html"):
            found += _entry(card, block)
    return found


def _section(block: Block) -> str:
    """"data", "training", "eval", "quiet" or "": what the nearest heading that says so makes of it."""
    for heading in reversed(block.headings):
        if _DATA_HEADING.search(heading) and not re.match(r"\W*(?:evaluation|testing|eval|test)\b", heading, re.IGNORECASE):
            return "data"
        if _EVAL_HEADING.search(heading):
            return "eval"
        if _QUIET_HEADING.search(heading) and heading != block.headings[0]:
            return "quiet"
        if _TRAINING_HEADING.search(heading):
            return "training"
    return ""


def _indent(card: Card, block: Block) -> int:
    line = card.lines[block.line - 1] if block.line <= len(card.lines) else ""
    return len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())


def _label(block: Block) -> int | None:
    """Where the value of "Dataset: value" begins at a block's head."""
    found = _LABEL.match(block.text)
    return found.end() if found else None


def _labelled_lines(card: Card, block: Block, section: str) -> Iterator[Named]:
    """"Dataset: value" on a later line of a block."""
    if "\n" not in block.text or section == "eval":
        return
    for number, line in enumerate(block.text.split("\n")[1:60], 1):
        label = _LABEL.match(line)
        if label:
            yield from _value(card, block, line[label.end() :], block.line + number, 0.7)


def _evidence(card: Card, line: int, quote: str) -> Evidence:
    return Evidence("card text", card.quote(line) if len(quote) > 200 else plain_text(quote), card.file, line)


def _value(card: Card, block: Block, text: str, line: int, confidence: float) -> Iterator[Named]:
    """The names in a field's value: links, ids, then what lies between commas."""
    text = text[:1500]
    linked = [name for label, address in links(text) if (name := data_id(address) or (data_name(label) if "huggingface.co" not in address and not label.startswith(("http", "!")) and is_name_like(label) else None))]
    if linked:
        for name in linked:
            yield Named(name, confidence + 0.08 if is_hub_id(name) else confidence, _evidence(card, line, text), True)
        return
    flat = re.sub(r"\([^()]{0,300}\)?", " ", plain_text(text))
    flat = re.split(r"\.\s|\s[-–—]\s|\.\Z|:\s", flat.strip(), maxsplit=1)[0]
    for piece in _SPLIT.split(flat)[:40]:
        name = _trimmed(piece)
        if name and is_name_like(name) and _is_value_name(name, "`" in text or "**" in text):
            yield Named(name, confidence, _evidence(card, line, text), True)


def _is_value_name(name: str, marked: bool) -> bool:
    """Whether a value is a name and not a description ("high-quality dialogues in German")."""
    words = name.split()
    if any(is_hub_id(word) for word in words):
        return len(words) == 1
    if not name.isascii():
        return len(name) <= 40 and len(words) <= 6
    strong = sum(word[0].isupper() or word[0].isdigit() or "_" in word or any(letter.isupper() for letter in word) for word in words)
    return len(words) <= 7 and (strong >= (len(words) + 1) // 2 and words[0][0:1] != "" or (len(words) == 1 and (marked or "_" in name or "-" in name or any(one.isdigit() for one in name) or len(name) > 3)))


def _trimmed(piece: str) -> str:
    """A name without articles before it and "dataset" behind it."""
    name = piece.strip().strip("\"'`*_“”«»「」[]{}").strip().rstrip(".:;, ")
    name = re.sub(rf"\A(?:(?:the|a|an|our|both|full|cleaned|custom|subset of|version of|original|from|of|on|using|and|modified|filtered|combined|translated|open-source|publicly available|public|entire)\s+)+", "", name, flags=re.IGNORECASE)
    name = re.sub(r"(?:\s+(?:data ?sets?|train(?:ing)?|split|subset|samples?|data|benchmark|task))+\Z", "", name, flags=re.IGNORECASE)
    return name.strip("\"'`*_“”«»「」 ")


def _of_table(card: Card, block: Block, section: str) -> Iterator[Named]:
    head, *rows = block.rows or ((),)
    if not head:
        return
    wanted = next((number for number, cell in enumerate(head) if _COLUMN.match(plain_text(cell))), None)
    if wanted is not None and section in ("data", "training", "") and not any(_SCORES.search(cell) for cell in head):
        for number, row in enumerate(rows[:40]):
            if wanted < len(row) and not re.search(r"\btest\b|total|evaluation", " ".join(row), re.IGNORECASE):
                yield from _value(card, block, row[wanted], block.line + 2 + number, 0.72 if section == "data" else 0.6)
        return
    for number, row in enumerate(block.rows[:60]):
        if len(row) == 2 and section != "eval" and _LABEL.match(f"{row[0]}: ") and plain_text(row[0]).strip():
            yield from _value(card, block, row[1], block.line + number + (1 if number else 0), 0.74)


def _entry(card: Card, block: Block) -> Iterator[Named]:
    """An item of a section on data: the name with which it begins."""
    text = block.text
    if block.kind == "item":
        head = re.match(r"\W{0,4}(?:\d+[.)] )?(?:\*\*|`|__)([^*`\n]{2,90})(?:\*\*|`|__)|\W{0,3}([^:–—(\n]{2,70}?)(?:\s[-–—:(]|:|\Z)", plain_free(text))
        name = _trimmed(head.group(1) or head.group(2) or "") if head else ""
        if name and is_name_like(name) and _is_value_name(name, False) and not _EVALUATED.search(text[:60]) and not links(text):
            yield Named(name, 0.6 if head and head.group(1) else 0.56, _evidence(card, block.line, text), True)


def plain_free(text: str) -> str:
    """The text's first line."""
    return text.split("\n", 1)[0][:400]


def _sentences(card: Card, block: Block, section: str, *, is_base: bool, own_name: str) -> Iterator[Named]:
    text = block.text[:MAX_TEXT]
    begin = 0
    for stop in (*(found.end() for found in _SENTENCE.finditer(text)), len(text)):
        sentence = text[begin:stop]
        if len(sentence) > 12:
            weight = _weight(sentence, section, is_base, own_name)
            if weight > 0:
                line = block.line + text.count("\n", 0, begin)
                yield from _in_sentence(card, sentence, line, weight, section)
        begin = stop


def _weight(sentence: str, section: str, is_base: bool, own_name: str) -> float:
    """How sure it is that a data set in this sentence is one that the model was trained on; 0: not at all."""
    verb = _VERB.search(sentence)
    uses = _USES.search(sentence) if verb is None else None
    if _NOT_THIS.search(sentence) and section != "data":
        return 0.0
    weight = 0.84 if verb or uses else 0.66 if section == "data" else 0.4
    if section == "eval" or (_EVALUATED.search(sentence, 0, verb.start() if verb else len(sentence))):
        weight *= 0.5 if not (section == "data" and verb) else 0.9
    if verb and not is_base:
        if _PRETRAINED.match(sentence, verb.start()) and not _AGAIN.search(sentence) and not re.search(r"fine-?tun|finetun", sentence, re.IGNORECASE):
            weight *= 0.45
        elif _other_subject(sentence[: verb.start()], own_name) and not re.match(r"fine|tuned|dpo|sft", sentence[verb.start() : verb.start() + 5], re.IGNORECASE):
            weight *= 0.5
    return weight


def _other_subject(before: str, own_name: str) -> bool:
    """Whether the words ahead of "trained" speak of another model: "BERT was trained on ..." on the card of its fine-tune."""
    if re.search(r"\b(?:this|our|we|i|the model|it)\b", before, re.IGNORECASE) and not re.search(r"\b(?:which|that) (?:is|was|has been)\b|\bbase model\b", before, re.IGNORECASE):
        return False
    own = own_name.lower()
    return any(is_model_like(word) and word.lower() not in own for word in re.findall(r"[A-Za-z][\w.-]{2,40}", before[-120:]))


def _in_sentence(card: Card, sentence: str, line: int, weight: float, section: str) -> Iterator[Named]:
    for label, address in links(sentence):
        name = data_id(address)
        if name:
            yield Named(name, weight, _evidence(card, _line_of(card, line, address), sentence), True)
        elif weight >= 0.6 and "huggingface.co" not in address and re.search(rf"{_NOUN}", sentence, re.IGNORECASE) and is_name_like(_trimmed(label)) and not is_model_like(label) and _near_noun(sentence, label):
            yield Named(_trimmed(label), weight - 0.16, _evidence(card, line, sentence))
    if weight < 0.5:
        return
    noun = re.search(_NOUN, sentence, re.IGNORECASE)
    for found in _BEFORE_NOUN.finditer(sentence) if noun else ():
        name = _trimmed(plain_text(found.group("name")))
        if name and is_name_like(name) and _is_strong(name, found.group("name")[0] in "\"'`“*") and not is_model_like(name):
            yield Named(name, weight - 0.1, _evidence(card, line, sentence))
    for found in _AFTER_NOUN.finditer(sentence) if noun else ():
        name = _trimmed(found.group("name"))
        if name and is_name_like(name) and not is_model_like(name):
            yield Named(name, weight - 0.2, _evidence(card, line, sentence))
    verb = _VERB.search(sentence)
    if verb:
        flat = plain_text(sentence[verb.end() :][:600])
        for prep in list(_PREPOSITION.finditer(flat))[:3]:
            if prep.group().lower() in ("on top of",):
                continue
            for name in _enumerated(flat[prep.end() :]):
                yield Named(name, weight - (0.14 if is_hub_id(name) else 0.22), _evidence(card, line, sentence))


def _near_noun(sentence: str, label: str) -> bool:
    place = sentence.find(f"[{label}]")
    return place >= 0 and re.search(_NOUN, sentence[max(0, place - 60) : place + len(label) + 300], re.IGNORECASE) is not None


def _is_strong(name: str, marked: bool) -> bool:
    """Whether a word next to "dataset" is its name: not a plain small word ("training dataset", "news dataset")."""
    words = name.split()
    if marked or any("_" in one or "/" in one or any(letter.isdigit() for letter in one) or any(letter.isupper() for letter in one) for one in words):
        return True
    return len(words) == 1 and "-" in name and name.count("-") < 5 and not re.search(r"(?:based|specific|level|quality|following|scale|source|like|tuned|domain|turn|only|related|annotated|labeled|generated|collected|language|purpose|world|size|grained|answer|style|made|built|processed|curated|wide|house|lingual|free|to-\w+|hop|text|task|aware|oriented|shot|response|ended|written)\Z", name)


def _line_of(card: Card, line: int, address: str) -> int:
    """The line on which an address stands, from a sentence's first line on."""
    return next((number for number in range(line, min(line + 12, len(card.lines) + 1)) if address in card.lines[number - 1]), line)


_ENDS = frozenset("for using with by at to which that where in until achieving via during and/or so because before after while but when as then whose hosted provided (see resulting containing consisting curated generated created collected".split())


def _enumerated(text: str) -> list[str]:
    """Names that follow "trained on": words with capitals, ids, words with digits; up to the end of the phrase."""
    found: list[str] = []
    current: list[str] = []
    waiting = 7

    def close() -> None:
        name = _trimmed(" ".join(current))
        if name and is_name_like(name) and not is_model_like(name) and _stands_alone(name):
            found.append(name)
        current.clear()

    text = re.sub(r"\([^()]{0,200}\)", "", text)
    for token in _WORD.finditer(text[:500]):
        word = token.group().strip("\"'`*“”()[]")
        bare = word.rstrip(".:!?")
        after = text[token.end() : token.end() + 1]
        named = bool(bare) and (bare[0].isupper() or "_" in bare or (is_hub_id(bare) and bare.count("/") == 1) or any(letter.isupper() for letter in bare[1:]) or any(one.isdigit() for one in bare))
        if named:
            current.append(bare)
            waiting = 5
        else:
            close()
            waiting -= 1
        if after in (",", ";") or word != bare:
            close()
            waiting = 5
        if (not named and (bare.lower() in _ENDS or waiting < 0)) or (word.endswith((".", "!", "?", ":")) and len(bare) > 1 and word != bare):
            break
    close()
    return found[:20]


_KNOWN = frozenset(("alpaca dolly sharegpt squad imdb wikipedia oscar c4 pile orca openorca slimorca ultrachat openhermes guanaco oasst oasst1 oasst2 samsum xsum cnn/dailymail cnn gsm8k metamath metamathqa spider wikisql bookcorpus dialogsum conll2003 multinli snli mnli xnli sst-2 sst2 ultrafeedback fineweb redpajama slimpajama starcoderdata opus"
                    " wmt flan tulu lima moss belle firefly capybara airoboros platypus evol-instruct wizardlm magicoder glaive commonvoice librispeech fleurs mc4 cc100 openassistant tinystories soda hh-rlhf pippa limarp").split())


def _stands_alone(name: str) -> bool:
    """Whether a name needs no "dataset" beside it to be one."""
    words = name.split()
    if len(words) >= 2 or is_hub_id(name):
        return True
    return name.lower() in _KNOWN or "_" in name or any(letter.isupper() for letter in name[1:]) or ("-" in name and name[0].isupper())
