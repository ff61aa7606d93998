"""What only the raw rows show: whose turns they hold, and answers that are empty. One pass over local files, without tokenising."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tunelab.config.config import Config
from tunelab.config.sections.data import Dataset
from tunelab.data.formats.conversation import mapped_role
from tunelab.data.mixing import trained_on
from tunelab.data.sample import Origin, Row
from tunelab.data.sources import find_source

_ANSWERS = ("output", "response", "answer", "completion", "chosen")
_PLACES = 5


@dataclass(frozen=True, slots=True)
class Turns:
    """`roles`: role (as the template calls it) -> number of turns, most frequent first. `empty_answers`: rows with an answer without text.

    `rows`: how many were looked at; `unread`: paths of datasets that were not, because they are not on this disk. Rows are counted before
    `shards` and before any is left out.
    """

    rows: int
    roles: Mapping[str, int]
    empty_answers: int
    empty_places: tuple[Origin, ...] = ()
    unread: tuple[str, ...] = ()


def turns(config: Config, most: int | None = None) -> Turns:
    """Count turns and empty answers in the local files of all datasets, of each in its first `most` rows (all of them when None).

    Raises DataError as reading them does.
    """
    roles: Counter[str] = Counter()
    rows, empty, places, unread = 0, 0, list[Origin](), list[str]()
    for index, dataset in enumerate(trained_on(config.data)):
        if not (Path(dataset.path).expanduser().exists() or dataset.data_files):
            unread.append(dataset.path)
            continue
        for row in islice(_rows(dataset, index, config), most):
            rows += 1
            if _look(row, dataset, roles):
                empty += 1
                if len(places) < _PLACES:
                    places.append(row.origin)
    return Turns(rows, dict(roles.most_common()), empty, tuple(places), tuple(unread))


def _rows(dataset: Dataset, index: int, config: Config) -> Iterable[Row]:
    return find_source(dataset, index, config_folder=config.source.path.parent).rows()


def _look(row: Row, dataset: Dataset, roles: Counter[str]) -> bool:
    """Count the roles of a row's turns; whether it has an answer that is to be learnt and holds no text."""
    messages = row.values.get(dataset.field_messages or "messages")
    if not isinstance(messages, list):
        return _answer_is_empty(row.values, dataset)
    mapping = dataset.message_property_mappings or {}
    role_key, text_key = mapping.get("role", "role"), mapping.get("content", "content")
    learnt = {"assistant"} if dataset.roles_to_train is None else {mapped_role(role, dataset) for role in dataset.roles_to_train}
    empty = False
    for message in messages:
        if not isinstance(message, dict) or not isinstance(role := message.get(role_key), str):
            continue
        role = mapped_role(role, dataset)
        roles[role] += 1
        empty = empty or (role in learnt and _is_empty(message.get(text_key)) and not message.get("tool_calls"))
    return empty


def _answer_is_empty(values: Mapping[str, Any], dataset: Dataset) -> bool:
    named = getattr(dataset.type, "field_output", None)
    column = named or next((name for name in _ANSWERS if name in values), None)
    return column is not None and _is_empty(values.get(column))


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value == []
