"""The types of the dialect, as the key table writes them: "int | null", "list[str]", "literal['a', 'b'] | bool | null".

`accepts` says whether Axolotl 0.21.0 takes a value: its schema reads "3" as 3 and "yes" as true, but no number as text. Names of its
own classes (TRLConfig, ...) stand for a mapping.
"""

from __future__ import annotations

import operator
import re
from functools import lru_cache
from typing import Any

_TRUE_FALSE = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "1", "0"})
_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "any": "anything"}
_OPENS, _CLOSES = "[(", "])"


def accepts(written: str, value: Any) -> bool:
    """Whether a type takes a value, as pydantic does outside its strict mode."""
    return any(_one_accepts(one, value) for one in union(written))


_SIGNS = {">=": ("of at least", operator.ge), ">": ("above", operator.gt), "<=": ("of at most", operator.le), "<": ("below", operator.lt)}


def bounds(limits: str) -> tuple[tuple[str, float], ...]:
    """">=0 <1" -> ((">=", 0.0), ("<", 1.0)); the bounds on a length come as "len>="."""
    return tuple((match[1], float(match[2])) for match in re.finditer(r"((?:len)?[<>]=?)(\S+)", limits))


def outside(limits: str, value: Any) -> str:
    """What a value would have to be when it is out of bounds ("a number of at least 1"), else ""."""
    size = len(value) if isinstance(value, (list, str)) else None
    number = float(value) if isinstance(value, (int, float)) or (isinstance(value, str) and accepts("float", value)) else None
    for sign, border in bounds(limits):
        measured = size if sign.startswith("len") else number
        words, holds = _SIGNS[sign.removeprefix("len")]
        if measured is not None and not holds(measured, border):
            return f"{'something with a length' if sign.startswith('len') else 'a number'} {words} {border:g}"
    return ""


def in_words(written: str) -> str:
    """A type as a sentence's part: "a whole number", "one of ring, usp", "a list of texts"."""
    return " or ".join(dict.fromkeys(_one_in_words(one) for one in union(written) if one != "null")) or "nothing"


def choices(written: str) -> tuple[str, ...]:
    """The literal values that a type names, as text; () when it names none."""
    return tuple(str(value) for one in union(written) if one.startswith("literal[") for value in _literals(one))


@lru_cache(maxsize=2048)
def union(written: str) -> tuple[str, ...]:
    """The branches of a union, at the top level only."""
    return _split(written, "|")


def _one_accepts(one: str, value: Any) -> bool:
    if one == "any" or one.startswith("ForwardRef"):
        return True
    if one == "null":
        return value is None
    if one == "bool":
        return isinstance(value, bool) or (isinstance(value, (int, float)) and value in (0, 1)) or str(value).lower() in _TRUE_FALSE
    if one in ("int", "float"):
        return _is_number(value, whole=one == "int")
    if one == "str":
        return isinstance(value, str)
    if one.startswith("literal["):
        return any(type(value) is type(allowed) and value == allowed for allowed in _literals(one))
    name, _, inside = one.partition("[")
    if name in ("list", "tuple"):
        if not isinstance(value, list):
            return False
        kinds = _split(inside[:-1], ",") if inside else ("any",)
        return all(accepts(kinds[min(index, len(kinds) - 1)], item) for index, item in enumerate(value))
    if name == "dict" and inside:
        kind = _split(inside[:-1], ",")[1]
        return isinstance(value, dict) and all(accepts(kind, item) for item in value.values())
    return isinstance(value, dict)


def _is_number(value: Any, *, whole: bool) -> bool:
    if isinstance(value, str):
        try:
            value = float(value.replace("_", "")) if not whole or re.fullmatch(r"\s*[+-]?\d[\d_]*(\.0*)?\s*", value) else None
        except ValueError:
            return False
    if not isinstance(value, (int, float)):
        return False
    finite = value == value and abs(value) != float("inf")
    return not whole or (finite and value == int(value))


@lru_cache(maxsize=512)
def _literals(one: str) -> tuple[Any, ...]:
    words = _split(one[len("literal[") : -1], ",")
    return tuple(word[1:-1] if word[:1] in "'\"" else {"True": True, "False": False}.get(word, word) for word in words)


def _one_in_words(one: str) -> str:
    if one in _WORDS:
        return _WORDS[one]
    if one.startswith("literal["):
        options = [str(value).lower() if isinstance(value, bool) else str(value) for value in _literals(one)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if one.startswith(("list", "tuple")):
        inside = one.partition("[")[2][:-1]
        kinds = {"str": "texts", "int": "whole numbers", "float": "numbers"}
        return f"a list of {kinds.get(inside, 'values' if not inside or re.match('int, int|tuple', inside) else 'mappings')}"
    return "anything" if one.startswith("ForwardRef") else "a mapping"


def _split(text: str, at: str) -> tuple[str, ...]:
    """Split at a character that is not inside brackets or quotes."""
    found, depth, quoted, start = [], 0, "", 0
    for index, char in enumerate(text):
        if quoted:
            quoted = "" if char == quoted else quoted
        elif char in "'\"":
            quoted = char
        elif char in _OPENS or char in _CLOSES:
            depth += 1 if char in _OPENS else -1
        elif char == at and depth == 0:
            found.append(text[start:index].strip())
            start = index + 1
    return (*found, text[start:].strip())
