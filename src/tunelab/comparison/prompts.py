"""Read prompts from a file: JSONL rows or a YAML list, chat rows with the expected answer last, or plain text with one prompt per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunelab.config.yaml_events import parse
from tunelab.errors import ConfigError, DataError, UsageError
from tunelab.grading import check_grader
from tunelab.runners.prompt import Prompt

_ROLES = ("system", "developer", "user", "assistant", "tool")
_GROUP = re.compile(r"[\w .-]{1,40}")


def read_prompts(path: Path, group: str = "task") -> tuple[Prompt, ...]:
    """The prompts of a file, in its order. A row without `id` gets FILE-LINE, and without `group` the `group` given here.

    .txt: each line that is not blank is a prompt. .yml, .yaml: a list of texts or rows. Else JSONL. A row is either {"prompt": str} or
    {"messages": [...]} with, if wanted, "id", "grader" and "group". When the last message is the assistant's it is the expected answer: it
    is taken off, and the grader is {"kind": "exact", "expected": it} unless the row has its own. Raises DataError with file:line:
    unreadable, no prompts, a bad row.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error.strerror}"
        raise DataError(f"The file of prompts {reason}.", where=str(path)) from error
    found: dict[str, Prompt] = {}
    problems: list[tuple[int, str]] = []
    for number, row in _rows(path, text):
        try:
            prompt = _row(row, f"{path.stem}-{number}", group)
            if prompt.id in found:
                raise ValueError(f"the id {prompt.id!r} stands in an earlier line too")
            found[prompt.id] = prompt
        except ValueError as error:
            problems.append((number, str(error)))
    if problems:
        _raise(path, problems)
    if not found:
        raise DataError("The file holds no prompts.", where=str(path))
    return tuple(found.values())


def _raise(path: Path, problems: list[tuple[int, str]]) -> None:
    number, problem = problems[0]
    others = ", ".join(str(one) for one, _ in problems[1:11]) + (", ..." if len(problems) > 11 else "")
    more = f" Also lines with a problem: {others}." if others else ""
    raise DataError(f"{problem[0].upper()}{problem[1:]}.{more}", where=f"{path}:{number}")


def _rows(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """(line, row): of a JSONL file the rows are unread text."""
    if path.suffix in (".yml", ".yaml"):
        try:
            value, places, _ = parse(str(path), text)
        except ConfigError as error:
            raise DataError(error.message, where=error.where, next_step=error.next_step) from None
        if not isinstance(value, list):
            raise DataError("The file of prompts is not a YAML list.", where=f"{path}:1", next_step="Begin each prompt with a dash.")
        yield from ((places[(index,)].line, {"prompt": row} if isinstance(row, str) else row) for index, row in enumerate(value))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, {"prompt": line.strip()} if path.suffix == ".txt" else line


def _row(row: Any, default_id: str, default_group: str) -> Prompt:
    """One row, or the text of a JSONL row. Raises ValueError with a sentence."""
    if isinstance(row, str):
        try:
            row = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the line is not JSON: {getattr(error, 'msg', 'nested too deeply')}") from error
    if not isinstance(row, dict) or ("prompt" in row) == ("messages" in row):
        raise ValueError('expected an object with either "prompt" or "messages"')
    messages = _messages(row["messages"]) if "messages" in row else _messages([{"role": "user", "content": row["prompt"]}])
    grader = row.get("grader")
    if messages[-1]["role"] == "assistant":
        expected = messages.pop()["content"]
        grader = {"kind": "exact", "expected": expected} if grader is None else grader
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise ValueError("expected a message of the user before the answer")
    prompt_id, group = row.get("id", default_id), row.get("group", default_group)
    if not isinstance(prompt_id, str | int) or isinstance(prompt_id, bool) or prompt_id == "":
        raise ValueError(f"`id` is {json.dumps(prompt_id)}; expected a text")
    if not isinstance(group, str) or not _GROUP.fullmatch(group):
        raise ValueError(f"`group` is {json.dumps(group)}; expected a short name such as task or general")
    return Prompt(str(prompt_id), tuple(messages), _grader(grader, str(prompt_id)), group)


def _messages(raw: Any) -> list[dict[str, str]]:
    if not isinstance(raw, list) or not raw:
        raise ValueError("`messages` must be a list with at least one message")
    messages = []
    for index, message in enumerate(raw):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise ValueError(f"messages[{index}] has no `role` among: {', '.join(_ROLES)}")
        if not isinstance(message.get("content"), str) or (message["role"] == "user" and not message["content"].strip()):
            raise ValueError(f"messages[{index}] has no text in `content`")
        messages.append({"role": message["role"], "content": message["content"]})
    return messages


def _grader(grader: Any, prompt_id: str) -> dict[str, Any] | None:
    if grader is None:
        return None
    try:
        check_grader(grader, prompt_id)
    except UsageError as error:
        raise ValueError(error.message.rstrip(".")) from error
    return dict(grader)
