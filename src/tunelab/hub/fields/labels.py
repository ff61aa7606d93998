"""The words that name a prompt, a context or an output, in the languages of the Hub's cards: what a label, a heading or a column head says.

The words themselves are in hub/known/labels.toml.
"""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from importlib import resources
from typing import Literal

Role = Literal["prompt", "context", "system", "output"]
_KNOWN = tomllib.loads(resources.files("tunelab.hub").joinpath("known", "labels.toml").read_text(encoding="utf-8"))
_NAMED: tuple[Role, ...] = ("output", "system", "context", "prompt")
ROLES: dict[str, Role] = {word.replace("_", " "): role for role in _NAMED for word in _KNOWN[role].split()}
SPEAKERS = frozenset(_KNOWN["speakers"].split())
"""Labels of somebody who talks: the one who answers is the model, whatever its name."""
LANGUAGES = frozenset(_KNOWN["languages"].split())
WEAK = frozenset(_KNOWN["weak"].split())
"""Labels that also head other things than a prompt."""

_MODIFIERS = re.compile(
    r"\b(?:examples?|samples?|the|our|your|my|expected|actual|full|final|raw|resulting|test|simple|another|first|second|third|demo|an?|of|from|for|possible|corresponding|"
    r"typical|model'?s?|generated|with|beispiel|ejemplo|exemple|exemplo|de|du|пример)\b|\d+|[一二三四五]$", re.IGNORECASE)
_CLEAN = re.compile(r"[^\w\s'/]+|_")


@lru_cache(maxsize=4096)
def role_of(label: str) -> Role | None:
    """What a label names: "**Sample output #2**" is output, "Prompt format" nothing."""
    if len(label) > 60:
        return None
    words = " ".join(_CLEAN.sub(" ", label.casefold()).split())
    found = ROLES.get(words)
    if found is None and words and words.count(" ") < 6:
        bare = " ".join(_MODIFIERS.sub(" ", words).split())
        found = ROLES.get(bare)
        if found is None and "/" in bare:
            parts = {ROLES.get(part.strip()) for part in bare.split("/")}
            found = parts.pop() if len(parts) == 1 else None
    return found


_NAMED_EXAMPLE = (r"\b(?:examples?|samples?|showcase|demos?|demonstrations?|generations|in\saction|conversations?|outputs?|chat\slog|transcripts?|beispiele?|ejemplos?|exemples?|"
                  r"exemplos?|esempio?|contoh|örnek\w*|przykład\w*|voorbeeld\w*|eksempel|exempel|ví\sdụ)\b|пример|приклад|示例|例子|样例|範例|范例|案例|例$|生成例|出力例|"
                  r"実行例|会話例|예시|예제|مثال|أمثلة|उदाहरण|উদাহরণ|דוגמ|ตัวอย่าง|نمونه")
_USED = (r"\b(?:inferences?|predictions?|usage|uses?|how\sto|quick\s?start|try\sit|playground|generation|verwendung|utilisation|uso|использование|kullanım)\b|"
         r"使用|使い方|用法|推理|推論|사용|استخدام")
_PURE = re.compile(_NAMED_EXAMPLE, re.IGNORECASE)
_EXAMPLE = re.compile(f"{_NAMED_EXAMPLE}|{_USED}", re.IGNORECASE)
_DATA = re.compile(
    r"\b(?:data\s?sets?|training\s(?:data|examples?|samples?|format|procedure)|data\sformats?|corpus|corpora|few[-\s]shot|faq|frequently|data\scollection|datos|daten|données)\b|"
    r"数据|データ|데이터|данны", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(?:train|trained|training|fine-?tuning|benchmarks?|evaluation|install\w*|requirements|citations?|bibtex|licen[cs]e|changelog|acknowledg\w*|structure|hyper-?parameters?|"
    r"metrics|architecture|limitations?|labels?|tokenizer|preprocessing|schema|specifications?|inputs?\s(?:and|&)\soutputs?|model\sdetails)\b|学習|訓練|训练|評価|评测|학습|평가|обучен",
    re.IGNORECASE)
_SAYS_OUTPUT = re.compile(
    r"\b(?:outputs?|results?|responses?|respond\w*|answers?|answered|generat(?:es?|ed)|returns?|produces?|yields?|gives?|predicts?|prediction|repl(?:y|ies)|prints?|summary|translation|"
    r"completion|salida|respuesta|sortie|réponse|ausgabe|antwort|ergebnis|saída|resposta|ответ\w*|вывод|результат)\b|出力|生成|回答|結果|输出|结果|回复|출력|결과|답변|الناتج|الإجابة", re.IGNORECASE)
_SAYS_PROMPT = re.compile(
    r"\b(?:prompts?|inputs?|ask(?:ed|ing)?|questions?|quer(?:y|ies)|instructions?|following\s(?:text|sentence|article|passage)|entrada|pregunta|entrée|question|eingabe|frage|pergunta|запрос\w*|"
    r"вопрос\w*|вход\w*)\b|入力|質問|プロンプト|输入|问题|提示|입력|질문", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_example_heading(text: str) -> bool:
    """Whether what stands under it is shown as an example, or as a use of the model."""
    return bool(_EXAMPLE.search(text))


@lru_cache(maxsize=4096)
def is_pure_example_heading(text: str) -> bool:
    """Whether it says "example" and not only "usage"."""
    return bool(_PURE.search(text))


@lru_cache(maxsize=4096)
def is_other_heading(text: str) -> bool:
    """Whether what stands under it is of something else: data, formats, evaluation, questions about the project."""
    return bool(_OTHER.search(text))


@lru_cache(maxsize=4096)
def is_data_heading(text: str) -> bool:
    """Whether what stands under it is training data, or questions on the project."""
    return bool(_DATA.search(text))


def said_role(text: str) -> Role | None:
    """What a sentence that ends in a colon announces: "The model answers:" an output, "Given the prompt:" a prompt; the last word counts."""
    output = max((one.start() for one in _SAYS_OUTPUT.finditer(text)), default=-1)
    prompt = max((one.start() for one in _SAYS_PROMPT.finditer(text)), default=-1)
    return None if output == prompt == -1 else "output" if output > prompt else "prompt"
