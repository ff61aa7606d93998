"""A text in a prompt template or with speakers' names taken apart into turns: who says what, with the template's marks taken off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tunelab.hub.fields.labels import LANGUAGES, SPEAKERS, Role, role_of


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says; `at`: the offset of its first character in the text that was taken apart."""

    role: Role
    text: str
    at: int
    label: str = ""


_MARKS: tuple[tuple[str, str], ...] = (
    ("chatml", r"<\|im_start\|>[ \t]*(?P<chatml>\w+)?"),
    ("llama3", r"<\|start_header_id\|>[ \t]*(?P<llama3>\w+)[ \t]*<\|end_header_id\|>"),
    ("gemma", r"<start_of_turn>[ \t]*(?P<gemma>\w+)?"),
    ("command-r", r"(?:<\|START_OF_TURN_TOKEN\|>)?<\|(?P<commandr>USER|CHATBOT|SYSTEM)_TOKEN\|>"),
    ("deepseek", r"<[|｜](?P<deepseek>User|Assistant)[|｜]>"),
    ("openchat", r"GPT4 (?:Correct )?(?P<openchat>User|Assistant|System)[ \t]*:"),
    ("zephyr", r"<\|(?P<zephyr>system|user|assistant|prompter|model|human|bot)\|>"),
    ("llama2", r"<<(?P<llama2>SYS)>>|<</(?P<llama2end>SYS)>>|(?P<inst>\[/?INST\])"),
    ("alpaca", r"^\#{2,3}[ \t]*(?P<alpaca>[^\W\d_][\w ]{0,24}?)[ \t]*[:：]?[ \t]*$|^\#{2,3}[ \t]*(?P<alpaca2>[^\W\d_][\w ]{0,24}?)[ \t]*[:：]"),
)
_MARK = re.compile("|".join(pattern for _, pattern in _MARKS), re.MULTILINE)
_OF_GROUP = {"chatml": "chatml", "llama3": "llama3", "gemma": "gemma", "commandr": "command-r", "deepseek": "deepseek", "openchat": "openchat", "zephyr": "zephyr", "llama2": "llama2",
             "llama2end": "llama2", "inst": "mistral", "alpaca": "alpaca", "alpaca2": "alpaca"}
_ENDS = re.compile(r"<\|(?:im_end|eot_id|end|endoftext|end_of_text|begin_of_text|end_of_turn|END_OF_TURN_TOKEN|START_OF_TURN_TOKEN|eom_id|assistant_end|return)\|>|</?s>|"
                   r"<(?:bos|eos|end_of_turn)>|<[|｜](?:begin|end)▁of▁sentence[|｜]>|<\|?(?:BOS|EOS)_TOKEN\|?>")
_NAMES: dict[str, Role] = {"user": "prompt", "human": "prompt", "prompter": "prompt", "assistant": "output", "model": "output", "chatbot": "output", "bot": "output", "gpt": "output",
                           "system": "system", "sys": "system", "developer": "system", "instruction": "prompt", "input": "context", "response": "output"}
LABEL = re.compile(r"^[ \t]*(?:[-*•>]{1,3}[ \t]+|\d{1,3}[.)][ \t]+)?(?:[^\w\s\"'`{}()\[\]<>|#:：]{1,6}[ \t]*)?(?P<label>[^\W\d_][^\n:：{}\[\]()<>=|\"`]{0,38}?(?:[ \t]*\([^()\n]{1,30}\))?)"
                   r"[ \t*_]*[:：][*_ \t]*(?!//)", re.MULTILINE)
_INLINE = re.compile(r"(?<=[\s|;→.?!>])(?:\*\*|__)?(?P<label>ASSISTANT|Assistant|Output|OUTPUT|Answer|Response|Completion|A|Translation|Prediction|Summary|Label|AI|Bot)[ \t]*"
                     r"(?:\*\*|__)?:(?:\*\*|__)?(?=\s)")


def turns(text: str) -> tuple[list[Turn], str]:
    """(turns, template's name): of a text with a template's tokens, or with "### Response:" headings, or with names before colons."""
    marks = [(found, group) for found in _MARK.finditer(text) if (group := found.lastgroup)] if any(mark in text for mark in ("<", "[", "##", "GPT4")) else []
    tokens = [one for one in marks if not one[1].startswith("alpaca")]
    if tokens:
        return list(_by_tokens(text, tokens)), _template(text, tokens)
    roles = {_NAMES.get(found.group(group).casefold()) or role_of(found.group(group)) for found, group in marks}
    if "prompt" in roles or "output" in roles:
        found = list(_by_tokens(text, marks))
        human = any(found.group(group).casefold() == "human" for found, group in marks)
        return found, "guanaco" if human else "alpaca" if any("nstruction" in mark.group() for mark, _ in marks) else ""
    named = list(_by_names(text))
    return named, _name_template(named)


_JINJA = (("chatml", "<|im_start|>"), ("llama3", "<|start_header_id|>"), ("gemma", "<start_of_turn>"), ("command-r", "<|START_OF_TURN_TOKEN|>"), ("llama2", "<<SYS>>"), ("mistral", "[/INST]"),
          ("openchat", "GPT4 Correct"), ("metharme", "<|model|>"))
_ASKS = re.compile(r"^[ \t\"'>]*#{2,3}[ \t]*Instructions?[ \t]*:", re.IGNORECASE | re.MULTILINE)
_ANSWERS = re.compile(r"#{2,3}[ \t]*(?:Response|Output|Answer)\b", re.IGNORECASE)
_SPEAKS = (("vicuna", "USER:", "ASSISTANT:"), ("human-assistant", "Human:", "Assistant:"), ("falcon", "User:", "Falcon:"))


def template_of(text: str) -> str:
    """The template that a text is written in, or that a Jinja template or a string in code writes; "" for none. Placeholders may stand in it."""
    name = next((name for name, mark in _JINJA if mark in text), "")
    if name:
        return name
    asks = _ASKS.search(text) if "#" in text else None
    if asks and _ANSWERS.search(text, asks.end()):
        return "alpaca"
    tokens = [(found, found.lastgroup) for found in _MARK.finditer(text) if found.lastgroup and not found.lastgroup.startswith("alpaca")]
    if tokens:
        return _template(text, [(mark, group) for mark, group in tokens if group])
    if "### Human" in text:
        return "guanaco"
    name = next((name for name, user, model in _SPEAKS if user in text and model in text), "")
    return "orca" if name == "vicuna" and "SYSTEM:" in text else name


def _template(text: str, marks: list[tuple[re.Match[str], str]]) -> str:
    name = _OF_GROUP[marks[0][1]]
    if name in ("mistral", "llama2"):
        return "llama2" if "<<SYS>>" in text else "mistral"
    if name == "zephyr":
        return "phi3" if "<|end|>" in text else "metharme" if "<|model|>" in text else "openassistant" if "<|prompter|>" in text else "zephyr" if "</s>" in text else "tulu"
    return name


def _name_template(named: list[Turn]) -> str:
    labels = {turn.label for turn in named}
    if {"USER", "ASSISTANT"} <= labels:
        return "orca" if "SYSTEM" in labels else "vicuna"
    return "falcon" if {"User", "Falcon"} <= labels else "human-assistant" if {"Human", "Assistant"} <= labels else ""


def _by_tokens(text: str, marks: list[tuple[re.Match[str], str]]) -> Iterator[Turn]:
    """Each mark's text goes to the next mark. `[INST]` is the prompt's, `[/INST]` the answer's."""
    for index, (mark, group) in enumerate(marks):
        end = marks[index + 1][0].start() if index + 1 < len(marks) else len(text)
        label = mark.group(group) or ""
        if group == "inst":
            role: Role | None = "output" if label.startswith("[/") else "prompt"
        elif group == "llama2end":
            role = "prompt"
        else:
            role = _NAMES.get(label.casefold()) or role_of(label)
        if role is None:
            continue
        if group.startswith("alpaca") and role == "output":  # what is behind the answer's end is no part of it
            end = next((stop.start() for stop in _ENDS.finditer(text, mark.end(), end) if stop.start() > mark.end() + 1), end)
        content, at = _trimmed(text, mark.end(), end)
        if content:
            yield Turn(role, content, at, label)


def _trimmed(text: str, begin: int, end: int) -> tuple[str, int]:
    raw = text[begin:end]
    stop = next((one for one in _ENDS.finditer(raw) if raw[: one.start()].strip()), None)
    if stop:  # between a turn's end and the next turn's mark nothing belongs to either
        raw = raw[: stop.start()]
    content = _ENDS.sub(lambda mark: " " * len(mark.group()), raw)
    return content.strip(), begin + len(content) - len(content.lstrip())


def _by_names(text: str) -> Iterator[Turn]:
    """Lines that begin with a name and a colon; whoever answers a user is the model, whatever its name. A turn goes to the next such line."""
    places: list[tuple[int, int, Role, str]] = []
    spoken = ""
    for found in LABEL.finditer(text):
        label = found.group("label").strip(" *_\t")
        role = role_of(label)
        if role is None and label.casefold() in LANGUAGES:  # a translation: the first language is the prompt's
            role, spoken = ("output" if spoken and spoken != label else "prompt"), (spoken or label)
        if (role is None and places and places[-1][3].casefold() in SPEAKERS and is_name(label)) or (role == "system" and places and places[-1][3].casefold() in SPEAKERS):
            role = "output"
        elif role is not None and role == "context" and not places:
            role = None if label.casefold() not in ("context", "schema") else role
        if role is not None:
            places.append((found.start(), found.end(), role, label))
            inline = _INLINE.search(text, found.end(), _line_end(text, found.end())) if role in ("prompt", "context") else None
            if inline:
                places.append((inline.start(), inline.end(), "output", inline.group("label")))
    for index, (_, begin, role, label) in enumerate(places):
        content, at = _trimmed(text, begin, places[index + 1][0] if index + 1 < len(places) else len(text))
        if content.strip("*_ "):
            yield Turn(role, content, at, label)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def is_name(label: str) -> bool:
    """Whether a label can be somebody's name."""
    words = label.split()
    return len(words) <= 3 and all(word[:1].isupper() or not word[:1].isascii() for word in words)
