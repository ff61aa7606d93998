"""Where output goes: JSON for machines, a rich console for people. Untrusted text is printed as data: no markup, no control codes."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output instead of text.")]
StandIns = Annotated[bool, typer.Option(
    "--stand-ins", help="Where this machine cannot honour a setting (a paged optimizer, fp16 without CUDA), take the nearest that it can, and say so.")]
ConfigPath = Annotated[str, typer.Argument(metavar="CONFIG", help="A fine-tuning config in Axolotl's YAML dialect.", show_default=False)]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|[\u202a-\u202e\u2066-\u2069]")


def console(to_stderr: bool = False) -> Console:
    """A console that does not guess: no markup, emoji codes or highlighting in the text that it is given."""
    return Console(stderr=to_stderr, markup=False, emoji=False, highlight=False, soft_wrap=False)


def plain(text: str) -> str:
    """Text from outside without terminal control codes, which could rewrite the screen."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Print a dataclass, mapping or list as JSON on standard output."""
    json.dump(value, sys.stdout, default=_encode, ensure_ascii=False, indent=None if one_line else 2)
    sys.stdout.write("\n")


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if hasattr(value, "model_dump"):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} has no JSON form")
