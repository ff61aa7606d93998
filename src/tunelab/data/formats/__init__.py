"""The dataset formats: the `type` of a dataset names the function that turns its rows into tokens."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from tunelab.data.formats import alpaca, chat_template, completion, input_output
from tunelab.data.formats.context import SHAREGPT_EDIT, Context, Format
from tunelab.errors import DataError

__all__ = ["FORMATS", "Context", "Format", "find_format", "known_types", "unknown_type_edit"]

FORMATS: Mapping[str, Format] = MappingProxyType({
    "alpaca": alpaca.tokenise,
    **{f"alpaca:{style}": alpaca.tokenise for style in alpaca.STYLES},
    "chat_template": chat_template.tokenise,
    "completion": completion.tokenise,
    "input_output": input_output.tokenise,
})
"""`type` -> format."""


def known_types() -> tuple[str, ...]:
    """The values of `type` that tunelab reads."""
    return tuple(FORMATS)


def find_format(type_name: str, index: int) -> Format:
    """The format of `datasets[index].type`. Raises DataError with the edit when there is none of that name."""
    found = FORMATS.get(type_name)
    if found is None:
        raise DataError(f"type {type_name!r} is not known; known are {', '.join(FORMATS)}.", where=f"datasets[{index}].type",
                        next_step=f"Write: {unknown_type_edit(type_name)}")
    return found


def unknown_type_edit(type_name: str) -> str:
    """The YAML that is most likely meant by a type that is not known."""
    if type_name.startswith(("sharegpt", "openhermes")):
        return SHAREGPT_EDIT
    close = difflib.get_close_matches(type_name, FORMATS, n=1, cutoff=0.5)
    return f"type: {close[0] if close else 'chat_template'}"
