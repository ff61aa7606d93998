"""diff: what two configs mean differently."""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.planning.difference import Difference, differences, modern
from tunelab.planning.explain import Explanation, explain
from tunelab.workflow.opening import Opened, open_config


@dataclass(frozen=True, slots=True)
class Compared:
    """Two configs side by side. No differences: they ask for the same run, whatever their text looks like."""

    first: str
    second: str
    differences: tuple[Difference, ...]


def diff(first: str, second: str) -> Compared:
    """Compare two configs after defaults and old spellings. Raises ConfigError when one is no YAML mapping."""
    one, two = open_config(first), open_config(second)
    return Compared(first, second, differences(modern(one.source), modern(two.source), (_explained(one), _explained(two))))


def _explained(opened: Opened) -> dict[str, Explanation]:
    return {found.name: found for found in explain(opened.config, opened.machine, opened.shapes)}
