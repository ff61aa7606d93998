"""The registry of rules: `@rule(...)` on a function `(Context) -> Iterator[Finding]` makes it part of `check` and of the docs.

A fix is a text of lines; each is either YAML that replaces or adds a key in the mapping that holds the finding's key,
"delete `key`", or "rename `key` to `key`" (see config.mend). Codes are stable and never used twice: TL1xx the text itself (found while
reading), TL2xx model, TL3xx data, TL4xx adapter, TL5xx optimisation, TL6xx hardware, TL7xx run, TL8xx what is not acted on, TL9xx
preference methods, diffusion, plugins and services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tunelab.config.config import Config
from tunelab.config.finding import Finding, Severity, parts
from tunelab.config.raw import Raw
from tunelab.facts.machine import Machine
from tunelab.facts.shapes import ModelShapes


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to look for. `why` is what happens when it is left as it is; each of `bad` is YAML that has it, `good` has not.

    `safe`: its fix keeps the meaning of the file, so `check --fix` makes it.
    """

    code: str
    severity: Severity
    title: str
    why: str
    bad: tuple[str, ...]
    good: str
    look: Callable[[Context], Iterator[Finding]]
    safe: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may look at. `shapes` is None when the base model is not at hand; no rule fetches anything."""

    config: Config
    machine: Machine
    shapes: ModelShapes | None
    rule: Rule | None = None

    @property
    def raw(self) -> Raw:
        """The settings as written: what a rule of the dialect asks."""
        return self.config.raw

    def finding(self, message: str, *path: str | int, expected: str = "", fix: str = "", severity: Severity | None = None,
                safe: bool | None = None) -> Finding:
        """A finding of the rule that is looking, at the place of a key: ("datasets", 0, "type") or "datasets[0].type".

        `severity` and `safe` are the rule's own unless a case is milder than the rule.
        """
        assert self.rule is not None, "only a rule makes findings"
        where = parts(path[0]) if len(path) == 1 and isinstance(path[0], str) else path
        return self.config.finding(self.rule.code, severity or self.rule.severity, message, *where, expected=expected, fix=fix,
                                   safe=bool(fix) and (self.rule.safe if safe is None else safe))

    def written(self, *path: str | int) -> bool:
        """Whether the file itself holds this key with a value (a bare `key:` holds none)."""
        if not self.config.source.is_written(*path):
            return False
        return len(path) != 1 or self.config.value(str(path[0])) is not None


_RULES: dict[str, Rule] = {}
_IN_ORDER: list[Rule] = []  # the same by code, sorted once


def rule(code: str, severity: Severity, *, title: str, why: str, bad: str | tuple[str, ...], good: str,
         safe: bool = False) -> Callable[[Callable[[Context], Iterator[Finding]]], Callable[[Context], Iterator[Finding]]]:
    """Register a rule under its code."""

    def register(look: Callable[[Context], Iterator[Finding]]) -> Callable[[Context], Iterator[Finding]]:
        assert code not in _RULES, f"{code} is used twice"
        examples = (bad,) if isinstance(bad, str) else bad
        _RULES[code] = Rule(code, severity, title, why, tuple(one.strip() for one in examples), good.strip(), look, safe)
        return look

    return register


def all_rules() -> tuple[Rule, ...]:
    """Every rule, by code."""
    if len(_IN_ORDER) != len(_RULES):
        _IN_ORDER[:] = [_RULES[code] for code in sorted(_RULES)]
    return tuple(_IN_ORDER)


def run_rules(context: Context) -> tuple[Finding, ...]:
    """The findings of every rule, by line (whole-file findings first), then by code."""
    found = [finding for one in all_rules()
             for finding in one.look(Context(context.config, context.machine, context.shapes, one))]
    return tuple(sorted(found, key=lambda finding: (finding.line or 0, finding.code, finding.key)))


def listed(names: tuple[str, ...] | list[str], joint: str = "and") -> str:
    """`a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {joint} {quoted[-1]}"
