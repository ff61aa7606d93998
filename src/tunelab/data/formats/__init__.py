"""The dataset formats: the `type` of a dataset names the function that turns its rows into tokens.

Rows of preference data become texts instead (`preference`), and those of reward models pairs of ids (`reward`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tunelab.config.sections.data import Dataset, RowFormat
from tunelab.data.formats import (
    chat_template,
    completion,
    custom,
    input_output,
    instructions,
    llama2_chat,
    messages,
    pretokenised,
    pretrain,
    reflection,
    roleplay,
)
from tunelab.data.formats.context import Context, Format, fitting_edit
from tunelab.data.formats.instruction_types import INSTRUCTION_TYPES
from tunelab.data.formats.preference import LOADERS
from tunelab.data.formats.reward import REWARD_TYPES
from tunelab.data.type_names import COMMON_TYPES, unknown_type_edit
from tunelab.errors import DataError

__all__ = ["FORMATS", "Context", "Format", "find_format", "format_for"]

_MODULES: Mapping[str, Format] = {
    **dict.fromkeys(INSTRUCTION_TYPES, instructions.tokenise),
    "chat_template": chat_template.tokenise,
    "completion": completion.tokenise,
    "input_output": input_output.tokenise,
    "llama2_chat": llama2_chat.tokenise,
    "metharme": roleplay.metharme,
    "pygmalion": roleplay.pygmalion,
}
_LOADED = ("alpaca_chat", "alpaca_instruct", "alpaca_w_system", "chat_template", "completion", "context_qa", "input_output", "llama2_chat",
           "metharme", "orcamini", "pygmalion")

FORMATS: Mapping[str, Format] = MappingProxyType({
    **_MODULES,
    **{f"{name}.load": _MODULES[name] for name in _LOADED},
    "reflection": reflection.tokenise,
    **{f"reflection:{style}": reflection.tokenise for style in reflection.STYLES},
    "messages": messages.tokenise,
    "pretrain": pretrain.windows,
})
"""`type` -> format; the names are those of `type_names.TYPES`, and pretrain, which only a pretraining_dataset has."""


def format_for(dataset: Dataset, index: int, values: Mapping[str, Any] | None) -> Format:
    """The format that reads `datasets[index]`, whose first row holds `values` (None: it has no rows).

    Rows that are token ids already need no type and are read whatever it says. Raises DataError with the edit when there is no type, or
    none of that name.
    """
    if values is not None and pretokenised.is_pretokenised(values):
        return pretokenised.tokenise
    if dataset.type is not None and dataset.type != "":
        return find_format(dataset.type, index)
    fitting = fitting_edit(values) if values is not None else None
    raise DataError("The dataset has no `type`, which says how a row becomes a prompt and an answer.", where=f"datasets[{index}].type",
                    next_step=f"Its columns fit: {fitting}" if fitting else "Write: type: chat_template")


def find_format(type_name: str | RowFormat, index: int) -> Format:
    """The format of `datasets[index].type`. Raises DataError with the edit when there is none of that name."""
    if isinstance(type_name, RowFormat):
        return custom.tokenise
    found = FORMATS.get(type_name)
    if found is not None:
        return found
    where = f"datasets[{index}].type"
    if type_name in REWARD_TYPES:
        raise DataError(f"type {type_name} is for reward models, and the config does not say `reward_model: true`.", where=where,
                        next_step="Write reward_model: true, or use a type of plain rows, such as type: chat_template")
    if any(type_name in types for types in LOADERS.values()):
        raise DataError(f"type {type_name} reads preference data, and there is no `rl` to say what for.", where=where,
                        next_step="Write rl: dpo (or kto, orpo), or use a type of plain rows, such as type: chat_template")
    raise DataError(f"type {type_name!r} is not known; known are {', '.join(COMMON_TYPES)} and others.", where=where,
                    next_step=f"Write: {unknown_type_edit(type_name)}")
