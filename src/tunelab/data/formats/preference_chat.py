"""Preference rows whose prompt and answers are printed by a chat template."""

from __future__ import annotations

from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context, kind, require_columns
from tunelab.data.formats.conversation import Turn
from tunelab.data.formats.spans import STAND_INS
from tunelab.data.sample import Row
from tunelab.errors import DataError, TunelabError

_ROLES = {name: name for name in ("user", "assistant", "system", "tool")}

Texts = tuple[str, str, str]
"""Prompt, better answer, worse answer."""


def template_pair(row: Row, dataset: Dataset, context: Context) -> Texts:
    """`chat_template.default`: the messages so far, and two answers: each a message, a list of messages (its last one counts) or a text."""
    columns = (dataset.field_messages or "messages", dataset.field_chosen or "chosen", dataset.field_rejected or "rejected")
    require_columns(row, "chat_template.default", columns)
    messages = row.values[columns[0]]
    if isinstance(messages, str):
        before: list[Turn] = [{"role": "user", "content": messages}]
    else:
        before = [_mapped(message, columns[0], row, dataset) for message in _listed(messages, columns[0], row)]
    chosen, rejected = (_answer(row.values[column], column, row, dataset) for column in columns[1:])
    return _print(row, before, chosen, rejected, context)


def argilla_pair(row: Row, dataset: Dataset, context: Context) -> Texts:
    """`chat_template.argilla_chat`: two whole conversations; the prompt is the better one's without its last message."""
    columns = (dataset.field_chosen or "chosen", dataset.field_rejected or "rejected")
    require_columns(row, "chat_template.argilla_chat", columns)
    chosen, rejected = ([_mapped(message, column, row, dataset, only=True) for message in _listed(row.values[column], column, row)]
                        for column in columns)
    return _print(row, chosen[:-1], chosen[-1], rejected[-1], context)


def odds_pair(row: Row, context: Context) -> Texts:
    """`rl: orpo`, `chat_template.argilla`: as above; the answers are what the conversation prints beyond the prompt."""
    require_columns(row, "chat_template.argilla", ("chosen", "rejected"))
    talks = [_listed(row.values[column], column, row) for column in ("chosen", "rejected")]
    if len(talks[0]) % 2:
        raise DataError(f"`chosen` holds {len(talks[0])} messages; expected questions and answers by turns.", where=str(row.origin),
                        next_step="Mend the row, or leave it out.")
    system = row.values.get("system")
    before: list[Turn] = [{"role": "system", "content": system}] if system else []
    for number, message in enumerate(talks[0][:-1]):
        asked = row.values["prompt"] if number % 2 == 0 and "prompt" in row.values else message.get("content")
        before.append({"role": "assistant" if number % 2 else "user", "content": asked})
    prompt = _render(row, before, context, answer_follows=True)
    answers = [_render(row, [*before, answer_turn(talk[-1])], context) for talk in talks]
    return prompt, answers[0][len(prompt):], answers[1][len(prompt):]


def answer_turn(message: dict[str, Any]) -> Turn:
    """An answer with its reasoning, where it has one."""
    reasoning = message.get("reasoning_content")
    return {"role": "assistant", "content": message.get("content"), **({} if reasoning is None else {"reasoning_content": reasoning})}


def message_text(row: Row, column: str, number: int) -> str:
    """The text of one message of a column that holds a list of them."""
    messages = _listed(row.values.get(column), column, row)
    content = messages[number].get("content") if number < len(messages) else None
    if not isinstance(content, str):
        raise DataError(f"Message {number + 1} of `{column}` has no text.", where=str(row.origin), next_step="Mend the row, or leave it out.")
    return content


def _print(row: Row, before: list[Turn], chosen: Turn, rejected: Turn, context: Context) -> Texts:
    """The prompt as printed, and what each answer prints behind a question."""
    prompt = _render(row, before, context, answer_follows=True)
    return prompt, _completion(row, chosen, context), _completion(row, rejected, context)


def _completion(row: Row, answer: Turn, context: Context) -> str:
    """What an answer prints, without the question before it and without whitespace at its end."""
    question: Turn = {"role": "user", "content": STAND_INS[0]}
    whole = _render(row, [question, answer], context)
    head = _render(row, [question], context, answer_follows=True)
    if head and whole.startswith(head):
        return whole[len(head):].rstrip()
    content = str(answer["content"])
    at = whole.find(content)
    at = whole.find(content.strip()) if at == -1 else at
    if at == -1:
        raise DataError("The chat template does not print this answer as it is written.", where=str(row.origin),
                        next_step="Use a template that prints answers unchanged.")
    return whole[at:].rstrip()


def _render(row: Row, turns: list[Turn], context: Context, *, answer_follows: bool = False) -> str:
    try:
        return context.tokenizer.render(turns, template=context.template, add_generation_prompt=answer_follows)
    except TunelabError as error:
        error.where = error.where or str(row.origin)
        raise


def _answer(value: Any, column: str, row: Row, dataset: Dataset) -> Turn:
    if isinstance(value, str):
        return {"role": "assistant", "content": value}
    return _mapped(value if isinstance(value, dict) else _listed(value, column, row)[-1], column, row, dataset)


def _mapped(message: dict[str, Any], column: str, row: Row, dataset: Dataset, *, only: bool = False) -> Turn:
    """A message under the template's names. `only`: nothing but role and content."""
    mapping = {"role": "role", "content": "content", **(dataset.message_property_mappings or {})}
    roles = {source: target for target, sources in (dataset.roles or {}).items() for source in sources} or _ROLES
    role, content = message.get(mapping["role"]), message.get(mapping["content"])
    if role not in roles or not isinstance(content, str):
        raise DataError(f"A message of `{column}` needs `{mapping['role']}` (one of {', '.join(roles)}) and `{mapping['content']}` (text).",
                        where=str(row.origin), next_step="Name the keys with message_property_mappings, and the roles with roles.")
    more = {} if only else {target: message[source] for target, source in mapping.items()
                            if target not in ("role", "content") and source in message}
    return {"role": roles[role], "content": content, **more}


def _listed(value: Any, column: str, row: Row) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        found = "an empty list" if value == [] else f"a {kind(value)}"
        raise DataError(f"The column `{column}` holds {found}; expected a list of messages.", where=str(row.origin),
                        next_step='Write it as [{"role": "user", "content": "..."}, ...].')
    return value
