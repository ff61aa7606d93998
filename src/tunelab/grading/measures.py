"""Facts measured of every answer, whatever its grader: length, form, language, whether it was cut, repeats itself, or refuses."""

from __future__ import annotations

import re
from typing import Any

from tunelab.data.languages import language_of
from tunelab.grading.json_call import parse_json

_CODE_START = re.compile(r"(```|~~~|#!|<\?php|#include\b|(async )?def \w+\(|class \w+|import \w|from [\w.]+ import |function \w*\(|"
                         r"const \w+ =|let \w+ =|public (static |class )|package \w+|SELECT\s)")
_REFUSAL = re.compile(
    r"\A\W*(?:(?:i['’]?m|i am) (?:very |so |truly )?sorry|sorry,? (?:but )?i|i (?:can(?:no|['’])t|can not|am unable to|won['’]t)\b|"
    r"i['’]m unable to\b|unfortunately,? i (?:can|am)|as an ai\b|es tut mir leid|ich kann (?:ihnen |dir )?(?:dabei )?(?:leider )?nicht|"
    r"leider kann ich|je suis désolé|désolé,|je ne peux pas|lo siento|no puedo|извините|к сожалению, я|抱歉|对不起|很抱歉|申し訳)", re.IGNORECASE)
_SEQUENCE_WORDS = 8
_TAIL = 200


def measure(text: str, stop: str) -> dict[str, Any]:
    """characters, lines: of the stripped text. starts_with_code, is_json (an object or a list and nothing else), cut_by_length,
    repeated: the same 8 words three times (not overlapping), or a last 200 characters that are one piece over and over. refusal: it begins
    as a refusal does. empty. language: a light guess by `data.languages`."""
    stripped = text.strip()
    return {"characters": len(stripped), "lines": len(stripped.splitlines()), "starts_with_code": bool(_CODE_START.match(stripped)),
            "is_json": _is_object_or_list(stripped), "cut_by_length": stop == "length", "repeated": is_repeated(stripped),
            "refusal": bool(_REFUSAL.match(stripped)), "empty": not stripped and stop != "error", "language": language_of(stripped)}


def is_repeated(text: str) -> bool:
    """Whether a text repeats itself as a model does that has lost its way."""
    return _same_words(text.split()) or (len(text) >= _TAIL and _is_loop(text[-_TAIL:]))


def _same_words(words: list[str]) -> bool:
    seen: dict[tuple[str, ...], tuple[int, int]] = {}
    for start in range(len(words) - _SEQUENCE_WORDS + 1):
        sequence = tuple(words[start:start + _SEQUENCE_WORDS])
        times, free_from = seen.get(sequence, (0, 0))
        if start >= free_from:
            if times == 2:
                return True
            seen[sequence] = (times + 1, start + _SEQUENCE_WORDS)
    return False


def _is_loop(tail: str) -> bool:
    """One piece at least three times: the shortest period, by the prefix function of Knuth, Morris and Pratt, is a third or less."""
    prefix = [0] * len(tail)
    for index in range(1, len(tail)):
        matched = prefix[index - 1]
        while matched and tail[index] != tail[matched]:
            matched = prefix[matched - 1]
        prefix[index] = matched + (tail[index] == tail[matched])
    return 3 * (len(tail) - prefix[-1]) <= len(tail)


def _is_object_or_list(text: str) -> bool:
    if not text.startswith(("{", "[")):
        return False
    try:
        parse_json(text)
    except ValueError:
        return False
    return True
