"""A row to the turns that a chat template is given: columns, keys and role names of the data mapped to the template's."""

from __future__ import annotations

import json
from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import SHAREGPT_EDIT, kind, suggestion
from tunelab.data.sample import Row
from tunelab.data.templates import message_keys
from tunelab.errors import DataError

Turn = dict[str, Any]
"""One message as the template sees it: `role`, `content` and whatever else the template reads."""

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system", "tool": "tool"}


def mapped_role(role: str, dataset: Dataset) -> str:
    """The template's name for a role of the data; unknown names stay as they are."""
    if dataset.roles:
        return next((target for target, sources in reversed(dataset.roles.items()) if role in sources), role)
    return _ROLES.get(role, role)


def conversation(row: Row, dataset: Dataset, template: str) -> list[Turn]:
    """The turns of a row. Raises DataError, with the place and the edit, when it holds no conversation of the configured shape."""
    values = _without_none(row.values)
    messages = _messages(values, row, dataset)
    mapping = {"role": "role", "content": "content", **(dataset.message_property_mappings or {})}
    keys = message_keys(template)
    turns = [_turn(message, number, row, dataset, mapping, keys) for number, message in enumerate(messages, start=1)]
    if turns[0]["role"] != "system" and isinstance(values.get("system"), str):
        turns.insert(0, {"role": "system", "content": values["system"]})
    if dataset.drop_system_message and turns[0]["role"] == "system":
        del turns[0]
    if not turns:
        raise DataError("Nothing is left of this conversation without its system message.", where=str(row.origin),
                        next_step="Leave the row out, or set drop_system_message: false")
    return turns


def tools_of(row: Row) -> list[Any] | None:
    """The column `tools`: a list of JSON schemas, or that list as JSON text."""
    tools = _without_none(row.values.get("tools"))
    tools = _parsed(tools, "tools", row) if isinstance(tools, str) and tools.strip() else tools
    if not tools:
        return None
    if not isinstance(tools, list):
        raise DataError(f"The column `tools` holds a {kind(tools)}; expected a list.", where=str(row.origin),
                        next_step="Write it as a list of JSON schemas.")
    return [_with_parameters(tool, row) for tool in tools]


def _with_parameters(tool: Any, row: Row) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if isinstance(function, dict) and isinstance(function.get("parameters"), str):
        return {**tool, "function": {**function, "parameters": _parsed(function["parameters"], "tools", row)}}
    return tool


def _messages(values: dict[str, Any], row: Row, dataset: Dataset) -> list[dict[str, Any]]:
    column = dataset.field_messages or "messages"
    messages = values.get(column)
    if isinstance(messages, str):
        messages = _parsed(messages, column, row)
    if not isinstance(messages, list) or not messages:
        found = f"holds {'an empty list' if messages == [] else 'a ' + kind(messages)}" if column in values else "is not there"
        names = ", ".join(f"`{name}`" for name in list(row.values)[:12]) or "none"
        raise DataError(f"type chat_template reads a list of messages from the column `{column}`, which {found}; "
                        f"the row's columns: {names}.", where=str(row.origin), next_step=suggestion(values, "chat_template"))
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict):
            raise DataError(f"Message {number} of `{column}` is a {kind(message)}; expected an object with `role` and `content`.",
                            where=str(row.origin), next_step='Write it as {"role": "user", "content": "..."}.')
    return messages


def _turn(message: dict[str, Any], number: int, row: Row, dataset: Dataset, mapping: dict[str, str], keys: frozenset[str]) -> Turn:
    turn = {name: message[source] for name, source in mapping.items() if source in message}
    role = turn.get("role")
    if not isinstance(role, str):
        raise _no_role(message, number, row, dataset, mapping)
    turn["role"] = mapped_role(role, dataset)
    sources = set(mapping.values())
    turn |= {key: message[key] for key in keys if key in message and key not in sources}
    if isinstance(turn.get("content"), list):
        turn["content"] = _joined(turn["content"], number, row)
    if "content" not in turn and len(turn) == 1:
        raise DataError(f"Message {number} ({turn['role']}) has no `{mapping['content']}`; its keys are {_keys(message)}.",
                        where=str(row.origin), next_step="Name the key that holds the text: message_property_mappings: {content: KEY}")
    if isinstance(turn.get("tool_calls"), list):
        turn["tool_calls"] = [_with_arguments(call, row) for call in turn["tool_calls"]]
    return turn


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


def _joined(parts: list[Any], number: int, row: Row) -> str:
    """The text of content that is written as a list of parts."""
    texts = [part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None for part in parts]
    if any(not isinstance(text, str) for text in texts):
        raise DataError(f"Message {number} holds a part that is not text; only text can be trained on.", where=str(row.origin),
                        next_step="Leave out the images and other parts.")
    if any(isinstance(part, dict) and ("train" in part or "weight" in part) for part in parts):
        raise DataError(f"Message {number} marks single parts with `train` or `weight`, which tunelab does not act on.",
                        where=str(row.origin), next_step="Delete these keys to train on the whole message, or use type: input_output.")
    return "".join(str(text) for text in texts)


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


def _without_none(value: Any) -> Any:
    """Drop nulls at every depth: table formats fill missing keys with them."""
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_none(one) for one in value if one is not None]
    return value
