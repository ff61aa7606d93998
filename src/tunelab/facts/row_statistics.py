"""How long rows are in tokens when no tokenizer is at hand: counted in characters, four to a token.

A rough guide (OpenAI's own rule of thumb for English is four characters a token; other scripts take more tokens), so everything that is
planned from it says where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CHARACTERS_PER_TOKEN = 4.0
_TOKENS_PER_OTHER = 0.6  # a character outside ASCII
_PER_MESSAGE = 5  # role, borders and newline of a chat template
_ALPACA_PROMPT = 35  # "Below is an instruction ..."
_ANSWERS = frozenset({"assistant", "gpt", "model", "bot", "chatgpt"})
_OUTPUTS = frozenset({"output", "response", "answer", "completion", "chosen", "target"})
_MAX_DEPTH = 6


@dataclass(frozen=True, slots=True)
class RowLength:
    """Estimated tokens of a row, and how many of them carry loss."""

    tokens: int
    supervised: int


def row_length(values: Mapping[str, Any], kind: str, train_on_inputs: bool) -> RowLength:
    """The length of one raw row, read as `kind` (the dataset's type): a conversation, columns with an output, or plain text."""
    messages = next((value for value in values.values() if _is_conversation(value)), None)
    if messages is not None:
        prompt, answer = _conversation(messages)
    elif kind.startswith("completion") or not any(name in _OUTPUTS for name in values):
        return _whole(sum(_tokens(value) for value in values.values()))
    else:
        answer = sum(_tokens(value) for name, value in values.items() if name in _OUTPUTS)
        prompt = sum(_tokens(value) for name, value in values.items() if name not in _OUTPUTS) + _ALPACA_PROMPT
    total = max(1, round(prompt + answer))
    return RowLength(total, total - 1 if train_on_inputs else min(total - 1, max(1, round(answer))))


def _whole(tokens: float) -> RowLength:
    total = max(1, round(tokens))
    return RowLength(total, total - 1)


def _conversation(messages: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    prompt = answer = 0.0
    for message in messages:
        role = str(message.get("role", message.get("from", ""))).lower()
        text = _tokens({name: value for name, value in message.items() if name not in ("role", "from", "weight", "train")})
        if role in _ANSWERS:
            prompt, answer = prompt + _PER_MESSAGE - 1, answer + text + 1  # the end of its turn carries loss
        else:
            prompt += text + _PER_MESSAGE
    return prompt, answer


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) and ("role" in one or "from" in one) for one in value)


def _tokens(value: Any, depth: int = 0) -> float:
    """Tokens of all the text inside a value."""
    if isinstance(value, str):
        ascii_characters = len(value) if value.isascii() else sum(character < "\x80" for character in value)
        return ascii_characters / CHARACTERS_PER_TOKEN + (len(value) - ascii_characters) * _TOKENS_PER_OTHER
    if depth >= _MAX_DEPTH:
        return 0.0
    if isinstance(value, Mapping):
        return sum(_tokens(one, depth + 1) for one in value.values())
    return sum(_tokens(one, depth + 1) for one in value) if isinstance(value, list) else 0.0
