"""What every format is given beside the row, and the words for a row whose columns are not what its type expects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.sample import Row, Sample
from tunelab.data.tokenizer import TextTokenizer
from tunelab.data.type_names import SHAREGPT_EDIT
from tunelab.errors import DataError


@dataclass(frozen=True, eq=False)
class Context:
    """The run's part of the question how a row becomes tokens. `template` is the chat template's text, already resolved, and
    `template_name` what the config calls it.

    `eot_tokens` is None when the config names none; `variables` are the chat template's own switches (chat_template_kwargs). Rows of more
    than `longest` tokens are left out, so that a format need not look for their labels.
    """

    tokenizer: TextTokenizer
    sequence_len: int
    train_on_inputs: bool = False
    template: str | None = None
    eot_tokens: tuple[str, ...] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    template_name: str | None = None
    longest: int | None = None

    @property
    def fingerprint(self) -> str | None:
        """The template and what goes with it, for the key of a cache: another text wherever rows may become other tokens."""
        if self.eot_tokens is None and not self.variables and self.template_name is None:
            return self.template
        return json.dumps([self.template, self.template_name, self.eot_tokens, self.variables], sort_keys=True, default=str)


Format = Callable[[Row, Dataset, Context], list[Sample]]
"""One row -> its samples (none, one, or several for long plain text). Raises DataError for a row it cannot read."""

PRETOKENISED = ("input_ids", "attention_mask", "labels")
"""The columns of rows that are token ids already; they need no `type`."""


def require_columns(row: Row, type_name: str, columns: Iterable[str]) -> None:
    """Raise DataError when a column that the type reads is not there."""
    wanted = list(columns)
    missing = [name for name in wanted if name not in row.values]
    if missing:
        raise DataError(f"type {type_name} reads the column{'s' if len(wanted) > 1 else ''} {_names(wanted)}; this row has "
                        f"{_names(row.values) or 'no columns'}.", where=str(row.origin), next_step=suggestion(row.values, type_name))


def text_of(row: Row, column: str, *, optional: bool = False) -> str:
    """The text in a column; "" for null or a missing column when it is optional. Raises DataError for anything but text."""
    value = row.values.get(column)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        found = "null" if value is None else f"a {kind(value)}"
        raise DataError(f"The column `{column}` holds {found}; expected text.", where=str(row.origin),
                        next_step="Write it as text in the data, or leave the row out.")
    return value


def printed(row: Row, column: str) -> str:
    """What stands in a column of a prompt: text, or a number as it is written. Raises DataError for anything else."""
    value = row.values.get(column)
    return str(value) if isinstance(value, (int, float)) else text_of(row, column)


def suggestion(values: Mapping[str, Any], type_name: str = "") -> str:
    """The edit that fits the columns of a row, as a sentence."""
    if type_name == "pretrain":
        return "Name the column that holds the document: text_column: COLUMN"
    edit = fitting_edit(values)
    if edit is not None and edit != f"type: {type_name}":
        return f"These columns fit: {edit}"
    if type_name.startswith("completion"):
        return "Name the column that holds the text: field: COLUMN"
    if type_name == "chat_template":
        return "Name the column that holds the messages: field_messages: COLUMN"
    return "Rename the columns in the data, or choose the type that fits them (tunelab explain CONFIG datasets[0].type)."


def fitting_edit(values: Mapping[str, Any]) -> str | None:
    """The `type` (and what goes with it) that reads rows with these columns; None when none does."""
    for column in ("conversations", "messages"):
        messages = values.get(column)
        first = messages[0] if isinstance(messages, list) and messages else None
        if isinstance(first, dict) and "from" in first and "value" in first:
            return SHAREGPT_EDIT.replace("conversations", column)
        if isinstance(first, dict):
            return "type: chat_template" if column == "messages" else f"type: chat_template, field_messages: {column}"
    if all(isinstance(values.get(column), list) for column in PRETOKENISED):
        return "no type at all (the rows are token ids already)"
    if "instruction" in values and "output" in values:
        return "type: alpaca"
    if isinstance(values.get("segments"), list):
        return "type: input_output"
    return "type: completion" if "text" in values else None


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, bool):
        return "true/false value"
    names = {str: "text", int: "number", float: "number", list: "list", dict: "mapping"}
    return names.get(type(value), type(value).__name__)


def _names(columns: Iterable[str]) -> str:
    names = [f"`{name}`" for name in columns]
    shown = names[:12] + (["..."] if len(names) > 12 else [])
    return ", ".join(shown[:-1]) + (" and " if len(shown) > 1 else "") + shown[-1] if shown else ""
