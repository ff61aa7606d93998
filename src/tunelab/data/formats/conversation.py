"""A row to the turns that a chat template is given: columns, keys and role names of the data mapped to the template's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import kind, suggestion
from tunelab.data.formats.details import Stretch, join_parts, stretches_of
from tunelab.data.sample import Row
from tunelab.data.templates import message_keys
from tunelab.data.type_names import SHAREGPT_EDIT
from tunelab.errors import DataError

Turn = dict[str, Any]
"""One message as the template sees it: `role`, `content` and whatever else the template reads."""

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system", "tool": "tool"}
_THINKING = (("<think>", "</think>"), ("<reasoning>", "</reasoning>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
_SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")


@dataclass(frozen=True, slots=True)
class Mark:
    """What the data itself says about training a turn: the whole of it, parts of its content, parts of its reasoning. None: nothing."""

    trained: bool | None = None
    content: tuple[Stretch, ...] | None = None
    reasoning: tuple[Stretch, ...] | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns, a mark for each, and the tools that the model may call."""

    turns: tuple[Turn, ...]
    marks: tuple[Mark, ...]
    tools: list[Any] | None


def thinking_key(dataset: Dataset) -> str:
    """The name under which the template is given the reasoning of a turn."""
    return dataset.template_thinking_key or "reasoning_content"


def mapped_role(role: str, dataset: Dataset) -> str:
    """The template's name for a role of the data; unknown names stay as they are."""
    if dataset.roles:
        return next((target for target, sources in reversed(dataset.roles.items()) if role in sources), role)
    return _ROLES.get(role, role)


def conversation(row: Row, dataset: Dataset, template: str) -> Conversation:
    """The turns of a row. Raises DataError, with the place and the edit, when it holds no conversation of the configured shape."""
    values = without_none(row.values)
    messages = _messages(values, row, dataset)
    mapping = {"role": "role", "content": "content", **(dataset.message_property_mappings or {})}
    keys = message_keys(template)
    pairs = [_turn(message, number, row, dataset, mapping, keys) for number, message in enumerate(messages, start=1)]
    if pairs[0][0]["role"] != "system" and isinstance(values.get("system"), str):
        pairs.insert(0, ({"role": "system", "content": values["system"]}, Mark()))
    if dataset.drop_system_message and pairs[0][0]["role"] == "system":
        del pairs[0]
    if not pairs:
        raise DataError("Nothing is left of this conversation without its system message.", where=str(row.origin),
                        next_step="Leave the row out, or set drop_system_message: false")
    return Conversation(tuple(turn for turn, _ in pairs), tuple(mark for _, mark in pairs), _tools(values, row))


def _tools(values: Mapping[str, Any], row: Row) -> list[Any] | None:
    """The column `tools`: a list of JSON schemas, or that list as JSON text."""
    tools = values.get("tools")
    tools = _parsed(tools, "tools", row) if isinstance(tools, str) and tools.strip() else tools
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"The column `tools` holds {'other things than mappings' if isinstance(tools, list) else 'a ' + kind(tools)}; "
                        "expected a list of JSON schemas.", where=str(row.origin), next_step="Write it as a list of JSON schemas.")
    return [_with_parameters(tool, row) for tool in tools]


def _with_parameters(tool: dict[str, Any], row: Row) -> Any:
    function = tool.get("function")
    if isinstance(function, dict) and isinstance(function.get("parameters"), str):
        return {**tool, "function": {**function, "parameters": _parsed(function["parameters"], "tools", row)}}
    return tool


def _messages(values: Mapping[str, Any], row: Row, dataset: Dataset) -> list[dict[str, Any]]:
    column = dataset.field_messages or "messages"
    messages = values.get(column)
    if isinstance(messages, str):
        messages = without_none(_parsed(messages, column, row))
    if not isinstance(messages, list) or not messages:
        holds = "nothing (null)" if messages is None else "an empty list" if messages == [] else f"a {kind(messages)}"
        found = f"holds {holds}" if column in row.values else "is not there"
        names = ", ".join(f"`{name}`" for name in list(row.values)[:12]) or "none"
        raise DataError(f"type chat_template reads a list of messages from the column `{column}`, which {found}; "
                        f"the row's columns: {names}.", where=str(row.origin), next_step=suggestion(values, "chat_template"))
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict):
            raise DataError(f"Message {number} of `{column}` is a {kind(message)}; expected an object with `role` and `content`.",
                            where=str(row.origin), next_step='Write it as {"role": "user", "content": "..."}.')
    return messages


def _turn(message: dict[str, Any], number: int, row: Row, dataset: Dataset, mapping: dict[str, str],
          keys: frozenset[str]) -> tuple[Turn, Mark]:
    turn = {name: message[source] for name, source in mapping.items() if source in message}
    role = turn.get("role")
    if not isinstance(role, str):
        raise _no_role(message, number, row, dataset, mapping)
    turn["role"] = mapped_role(role, dataset)
    if dataset.split_thinking and turn["role"] == "assistant" and isinstance(turn.get("content"), str):
        _split_thinking(turn, thinking_key(dataset))
    sources = set(mapping.values())
    turn |= {key: message[key] for key in keys if key in message and key not in sources}
    mark = _mark(message, turn, number, row, dataset)
    if "content" not in turn and len(turn) == 1 and not _is_null(number, mapping["content"], row, dataset):
        raise DataError(f"Message {number} ({turn['role']}) has no `{mapping['content']}`; its keys are {_keys(message)}.",
                        where=str(row.origin), next_step="Name the key that holds the text: message_property_mappings: {content: KEY}")
    if isinstance(turn.get("tool_calls"), list):
        turn["tool_calls"] = [_with_arguments(call, row) for call in turn["tool_calls"]]
    return turn, mark


def _mark(message: dict[str, Any], turn: Turn, number: int, row: Row, dataset: Dataset) -> Mark:
    """What the message says about its training; content and reasoning that are lists of parts become text in `turn`."""
    detail, thinking = message.get(dataset.message_field_training_detail or ""), thinking_key(dataset)
    stretches: dict[str, tuple[Stretch, ...] | None] = {
        thinking: None, "content": None if detail is None else stretches_of(detail, number, row)}
    for key in stretches:
        if isinstance(turn.get(key), list):
            turn[key], parts = join_parts(turn[key], number, row)
            stretches[key] = parts if parts is not None else stretches[key]
    return Mark(_trained(message, number, row, dataset), stretches["content"], stretches[thinking])


def _trained(message: dict[str, Any], number: int, row: Row, dataset: Dataset) -> bool | None:
    key = dataset.message_field_training
    value = message.get(key) if key else None
    if value is not None and not isinstance(value, (bool, int, float)):
        raise DataError(f"Message {number} has `{key}`: a {kind(value)}; expected true or false.", where=str(row.origin),
                        next_step=f"Write `{key}` as true or false (or 1 and 0).")
    return None if value is None else bool(value)


def _split_thinking(turn: Turn, key: str) -> None:
    """Move a reasoning block out of the content. The rest loses its leading whitespace and, where it has one, the frame of a solution."""
    content: str = turn["content"]
    found = next(((opened, closed) for opened, closed in _THINKING if opened in content and closed in content), None)
    if found is None:
        return
    opened, closed = found
    begin, end = content.find(opened), content.find(closed)
    turn[key] = content[begin + len(opened):end].strip()
    rest = content[end + len(closed):].lstrip()
    if _SOLUTION[0] in rest and _SOLUTION[1] in rest:
        rest = rest[rest.find(_SOLUTION[0]) + len(_SOLUTION[0]):rest.find(_SOLUTION[1])].strip()
    turn["content"] = rest


def _is_null(number: int, key: str, row: Row, dataset: Dataset) -> bool:
    """Whether the message has the key and it is null: then the template decides what to make of it."""
    messages = row.values.get(dataset.field_messages or "messages")
    return isinstance(messages, list) and isinstance(messages[number - 1], dict) and key in messages[number - 1]


def _no_role(message: dict[str, Any], number: int, row: Row, dataset: Dataset, mapping: dict[str, str]) -> DataError:
    column = dataset.field_messages or "messages"
    if "from" in message and "value" in message:
        step = f"This is the ShareGPT shape; write: {SHAREGPT_EDIT.replace('conversations', column)}"
    else:
        step = "Name the keys that hold role and text: message_property_mappings: {role: KEY, content: KEY}"
    return DataError(f"Message {number} of `{column}` has no `{mapping['role']}`; its keys are {_keys(message)}.", where=str(row.origin),
                     next_step=step)


def _keys(message: dict[str, Any]) -> str:
    return ", ".join(f"`{key}`" for key in message) or "none"


def _with_arguments(call: Any, row: Row) -> Any:
    """Templates print arguments as JSON themselves; data often holds them as JSON text."""
    function = call.get("function") if isinstance(call, dict) else None
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        return {**call, "function": {**function, "arguments": _parsed(function["arguments"], "tool_calls", row)}}
    return call


def _parsed(text: str, name: str, row: Row) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"`{name}` holds text that is not JSON: {error}.", where=str(row.origin),
                        next_step="Mend this row, or leave it out.") from error


def without_none(value: Any) -> Any:
    """Drop the keys that are null, at every depth: table formats fill missing keys with them. A null inside a list is a value and stays."""
    if isinstance(value, dict):
        return {key: without_none(one) for key, one in value.items() if one is not None}
    return [without_none(one) for one in value] if isinstance(value, list) else value
