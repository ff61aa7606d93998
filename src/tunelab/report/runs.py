"""Runs side by side: what such a comparison says, and that as one HTML file that loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.planning.difference import Difference
from tunelab.report.html import page
from tunelab.report.numbers import NONE, by_unit, loss
from tunelab.runs.listing import Listed

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """A run's curves, each as (step, value)."""

    name: str
    loss: Points
    eval_loss: Points
    learning_rate: Points
    grad_norm: Points


@dataclass(frozen=True, slots=True)
class Fact:
    """Something measured or used, with its value in each run; None where a run does not say."""

    name: str
    unit: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Differences:
    """What the config of the first run and that of another mean differently; `unknown` says why it cannot be told."""

    first: str
    second: str
    differences: tuple[Difference, ...]
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """Runs side by side, in the order they were given in."""

    runs: tuple[Listed, ...]
    curves: tuple[Curves, ...]
    facts: tuple[Fact, ...]
    differences: tuple[Differences, ...]


def in_words(value: Any, unit: str) -> str:
    """A fact's value in the words of its unit."""
    if value is None or value == "":
        return NONE
    return str(value) if unit == "text" else loss(value) if unit == "loss" else by_unit(value, unit)


def render_runs_html(compared: ComparedRuns) -> str:
    """The page. Names of runs, settings and reasons are text in it, never markup."""
    def lines(name: str) -> list[Any]:
        return [(Path(one.name).name or one.name, getattr(one, name)) for one in compared.curves]

    facts = [(fact.name, [in_words(value, fact.unit) for value in fact.values]) for fact in compared.facts]
    return page("runs.html.j2", {"compared": compared, "facts": facts, "losses": lines("loss"), "eval_losses": lines("eval_loss"),
                                 "rates": lines("learning_rate"), "norms": lines("grad_norm")})
