"""Example prompts and outputs that the card shows: its widget, conversations, labelled texts, tables, samples in JSON, and usage code with its result."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tunelab.hub.card import Block, Card
from tunelab.hub.evidence import Evidence
from tunelab.hub.fields.code_example import keyed_strings, shown_in_code
from tunelab.hub.fields.concrete import is_answer, is_concrete, is_language, is_place, is_specific, is_specification, is_stock, is_usage_code
from tunelab.hub.fields.example_table import pairs_in_table
from tunelab.hub.fields.labels import (
    SPEAKERS,
    WEAK,
    Role,
    is_data_heading,
    is_example_heading,
    is_other_heading,
    is_pure_example_heading,
    role_of,
    said_role,
)
from tunelab.hub.fields.turns import LABEL, Turn, is_name, turns
from tunelab.hub.record import ModelRecord


@dataclass(frozen=True, slots=True)
class Example:
    """A concrete prompt and, where the card shows one, the model's output. `template`: the prompt template that it is written in, "" for none."""

    prompt: str
    output: str | None
    confidence: float
    evidence: Evidence
    template: str = ""


MAX_EXAMPLES = 20
MAX_TEXT = 20_000
"""Characters of a block that are looked at for examples; longer ones are books, logs and data."""


def read_examples(record: ModelRecord) -> tuple[Example, ...]:
    """The examples, the surest first; usage code and bare templates are none."""
    card = record.card
    found: dict[str, Example] = {}
    for one in sorted([*_in_widget(card), *_in_body(card)], key=lambda one: (-one.confidence, one.output is None)):
        found.setdefault(" ".join(one.prompt.split()).casefold(), one)
    return tuple(found.values())[:MAX_EXAMPLES]


def _in_widget(card: Card) -> Iterator[Example]:
    widget = card.front.get("widget")
    entries = widget if isinstance(widget, list) else [widget] if isinstance(widget, dict) else []
    for index, entry in enumerate(entries[:MAX_EXAMPLES]):
        prompt = _widget_prompt(entry)
        line = card.line("widget", index) or card.line("widget")
        if prompt and prompt.strip() and (not is_place(prompt) or _MASK.search(prompt)):
            output = _widget_output(entry)
            yield Example(prompt.strip(), output, 0.95 if output else 0.85, Evidence("card metadata", card.quote(line), card.file, line))


def _widget_prompt(entry: Any) -> str | None:
    if isinstance(entry, str):
        return re.sub(r"""\A(?:text|question):\s*["']?""", "", entry).rstrip("\"'")
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("messages"), list):
        said = [one.get("content") for one in entry["messages"] if isinstance(one, dict) and one.get("role") == "user" and isinstance(one.get("content"), str)]
        return said[-1] if said else None
    texts = [entry.get(key) for key in ("text", "question", "source_sentence", "prompt", "input", "context")]
    if isinstance(entry.get("text"), dict):
        texts[0] = next((one for one in entry["text"].values() if isinstance(one, str)), None)
    elif isinstance(entry.get("text"), list) and entry["text"]:
        texts[0] = entry["text"][0]
    written = [one.strip() for one in texts if isinstance(one, str) and one.strip()]
    return "\n\n".join(written) if written else entry["src"] if isinstance(entry.get("src"), str) else None


def _widget_output(entry: Any) -> str | None:
    output = (entry.get("output") or entry.get("outputs")) if isinstance(entry, dict) else None
    if isinstance(output, list) and output and isinstance(output[0], dict) and "text" in output[0]:
        output = output[0]
    if isinstance(output, list) and output:
        labels = [f"{one['label']} {one['score']}" for one in output if isinstance(one, dict) and "label" in one and "score" in one]
        return "\n".join(labels) or (output[0] if isinstance(output[0], str) else None)
    if isinstance(output, dict):
        output = output.get("text") or output.get("answer")
    return output.strip("\n").rstrip() if isinstance(output, str) and output.strip() else None


@dataclass(slots=True)
class _Part:
    """What was read under one label: a prompt that waits for its output, or an output."""

    role: Role
    texts: list[str]
    line: int
    block: int
    headings: tuple[str, ...]
    how: Literal["label", "heading", "intro", "turn", "code", "next"]
    label: str = ""
    template: str = ""
    contexts: list[str] = field(default_factory=list)
    called: bool = False


_MASK = re.compile(r"\[MASK\]|<mask>|https?://", re.IGNORECASE)
_RESULT_FENCE = re.compile(r"\s*(?:#+[ \t]*(?:outputs?|results?|response|prints?)\b[ \t:]*\n|(?=[\[{(][\[{(\"']))", re.IGNORECASE)
_ARROW = re.compile(r"^[ \t]*(?:[-*+][ \t]+|\d{1,2}[.)][ \t]+)?(?P<left>[^\n→⇒➜⟶]{6,400}?)[ \t]*(?:→|⇒|➜|⟶|=>|-->|->)[ \t]*(?P<right>[^\n→⇒➜⟶]{1,300})$", re.MULTILINE)
_OPEN_END = re.compile(r"\n[#*<|\[\w ]{0,20}(?:Output|Response|Answer|Assistant|ASSISTANT|/INST|assistant|model|Completion|Summary|SQL)[\]|>*:\s]*\Z")
_BREAK = re.compile(r"<(?:br|/p|/div|/li)\s*/?>", re.IGNORECASE)
_HTML = re.compile(r"</?(?:b|i|u|em|strong|p|div|span|font|code|pre|details|summary|center|h[1-6]|img|a|li|ul|ol|td|tr|th|table|small|blockquote|kbd|sup|sub|mark)\b[^<>]{0,500}>", re.IGNORECASE)
_BOLD = re.compile(r"\*\*(?=\S)([^*\n]{1,300})(?<=\S)\*\*|(?<!\w)__(?=\S)([^_\n]{1,300})(?<=\S)__(?!\w)")
_DATA_COLON = re.compile(r"\b(?:data ?sets?|formats?|columns|fields|structure|schema|training data)\b|数据|格式|データ|形式|데이터|형식", re.IGNORECASE)
_SHELL = frozenset(["bash", "sh", "shell", "zsh", "console", "powershell", "cmd", "dockerfile", "yaml", "yml", "toml", "ini", "bibtex", "latex", "diff", "makefile", "modelfile", "xml", "html", "css", "http"])
_PYTHON = frozenset(["python", "py", "python3", "ipython", "pycon", "js", "javascript", "typescript", "ts", "java", "go", "rust", "swift", "c#", "csharp"])


class _Reader:
    """Walks the blocks of a card once and pairs what is labelled as a prompt with what is labelled as an output."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.found: list[Example] = []
        self.waiting: _Part | None = None
        self.building: _Part | None = None
        self.pending: tuple[Role, Literal["label", "heading", "intro"], str] | None = None
        self.loose: _Part | None = None  # a block without a label, which "Output:" below makes a prompt
        self.called = False  # a line such as "Examples:" stands above
        self.barred = False  # what stands here was announced as data
        self.above = ""  # the text of the block above
        self.index = 0

    def read(self) -> list[Example]:
        """All examples of the body."""
        for index, block in enumerate(self.card.blocks):
            self.index = index
            if self.barred and block.kind in ("heading", "paragraph", "quote"):
                self.barred = False
            if block.kind == "heading":
                self._heading(block)
            elif self.barred:
                continue
            elif len(block.text) > MAX_TEXT:
                self._close()
            elif block.kind == "table":
                self._close()
                self._table(block)
            elif block.kind == "fence":
                self._fence(block)
            else:
                self._text(block)
            self.above = block.text[-300:] if block.kind not in ("fence", "table") else ""
        self._close()
        self._flush()
        return self.found

    def _heading(self, block: Block) -> None:
        self._close()
        self.called = False
        role = role_of(block.plain)
        label = LABEL.match(block.plain)
        said = role_of(label.group("label")) if label else None
        if label and (said == "output" or (said == "prompt" and label.group("label").casefold() not in WEAK)) and block.plain[label.end() :].strip():
            self.pending = None  # "### Human: Name a bird."
            self._open(said, block.plain[label.end() :], block.line, block, "label", label.group("label"))
            self._close()
            return
        self.pending = (role, "heading", block.plain) if role and block.plain.strip().casefold() not in ("results", "result", "model", "code", "label", "labels", "predictions") else None
        if role != "output" and not (self.waiting and self.waiting.block == self.index - 1 and role):
            self._flush()

    def _table(self, block: Block) -> None:
        if self.waiting and self.waiting.how == "label" and self.waiting.label.casefold() not in WEAK and self.waiting.block == self.index - 1:
            self._add("\n\n".join([*self.waiting.texts, *self.waiting.contexts]), None, self.waiting.line, 0.6, block.headings)  # a table of answers
            self.waiting = None
        if _is_barred(block.headings):
            return
        for prompt, output, row, confidence in pairs_in_table(block, is_example=any(is_example_heading(one) for one in block.headings[-2:])):
            self._add(prompt, output, min(block.line + row + (1 if row else 0), block.end), confidence, block.headings)

    def _fence(self, block: Block) -> None:
        text = block.text
        if not text.strip():
            return
        language = block.info.split()[0].strip("{}.") if block.info.split() else ""
        pending = self.pending
        if language in _SHELL and not pending:
            self._close()
            return
        if pending is None or pending[0] != "output" or self.waiting is None or is_usage_code(text):
            if self._samples(block, is_code=language in _PYTHON or is_usage_code(text)):
                return
            if language in _PYTHON or is_usage_code(text) or ">>> " in text:
                self._close()
                if pending is None or pending[0] != "prompt" or is_usage_code(text):
                    if self.waiting and self.waiting.how == "code" and self._is_near() and _RESULT_FENCE.match(text) and not is_usage_code(text):
                        self._open("output", _RESULT_FENCE.sub("", text), block.line + 1, block, "next")
                        self._close()
                    else:
                        self._code(block)
                    return
            if self._arrows(text, replace(block, line=block.line + 1)):
                return
            said, template = turns(text)
            if any(turn.role == "output" for turn in said) or (said and template):
                self._close()
                self._turns(said, block, template, offset=1)
                return
        if pending:
            self._content(text, block.line + 1, block)
        elif self._asked(block):
            return
        elif self.waiting is None and language not in _SHELL and not is_usage_code(text) and is_example_heading(" ".join(block.headings[-1:])):
            self.loose = _Part("prompt", [text], block.line + 1, self.index, block.headings, "next")
        elif self.waiting and self._is_result(text) and ((self.waiting.how == "code" and self._is_near()) or self._follows(block)):
            self._open("output", text, block.line + 1, block, "next")
            self._close()

    def _asked(self, block: Block) -> bool:
        """A concrete prompt that ends where the model begins: "... Output:" with nothing behind it."""
        found = _OPEN_END.search(block.text[-80:])
        if found is None or not is_pure_example_heading(" ".join(block.headings[-1:])):
            return False
        text = block.text[: len(block.text) - len(block.text[-80:]) + found.start()]
        said, template = turns(text)
        asked = [turn for turn in said if turn.role == "prompt"] if template else []
        prompt = asked[-1].text if asked else text
        if len(prompt.split()) >= 4:
            self._flush()
            self._add(prompt, None, block.line + 1, 0.5, block.headings, template)
        return True

    def _is_near(self) -> bool:
        return self.waiting is not None and self.index - self.waiting.block <= 2

    def _follows(self, block: Block) -> bool:
        """Whether it stands directly below a labelled prompt among examples."""
        return (self.waiting is not None and self.waiting.how == "label" and self.waiting.block == self.index - 1
                and any(is_pure_example_heading(one) for one in block.headings[-2:]))

    @staticmethod
    def _is_result(text: str) -> bool:
        return not is_usage_code(text) and is_concrete(text) and text.count("\n") < 80

    def _samples(self, block: Block, *, is_code: bool) -> bool:
        """Messages lists and {"prompt": ..., "output": ...} objects, in JSON or Python."""
        if "{" not in block.text or not ('"' in block.text or "'" in block.text) or (_DATA_COLON.search(self.above) and not is_pure_example_heading(self.above)):
            return False
        said: list[tuple[Role, str, int]] = []
        role: Role | None = None
        for key, value, at in keyed_strings(block.text):
            if key in ("role", "from"):
                role = {"user": "prompt", "human": "prompt", "assistant": "output", "gpt": "output", "model": "output", "system": "system"}.get(value.casefold())  # type: ignore[assignment]
            elif key in ("content", "value"):
                if role:
                    said.append((role, value, at))
            elif not is_code and (named := role_of(key)):
                said.append(("context" if key == "input" and said and said[-1][0] == "prompt" else named, value, at))
        if not any(one[0] == "output" for one in said) or not any(one[0] == "prompt" for one in said) or (is_code and said[-1][0] != "output"):
            return False
        self._close()
        self._turns([Turn(who, value, at) for who, value, at in said if value.strip()], block, "", offset=1)
        return True

    def _code(self, block: Block) -> None:
        for one in shown_in_code(block.text):
            line = block.line + 1 + block.text.count("\n", 0, one.at)
            if one.output is not None:
                self._add(one.prompt, one.output, line, 0.85, block.headings)
            else:
                self._flush()
                self.waiting = _Part("prompt", [one.prompt], line, self.index, block.headings, "code", one.name)

    def _turns(self, said: list[Turn], block: Block, template: str, *, offset: int) -> None:
        """A conversation: the first prompt with the answer to it."""
        prompt: Turn | None = None
        contexts: list[str] = []
        for turn in said:
            if turn.role == "prompt" and (prompt is None or turn.label.casefold() not in ("input", "text", "context")):
                prompt, contexts = turn, []
            elif turn.role in ("context", "prompt"):
                if prompt is None:
                    prompt = turn
                else:
                    contexts.append(turn.text)
            elif turn.role == "output" and prompt is not None and any(letter.isalnum() for letter in turn.text):
                line = self._line(block, prompt, offset)
                text = "\n\n".join([prompt.text, *contexts])
                strong = 0.9 if template or any(is_pure_example_heading(one) for one in block.headings[-2:]) else 0.8
                self._add(text, turn.text, line, strong, block.headings, template, label=prompt.label)
                prompt, contexts = None, []
            elif turn.role == "output" and self.waiting is not None and self._is_near():
                self._open("output", turn.text, block.line, block, "turn")
                self._close()
        if prompt is not None:
            self._flush()
            self.waiting = _Part("prompt", ["\n\n".join([prompt.text, *contexts])], self._line(block, prompt, offset), self.index, block.headings, "turn", prompt.label, template,
                                 called=self.called)

    def _line(self, block: Block, turn: Turn, offset: int) -> int:
        if block.kind != "html":
            return min(block.line + offset + block.text.count("\n", 0, turn.at), block.end)
        start = turn.text[:24]
        return next((number for number in range(block.line, block.end + 1) if start in self.card.quote(number)), block.line)

    def _text(self, block: Block) -> None:
        text = _as_written(block.text)
        stripped = text.strip(" \t\n*_:：`")
        if not stripped or self._is_answer(text, block):
            return
        role = role_of(stripped) if len(stripped) <= 60 else None
        if role and (text.rstrip().endswith((":", "：")) or "**" in block.text or "__" in block.text or "<" in block.text or block.kind == "html"):
            self._close()
            self.pending = (role, "label", stripped)
            return
        said, template = turns(text) if ":" in text or "：" in text or "[INST]" in text or "<|" in text else ([], "")
        if any(mark in text for mark in "→⇒➜⟶>") and self._arrows(text, block):
            return
        if said and (template or len(said) > 1 or said[0].at < 60):
            self._close()
            self.pending = None
            self._labelled(said, block, template, text)
            return
        if text.rstrip().endswith((":", "：")) and len(text) <= 300:
            spoken = said_role(text)
            if spoken:
                self._close()
                self.pending = (spoken, "intro", text)
                return
        is_intro = text.rstrip().endswith((":", "："))
        if is_intro and len(text) < 80 and is_pure_example_heading(text):
            self.called = True
        if is_intro and _DATA_COLON.search(text[-80:]):
            self._close()
            self.barred, self.pending = True, None
        elif self.pending:
            self._content(text, block.line, block)
        elif block.kind == "quote" and self._follows(block):
            self._open("output", text, block.line, block, "next")
            self._close()
        elif self.waiting is None and block.kind == "quote" and is_pure_example_heading(" ".join(block.headings[-1:])):
            self.loose = _Part("prompt", [text], block.line, self.index, block.headings, "next")

    def _arrows(self, text: str, block: Block) -> bool:
        """Lines such as "The boat is late!" -> negative, under a heading that calls them examples."""
        if not self.called and not is_pure_example_heading(" ".join(block.headings[-1:])):
            return False
        before = len(self.found)
        for found in _ARROW.finditer(text):
            left, right = found.group("left").strip(), found.group("right").strip()
            if left[:1] in "\"'`“«「" or len(left.split()) >= 3 or not left.isascii():
                self._add(left, right, block.line + text.count("\n", 0, found.start("left")), 0.7, block.headings)
        return len(self.found) > before

    def _is_answer(self, text: str, block: Block) -> bool:
        """Whether it is what somebody with a name answers to the user of the block before."""
        if self.waiting is None or self.waiting.label.casefold() not in SPEAKERS or not self._is_near():
            return False
        found = LABEL.match(text)
        if found is None or not is_name(found.group("label")) or role_of(found.group("label")) is not None:
            return False
        self._open("output", text[found.end() :], block.line, block, "label", found.group("label"))
        self._close()
        return True

    def _labelled(self, said: list[Turn], block: Block, template: str, text: str) -> None:
        """A paragraph, item or quote with labels in it: whole conversations, or one side whose other side is another block."""
        roles = {turn.role for turn in said}
        if {"prompt", "output"} <= roles or template:
            self._turns(said, replace(block, text=text) if block.kind != "html" else block, template, offset=0)
            return
        for turn in said:
            if turn.role == "output" and not self.waiting:
                continue
            line = self._line(block, turn, 0)
            if turn.role in ("context", "prompt") and self.waiting and self.waiting.how == "label" and self._is_near() and (
                    turn.role == "context" or turn.label.casefold() in ("input", "text", "context", "passage", "schema")) and turn.label != self.waiting.label:
                self.waiting.contexts.append(turn.text)
                self.waiting.block = self.index
                continue
            if turn.role in ("prompt", "output", "context"):
                self._open("prompt" if turn.role == "context" else turn.role, turn.text, line, block, "label", turn.label)
                self._close()

    def _content(self, text: str, line: int, block: Block) -> None:
        """A block under a label, a heading or after "the output is:"."""
        assert self.pending is not None
        role, how, label = self.pending
        if self.building is not None and self.building.role == role:
            self.building.texts.append(text)
            return
        self._open(role, text, line, block, how, label)
        if how != "heading" or block.kind == "fence":
            self._close()
            self.pending = None

    def _open(self, role: Role, text: str, line: int, block: Block, how: Any, label: str = "") -> None:
        self._close()
        template = ""
        if role == "output" and block.kind == "fence":
            text = _RESULT_FENCE.sub("", text, count=1)
        if role == "prompt":
            said, template = turns(text)
            asked = [turn.text for turn in said if turn.role == "prompt"]
            text = asked[0] if template and asked else text
        self.building = _Part(role, [text], line, self.index, block.headings, how, label, template, called=self.called)

    def _close(self) -> None:
        """What was being built is complete: an output goes to the prompt that waits, a prompt waits."""
        part, self.building = self.building, None
        if part is None:
            return
        if part.role == "context" and self.waiting:
            self.waiting.contexts.extend(part.texts)
            self.waiting.block = self.index
        elif part.role in ("prompt", "context"):
            self._flush()
            self.waiting = part
        elif part.role == "output" and (self.waiting or (self.loose and part.block - self.loose.block <= 2 and self.loose.headings[:1] == part.headings[:1])):
            prompt, self.waiting, self.loose = self.waiting or self.loose, None, None
            assert prompt is not None
            if part.block - prompt.block <= 8:
                sure = {"label": 0.85, "heading": 0.85, "intro": 0.75, "turn": 0.85, "code": 0.8, "next": 0.65}[part.how]
                self._add("\n\n".join(["\n\n".join(prompt.texts), *prompt.contexts]), "\n\n".join(part.texts), prompt.line, sure, prompt.headings, prompt.template, label=prompt.label)

    def _flush(self) -> None:
        """A prompt without an output is an example where the card calls it one."""
        part, self.waiting = self.waiting, None
        if part is None:
            return
        if part.how == "code":
            if not part.label and not self.found and is_specific(part.texts[0]):  # handed to the model itself, in so many words
                self._add(part.texts[0], None, part.line, 0.5, part.headings)
            return
        called = part.called or any(is_pure_example_heading(one) for one in part.headings[-1:]) or (part.how in ("label", "heading", "intro") and is_pure_example_heading(part.label))
        if called and part.how != "intro" and len(part.texts) == 1:
            self._add("\n\n".join([*part.texts, *part.contexts]), None, part.line, 0.55, part.headings, part.template, label=part.label)

    def _add(self, prompt: str, output: str | None, line: int, confidence: float, headings: tuple[str, ...], template: str = "", label: str = "") -> None:
        prompt, output = _unwrapped(prompt), _unwrapped(output) if output is not None else None
        if not _is_example(prompt, output, headings, label):
            return
        if any(is_pure_example_heading(one) for one in headings[-2:]):
            confidence = min(0.95, confidence + 0.07)
        self.found.append(Example(prompt, output, round(confidence, 2), Evidence("card text", self.card.quote(line), self.card.file, line), template))


def _as_written(text: str) -> str:
    """Markdown without bold marks and HTML, everything else as it is written: an example is literal text, `COUNT(*)` and `<mask>` included."""
    if "<" in text:
        text = _HTML.sub("", _BREAK.sub("\n", text))
    if "**" in text or "__" in text:
        text = _BOLD.sub(r"\1\2", text)
    return html.unescape(text) if "&" in text else text


def _unwrapped(text: str) -> str:
    """Without the quotation marks or code marks around all of it."""
    text = text.strip()
    for left, right in (("```", "```"), ("`", "`"), ('"', '"'), ("“", "”"), ("«", "»"), ("「", "」"), ("*", "*"), ("'", "'")):
        if len(text) > 2 * len(left) and text.startswith(left) and text.endswith(right) and left not in text[len(left) : -len(right)] and right not in text[len(left) : -len(right)]:
            return text[len(left) : -len(right)].strip()
    return text


def _in_body(card: Card) -> list[Example]:
    return _Reader(card).read()


_ON_THE_PROJECT = re.compile(r"\b(?:this|the|your) (?:model|repo\w*|version|adapter|quant\w*|project|dataset)\b|\blicen[cs]e|\bvram\b|\bgguf\b|\bgpus?\b", re.IGNORECASE)


def _is_example(prompt: str, output: str | None, headings: tuple[str, ...], label: str) -> bool:
    if not is_concrete(prompt) or not is_language(prompt) or is_stock(prompt) or _is_barred(headings):
        return False
    if output is not None and not (output and is_answer(output)):
        return False
    if label.casefold() in ("q", "question") and _ON_THE_PROJECT.search(prompt):
        return False
    if label.casefold() in ("input", "inputs", "text", "input text") and (is_specification(prompt) or is_specification(output or "")):
        return any(is_pure_example_heading(one) for one in headings[-2:]) and not is_specification(prompt)
    return not is_usage_code(prompt)


def _is_barred(headings: tuple[str, ...]) -> bool:
    """Whether the section is about something else: data, evaluation, questions on the project."""
    if not headings:
        return False
    own = headings[-1]
    if is_data_heading(own):
        return True
    if is_other_heading(own):
        return not is_pure_example_heading(own)
    return len(headings) > 1 and is_data_heading(headings[-2]) and not re.search(r"output|generat|inference|predict|prompt|usage", own, re.IGNORECASE)
