"""Models' sheets as a page: side by side, field by field, each value with its evidence one click away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from tunelab.config.finding import Finding, errors_of
from tunelab.facts.model import is_hub_id
from tunelab.hub.evidence import Answer
from tunelab.hub.sheet import ModelSheet
from tunelab.hub.tree import RELATIONS

if TYPE_CHECKING:
    from tunelab.planning.explain import Explanation

FIELDS = (("Base model", "base_model"), ("Task", "task"), ("Data set", "datasets"))
"""The fields of the course lab's note that have candidates, by their attribute of the sheet; link and example stand before and behind."""
MORE = (("Kind", "kind"), ("Licence", "licence"), ("Language", "languages"), ("Size", "size"), ("Format", "format"),
        ("Training method", "method"), ("Prompt template", "template"))
KINDS = {**RELATIONS, "base": "base model"}
"""Kinds in words."""


@dataclass(frozen=True, slots=True)
class ShownConfig:
    """The Axolotl config on a card. `settings`: those of the course lab that it writes, with what they mean and do; `findings`: what check
    says of it; lines are those of the card. `problem`: why it could not be read, "" where it was."""

    line: int
    settings: tuple[Explanation, ...] = ()
    findings: tuple[Finding, ...] = ()
    problem: str = ""

    @property
    def errors(self) -> int:
        """How many errors check finds."""
        return len(errors_of(self.findings))


@dataclass(frozen=True, slots=True)
class AboutBase:
    """What the base model's own record says: whether it is itself made from another model."""

    name: str
    kind: Answer
    base_model: Answer

    @property
    def sentence(self) -> str:
        """What there is to say of it, "" when it is a base model or says nothing."""
        made, kind = ", ".join(self.base_model.values), KINDS.get(self.kind.value or "")
        if not made or self.kind.value == "base":
            return ""
        how = f"{'an' if kind.startswith('a') else 'a'} {kind} of" if kind else "made from"
        where = self.base_model.stated[0].evidence
        return f"{self.name} is itself {how} {made}" + (f" ({where[0].place})." if where else ".")


@dataclass(frozen=True, slots=True)
class Shown:
    """A model's sheet. `place`: the Hub id or the path that it was read from; no two models of one command have the same."""

    sheet: ModelSheet
    place: str
    config: ShownConfig | None = None
    base: AboutBase | None = None


def answers(sheet: ModelSheet, fields: Sequence[tuple[str, str]]) -> list[tuple[str, Answer]]:
    """(label, answer) of the named fields."""
    return [(label, getattr(sheet, name)) for label, name in fields]


def hub_link(name: str, *, is_id: bool = True) -> str | None:
    """The address of a model on the Hub, or None for what is no id."""
    return f"https://huggingface.co/{quote(name)}" if is_id and is_hub_id(name) else None


def render_sheets_html(models: Sequence[Shown], failures: Sequence[str] = ()) -> str:
    """The sheets as one page that loads nothing; all that a card says is text in it, never markup."""
    from tunelab.report.html import page

    title = models[0].sheet.name if len(models) == 1 else f"{len(models)} models side by side"
    return page("sheets.html.j2", {"models": models, "failures": failures, "title": title, "answers": answers, "fields": FIELDS, "more": MORE,
                                   "hub_link": hub_link, "kinds": KINDS})
