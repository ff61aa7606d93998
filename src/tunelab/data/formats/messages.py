"""`type: messages`: conversations in one of two fixed layouts (chatml, llama3), each message tokenised by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context, kind, require_columns, suggestion
from tunelab.data.sample import IGNORE, Row, Sample
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import ConfigError, DataError

_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "tool": "tool",
          "ipython": "ipython"}
_WEIGHTS = ("train", "weight")


@dataclass(frozen=True, slots=True)
class _Layout:
    """What stands before and behind a message; `first` only before the very first, `gap` behind its end without loss."""

    head: str
    end: str
    gap: str = ""
    first: str = ""


_CHATML = _Layout("<|im_start|>{role}\n", "<|im_end|>", "\n")
_LLAMA3 = _Layout("<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>", first="<|begin_of_text|>")


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample: what the assistant says and the end of its turns carry loss, or what the messages' own `train` or `weight` say."""
    name = dataset.chat_template or context.template_name or "chatml"
    if name != "chatml" and not name.startswith("llama3"):
        raise ConfigError(f"type: messages has the layouts chatml and llama3, and chat_template is {name!r}.",
                          where=f"datasets[{row.origin.dataset}].chat_template", next_step="Use type: chat_template, which takes any template.")
    layout = _CHATML if name == "chatml" else _LLAMA3
    messages = _messages(row, dataset)
    weighted = next((key for key in _WEIGHTS if key in messages[0]), None)
    ids: list[int] = []
    labels: list[int] = []
    for number, message in enumerate(messages):
        role, text = _role_and_text(message, number, row, dataset)
        trained = context.train_on_inputs or role == "assistant"
        if weighted is not None:
            trained = bool(_weight(message, weighted, number, row))
        head = layout.head.format(role="ipython" if role == "tool" and layout is _LLAMA3 else role)
        first = [(layout.first, False)] if number == 0 and layout.first else []
        parts = [*first, (head, False), (text, trained), (layout.end, trained), (layout.gap, False)]
        _append(ids, labels, parts, context.tokenizer)
    return [Sample(tuple(ids), tuple(labels), row.origin)]


def _append(ids: list[int], labels: list[int], parts: list[tuple[str, bool]], tokenizer: TextTokenizer) -> None:
    """Add one message. It is tokenised again with each part, and the tokens that are new belong to the part: a token over a border
    belongs to the part before it."""
    done: list[int] = []
    waiting: list[int] = []
    running, waiting_trained = "", False
    for text, trained in parts:
        running += text
        now = tokenizer.encode(running, special=False)
        if waiting:
            waiting = now[len(done):len(done) + len(waiting)]
            labels += waiting if waiting_trained else [IGNORE] * len(waiting)
            done += waiting
        waiting, waiting_trained = now[len(done):], trained
    done += waiting
    labels += waiting if waiting_trained else [IGNORE] * len(waiting)
    ids += done


def _messages(row: Row, dataset: Dataset) -> list[dict[str, Any]]:
    column = dataset.field_messages or "messages"
    require_columns(row, "messages", (column,))
    messages = row.values[column]
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        found = "an empty list" if messages == [] else f"a {kind(messages)}"
        raise DataError(f"type messages reads a list of messages from the column `{column}`, which holds {found}.", where=str(row.origin),
                        next_step=suggestion(row.values, "messages"))
    return messages


def _role_and_text(message: dict[str, Any], number: int, row: Row, dataset: Dataset) -> tuple[str, str]:
    mapping = {"role": "role", "content": "content", **(dataset.message_property_mappings or {})}
    role, text = message.get(mapping["role"]), message.get(mapping["content"])
    if role not in _ROLES or not isinstance(text, str):
        raise DataError(f"Message {number + 1} needs `{mapping['role']}` (one of {', '.join(_ROLES)}) and `{mapping['content']}` (text).",
                        where=str(row.origin), next_step="Name the keys: message_property_mappings: {role: KEY, content: KEY}, or use type: "
                        "chat_template, which takes tool calls and other roles too.")
    return _ROLES[role], text


def _weight(message: dict[str, Any], key: str, number: int, row: Row) -> int:
    value = message.get(key)
    if not isinstance(value, (bool, int, float)):
        raise DataError(f"Message {number + 1} has no `{key}`, which the first message has.", where=str(row.origin),
                        next_step=f"Give every message a `{key}`: 0 or 1.")
    return int(value)
