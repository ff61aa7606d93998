"""The registry of rules: `@rule(...)` on a function `(Context) -> Iterator[Finding]` makes it part of `check` and of the docs.

A fix is a text of lines; each is either YAML that replaces or adds a key in the mapping that holds the finding's key, or
"delete `key`". Codes are stable and never used twice: TL2xx model, TL3xx data, TL4xx adapter, TL5xx optimisation, TL6xx hardware,
TL7xx run, TL8xx what is not acted on (TL1xx are about the text itself, see config.config).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tunelab.config.config import Config
from tunelab.config.finding import Finding, Severity
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import ModelShapes


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to look for. `why` is what happens when it is left as it is; `bad` and `good` are YAML with and without it."""

    code: str
    severity: Severity
    title: str
    why: str
    bad: str
    good: str
    look: Callable[[Context], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may look at. `shapes` is None when the base model is not at hand; no rule fetches anything."""

    config: Config
    machine: Machine
    shapes: ModelShapes | None
    rule: Rule | None = None

    def finding(self, message: str, *path: str | int, expected: str = "", fix: str = "") -> Finding:
        """A finding of the rule that is looking, at the place of a key."""
        assert self.rule is not None, "only a rule makes findings"
        return self.config.finding(self.rule.code, self.rule.severity, message, *path, expected=expected, fix=fix)

    def written(self, *path: str | int) -> bool:
        """Whether the file itself holds this key with a value (a bare `key:` holds none)."""
        if not self.config.source.is_written(*path):
            return False
        return len(path) != 1 or self.config.value(str(path[0])) is not None


_RULES: dict[str, Rule] = {}


def rule(code: str, severity: Severity, *, title: str, why: str, bad: str,
         good: str) -> Callable[[Callable[[Context], Iterator[Finding]]], Callable[[Context], Iterator[Finding]]]:
    """Register a rule under its code."""

    def register(look: Callable[[Context], Iterator[Finding]]) -> Callable[[Context], Iterator[Finding]]:
        assert code not in _RULES, f"{code} is used twice"
        _RULES[code] = Rule(code, severity, title, why, bad.strip(), good.strip(), look)
        return look

    return register


def all_rules() -> tuple[Rule, ...]:
    """Every rule, by code."""
    return tuple(_RULES[code] for code in sorted(_RULES))


def run_rules(context: Context) -> tuple[Finding, ...]:
    """The findings of every rule, by line (whole-file findings first), then by code."""
    found = [finding for one in all_rules() for finding in one.look(replace(context, rule=one))]
    return tuple(sorted(found, key=lambda finding: (finding.line or 0, finding.code, finding.key)))


def listed(names: tuple[str, ...] | list[str], joint: str = "and") -> str:
    """`a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {joint} {quoted[-1]}"
