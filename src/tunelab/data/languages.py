"""The language of a text by its script and its common words: a light guess for figures over a data set, not a judgement of one text."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from functools import lru_cache
from importlib.resources import files

UNSURE = "undetermined"
"""The name for text that is too short, has no words (code, numbers), or fits no language that is known here."""

_MARKS = " .,;:!?\"'`()[]{}<>*_-–—…“”„«»¿¡،؟۔।。，、！？：；|/\\#"
_READ = 400
_MOST_WORDS = 40
_MOST_LETTERS = 80
_ENOUGH = 0.12
"""From this share of common words on, a text is taken for a language; ordinary prose has 25 to 50 %."""
_SCRIPTS: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = (
    ("Latin", ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF))), ("Greek", ((0x370, 0x3FF), (0x1F00, 0x1FFF))),
    ("Cyrillic", ((0x400, 0x52F),)), ("Armenian", ((0x530, 0x58F),)), ("Hebrew", ((0x590, 0x5FF),)),
    ("Arabic", ((0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFE))), ("Devanagari", ((0x900, 0x97F),)),
    ("Bengali", ((0x980, 0x9FF),)), ("Gurmukhi", ((0xA00, 0xA7F),)), ("Gujarati", ((0xA80, 0xAFF),)), ("Tamil", ((0xB80, 0xBFF),)),
    ("Telugu", ((0xC00, 0xC7F),)), ("Kannada", ((0xC80, 0xCFF),)), ("Malayalam", ((0xD00, 0xD7F),)), ("Sinhala", ((0xD80, 0xDFF),)),
    ("Thai", ((0xE00, 0xE7F),)), ("Lao", ((0xE80, 0xEFF),)), ("Tibetan", ((0xF00, 0xFFF),)), ("Myanmar", ((0x1000, 0x109F),)),
    ("Georgian", ((0x10A0, 0x10FF),)), ("Hangul", ((0x1100, 0x11FF), (0xAC00, 0xD7AF))), ("Ethiopic", ((0x1200, 0x139F),)),
    ("Khmer", ((0x1780, 0x17FF),)), ("Kana", ((0x3041, 0x30FF),)), ("Han", ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x20000, 0x2FFFF))))
_ONE_LANGUAGE = {"Greek": "Greek", "Hebrew": "Hebrew", "Bengali": "Bengali", "Gurmukhi": "Punjabi", "Gujarati": "Gujarati", "Tamil": "Tamil",
                 "Telugu": "Telugu", "Kannada": "Kannada", "Malayalam": "Malayalam", "Sinhala": "Sinhala", "Thai": "Thai", "Lao": "Lao",
                 "Tibetan": "Tibetan", "Myanmar": "Burmese", "Georgian": "Georgian", "Armenian": "Armenian", "Ethiopic": "Amharic",
                 "Khmer": "Khmer", "Hangul": "Korean", "Kana": "Japanese", "Han": "Chinese"}


def language_of(text: str) -> str:
    """The English name of the language that a text seems to be in, or UNSURE. Looks at the first 400 characters."""
    text = text[:_READ]
    script = "Latin" if text.isascii() else _script_of(text)
    if script in _ONE_LANGUAGE:
        return _ONE_LANGUAGE[script]
    known = _known().get(script or "")
    if known is None:
        return UNSURE
    words = text.lower().replace("’", "'").split()[:_MOST_WORDS]
    scores: dict[str, float] = {}
    hits: dict[str, int] = {}
    for word in words:
        for name, weight in known.get(word.strip(_MARKS), ()):
            hits[name] = hits.get(name, 0) + 1
            scores[name] = scores.get(name, 0.0) + weight
    if not scores:
        return UNSURE
    # Words that few languages share decide between them; how many of a text's words are common at all decides whether it is prose.
    best = max(scores, key=lambda name: hits[name] + 2 * scores[name])
    return best if hits[best] >= max(2, _ENOUGH * len(words)) else UNSURE


def _script_of(text: str) -> str | None:
    """The script of most letters; Japanese is known by its kana, though most of its letters may be Han."""
    starts, names = _ranges()
    letters = [one for one in text if one.isalpha()][:_MOST_LETTERS]
    counts = Counter(names[bisect_right(starts, ord(one)) - 1] for one in letters)
    eastern = counts["Kana"] + counts["Han"]
    if counts["Kana"] >= max(1, 0.1 * eastern) and eastern > 0.2 * len(letters):
        return "Kana"
    # A Han character says as much as half a word, so text in it is known though Latin names and code stand between.
    known = {name: count * (3 if name in ("Han", "Hangul") else 1) for name, count in counts.items() if name}
    return max(known, key=lambda name: known[name], default=None)


@lru_cache(maxsize=1)
def _ranges() -> tuple[list[int], list[str]]:
    """Where each stretch of code points begins, and the script that it belongs to ("" between the scripts)."""
    marks: dict[int, str] = {0: ""}
    for name, spans in sorted(_SCRIPTS, key=lambda one: one[1][0][0]):
        for first, last in spans:
            marks[first] = name
            marks.setdefault(last + 1, "")
    return sorted(marks), [marks[start] for start in sorted(marks)]


@lru_cache(maxsize=1)
def _known() -> dict[str, dict[str, tuple[tuple[str, float], ...]]]:
    """Script -> common word -> (language, how much the word says for it) in the order of the table, where likelier ones come first."""
    owners: dict[str, dict[str, list[str]]] = {}
    for line in files("tunelab.data").joinpath("languages.tsv").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        _, name, script, common = line.split("\t")
        for word in common.split():
            owners.setdefault(script, {}).setdefault(word, []).append(name)
    return {script: {word: tuple((name, 1 / len(names)) for name in names) for word, names in words.items()}
            for script, words in owners.items()}
