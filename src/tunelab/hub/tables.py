"""The tables of words and patterns that the readers of cards go by (known/*.toml): loaded, and their patterns put together."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import resources
from typing import Any


def table(name: str) -> dict[str, Any]:
    """A table of this package, "base_cues.toml"."""
    return tomllib.loads(resources.files("tunelab.hub").joinpath(f"known/{name}").read_text(encoding="utf-8"))


def stems(text: str) -> tuple[str, ...]:
    """The stems of an entry, written with bars and line ends between them."""
    return tuple(stem for line in text.split("\n") for stem in line.split("|") if stem)


def pieces(parts: Iterable[str]) -> str:
    """A pattern that is written in pieces."""
    return "".join(parts)
