"""As much of Go's text/template as prompt templates of Ollama need, to see what one makes of a conversation without a server.

Text, range (with index), if / else if / else, the comparisons, and / or / not, len and slice; a minus sign at a mark takes the white space beside
it away (https://pkg.go.dev/text/template). As Ollama does, messages of the same role that follow each other are one, and `.System` is all system texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunelab.errors import DataError

_MARK = re.compile(r"\{\{(-(?=\s))?\s*(.*?)\s*((?<=\s)-)?\}\}", re.DOTALL)
_WORD = re.compile(r'\s*("(?:[^"\\]|\\.)*"|\(|\)|[^\s()]+)')
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": lambda one, *others: any(one == other for other in others), "ne": lambda one, other: one != other, "gt": lambda one, other: one > other,
    "ge": lambda one, other: one >= other, "lt": lambda one, other: one < other, "le": lambda one, other: one <= other, "len": len,
    "not": lambda one: not one, "slice": lambda one, start: one[start:]}


@dataclass(slots=True)
class _Node:
    kind: str
    text: str = ""
    body: list[_Node] = field(default_factory=list)
    other: list[_Node] = field(default_factory=list)


def render(template: str, messages: Sequence[Mapping[str, str]]) -> str:
    """What the template makes of a conversation, up to where the answer begins. Raises DataError for what is not understood here."""
    merged: list[dict[str, str]] = []
    for one in messages:
        if merged and merged[-1]["Role"] == one["role"]:
            merged[-1]["Content"] += "\n\n" + one["content"]
        else:
            merged.append({"Role": one["role"], "Content": one["content"]})
    system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
    top = {"Messages": merged, "System": system, "Response": ""}
    nodes, rest = _parsed(_marks(template))
    if rest:
        raise DataError("The template has an end too many.")
    return _run(nodes, {"": top, "$": top})


def _marks(template: str) -> list[tuple[str, str]]:
    """(kind, text): text as it stands after trimming, and what is between marks."""
    parts: list[tuple[str, str]] = []
    at, trim = 0, False
    for found in _MARK.finditer(template):
        text = template[at:found.start()]
        text = text.lstrip() if trim else text
        parts += [("text", text.rstrip() if found[1] else text), ("mark", found[2])]
        at, trim = found.end(), bool(found[3])
    rest = template[at:]
    return [*parts, ("text", rest.lstrip() if trim else rest)]


def _parsed(parts: list[tuple[str, str]]) -> tuple[list[_Node], list[tuple[str, str]]]:
    nodes: list[_Node] = []
    while parts:
        kind, text = parts[0]
        if kind == "mark" and text.split(" ")[0] in ("end", "else"):
            return nodes, parts
        parts = parts[1:]
        if kind == "text":
            nodes.append(_Node("text", text))
        elif text.startswith(("if ", "range ")):
            node, parts = _block(text, parts)
            nodes.append(node)
        elif not text.startswith("/*"):
            nodes.append(_Node("value", text))
    return nodes, parts


def _block(text: str, parts: list[tuple[str, str]]) -> tuple[_Node, list[tuple[str, str]]]:
    kind, _, rest = text.partition(" ")
    body, parts = _parsed(parts)
    node = _Node(kind, rest, body)
    if not parts:
        raise DataError(f"The template's {kind} has no end.")
    mark = parts[0][1]
    if mark.startswith("else if "):
        inner, parts = _block(mark.removeprefix("else "), parts[1:])
        node.other = [inner]
        return node, parts
    if mark == "else":
        node.other, parts = _parsed(parts[1:])
        if not parts:
            raise DataError(f"The template's {kind} has no end.")
    return node, parts[1:]


def _run(nodes: list[_Node], names: dict[str, Any]) -> str:
    made = []
    for node in nodes:
        if node.kind == "text":
            made.append(node.text)
        elif node.kind == "value":
            made.append(str(_value(node.text, names)))
        elif node.kind == "if":
            made.append(_run(node.body if _value(node.text, names) else node.other, names))
        else:
            declared, _, what = node.text.rpartition(":=")
            index, _, item = declared.partition(",")
            for number, one in enumerate(_value(what.strip(), names)):
                made.append(_run(node.body, {**names, "": one, index.strip() or "$_": number, item.strip() or "$_": one}))
    return "".join(made)


def _value(text: str, names: Mapping[str, Any]) -> Any:
    words = [found[1] for found in _WORD.finditer(text)]
    value, rest = _call(words, names)
    if rest:
        raise DataError(f"{text!r} in the template is not understood.")
    return value


def _call(words: list[str], names: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The value of a function with its arguments, or of a single word, up to a closing bracket."""
    values: list[Any] = []
    function = words[0] if words and (words[0] in _FUNCTIONS or words[0] in ("and", "or")) else ""
    words = words[1:] if function else words
    while words and words[0] != ")":
        if words[0] == "(":
            value, words = _call(words[1:], names)
            words = words[1:]
        else:
            value, words = _word(words[0], names), words[1:]
        values.append(value)
    if function == "and":
        return next((one for one in values if not one), values[-1]), words
    if function == "or":
        return next((one for one in values if one), values[-1]), words
    if function:
        return _FUNCTIONS[function](*values), words
    if len(values) != 1:
        raise DataError("A mark of the template is not understood.")
    return values[0], words


def _word(word: str, names: Mapping[str, Any]) -> Any:
    if word.startswith('"'):
        return json.loads(word)
    if word.lstrip("-").isdigit():
        return int(word)
    name, dot, place = word.partition(".")
    if name not in names or not (dot or name):
        raise DataError(f"{word!r} in the template is not understood.")
    value = names[name]
    return value.get(place, "") if place else value
