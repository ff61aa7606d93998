"""Patterns with {names}, as a config writes them: filled in with texts and nothing else.

Only plain names stand for something. Python's own format language (attributes, indices, widths) is refused: a config is somebody
else's text.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from functools import lru_cache

from tunelab.errors import ConfigError


def fill(pattern: str, values: Mapping[str, str], where: str) -> str:
    """The pattern with its names replaced; {{ and }} are braces. Raises ConfigError for anything but the names in `values`."""
    return "".join(text + (values[name] if name else "") for text, name in _parts(pattern, tuple(values), where))


def names_in(patterns: Iterable[str]) -> tuple[str, ...]:
    """The names that some patterns use, each once, in order."""
    return tuple(dict.fromkeys(name for pattern in patterns for _, name, _, _ in string.Formatter().parse(pattern) if name))


@lru_cache(maxsize=256)
def _parts(pattern: str, known: tuple[str, ...], where: str) -> tuple[tuple[str, str], ...]:
    try:
        found = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise ConfigError(f"The pattern {pattern!r} cannot be read: {error}.", where=where,
                          next_step="Write a brace that belongs to the text twice: {{ or }}.") from error
    for _, name, spec, conversion in found:
        if name is not None and (name not in known or spec or conversion):
            raise ConfigError(f"The pattern {pattern!r} asks for {{{name}}}; only {_listed(known)} can stand there.", where=where,
                              next_step="Use these names alone, and write a brace that belongs to the text twice: {{ or }}.")
    return tuple((text, name or "") for text, name, _, _ in found)


def _listed(names: tuple[str, ...]) -> str:
    shown = [f"{{{name}}}" for name in names]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
