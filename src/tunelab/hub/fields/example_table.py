"""Tables of prompts and outputs: which column is which, and which rows are examples."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunelab.hub.card import Block, plain_text
from tunelab.hub.fields.concrete import is_concrete, is_language, is_specification
from tunelab.hub.fields.labels import LANGUAGES, WEAK, Role, role_of

MAX_ROWS = 10
_NUMBER = re.compile(r"[\s\d.,%±+-]*")
_OURS = re.compile(r"fine-?\s?tun|ours|our model|after|this model|sft|dpo|lora", re.IGNORECASE)
_THEIRS = re.compile(r"base|original|before|reference|ground truth|gold|expected|teacher|gpt|chatgpt|target", re.IGNORECASE)


def pairs_in_table(block: Block, *, is_example: bool) -> Iterator[tuple[str, str | None, int, float]]:
    """(prompt, output, row, confidence) of the rows that are examples."""
    rows = block.rows
    if len(rows) < 2:
        return
    heads = [plain_text(cell).strip() for cell in rows[0]]
    columns = _columns(heads)
    if columns is None:
        yield from _upright(block) if len(heads) == 2 else ()
        return
    asked, said, is_sure = columns
    for number, row in enumerate(rows[1 : MAX_ROWS + 1], start=1):
        if max(asked, said) >= len(row):
            continue
        prompt, output = _cell(row[asked]), _cell(row[said])
        if not prompt or not output or _NUMBER.fullmatch(prompt) or (_NUMBER.fullmatch(output) and not is_example):
            continue
        if is_concrete(prompt) and is_language(prompt) and (is_sure or is_example or _is_sentence(prompt)) and not is_specification(prompt) and not is_specification(output):
            yield prompt, output, number, 0.85 if is_sure else 0.7


def _cell(text: str) -> str:
    return plain_text(re.sub(r"<br\s*/?>", "\n", text)).strip()


def _is_sentence(text: str) -> bool:
    return len(text.split()) >= 4 or sum(not one.isascii() for one in text) >= 6


def _columns(heads: list[str]) -> tuple[int, int, bool] | None:
    """(column of the prompt, column of the output, whether the heads say so without doubt)."""
    roles: list[Role | None] = [role_of(head) for head in heads]
    asked = next((index for index, role in enumerate(roles) if role == "prompt"), None)
    outputs = [index for index, role in enumerate(roles) if index != asked and (role == "output" or (asked is not None and _OURS.search(heads[index])))]
    if asked is not None and outputs:
        best = next((index for index in outputs if _OURS.search(heads[index])), next((index for index in outputs if not _THEIRS.search(heads[index])), outputs[0]))
        return asked, best, heads[asked].casefold() not in WEAK
    names = [re.split(r"[\s(]", head.casefold())[0] if head else "" for head in heads]
    if len(heads) <= 3 and sum(name in LANGUAGES for name in names) == 2:
        first, second = (index for index, name in enumerate(names) if name in LANGUAGES)
        return first, second, False
    return None


def _upright(block: Block) -> Iterator[tuple[str, str | None, int, float]]:
    """A table of two columns whose first names what the second holds: | Prompt | ... |, | Output | ... |."""
    prompt: tuple[str, int] | None = None
    for number, row in enumerate(block.rows):
        if len(row) != 2:
            continue
        role, text = role_of(plain_text(row[0]).strip()), _cell(row[1])
        if role == "prompt" and is_concrete(text) and _is_sentence(text) and not is_specification(text):
            prompt = (text, number)
        elif role == "output" and prompt and text and not is_specification(text):
            yield prompt[0], text, prompt[1], 0.75
            prompt = None
