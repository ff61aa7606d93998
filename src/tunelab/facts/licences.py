"""What is known without a network about who may use a base model: a short table of families with terms of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Licence:
    """`name` in a sentence ("the Llama Community License"); `gated`: downloads need accepted terms and a token; `commercial`: "no" or
    "with conditions". Terms change: the model's card has the last word."""

    name: str
    gated: bool
    commercial: str


def known_licence(model: str) -> Licence | None:
    """The terms of a Hub id, when its family is in the table."""
    return next((licence for prefix, licence in _table() if model.lower().startswith(prefix.lower())), None)


@cache
def _table() -> tuple[tuple[str, Licence], ...]:
    text = resources.files("tunelab.facts").joinpath("known/licences.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return tuple((prefix, Licence(name, gated == "yes", commercial)) for prefix, name, gated, commercial in rows)
