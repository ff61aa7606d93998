"""The instruction formats (alpaca and its many relatives): a prompt made of columns and fixed sentences, then an answer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context, kind, printed, require_columns, text_of
from tunelab.data.formats.encoding import prompt_and_answer
from tunelab.data.formats.instruction_types import INSTRUCTION_TYPES, LAYOUTS, InstructionType, Layout
from tunelab.data.formats.patterns import names_in
from tunelab.data.sample import Row, Sample
from tunelab.errors import ConfigError, DataError

_COMPUTED = {"choices": ("choices", "solution"), "evaluation": ("evaluation",)}


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample. Raises DataError for a row without the columns of its type, ConfigError for a layout that does not exist."""
    name = dataset.type_name.removesuffix(".load")
    kind_ = INSTRUCTION_TYPES[name]
    require_columns(row, name, columns(name))
    values = {"input": "", **_worked_out(row, kind_)}
    prompt_columns = names_in((kind_.instruction, kind_.input))
    values |= {column: printed(row, column) for column in prompt_columns if column not in values}
    if "input" in prompt_columns:
        values["input"] = text_of(row, "input", optional=True)
    system = text_of(row, kind_.system, optional=True) if kind_.system else None
    prompt = _prompt(kind_, _layout(kind_, name, dataset), values, system)
    return [prompt_and_answer(prompt, _answer(row, kind_, values), row, context)]


@lru_cache(maxsize=128)
def columns(name: str) -> tuple[str, ...]:
    """The columns that a type needs; `input` is never one of them."""
    one = INSTRUCTION_TYPES[name]
    named = names_in((one.instruction, one.input, one.answer))
    computed = _COMPUTED.get(one.computed, ())
    extra = {"choices": ("choices",), "evaluation": ("scores", "critiques")}.get(one.computed, ())
    wanted = (*(column for column in named if column not in (*computed, "input")), *extra, *((one.system,) if one.system else ()))
    return tuple(dict.fromkeys(wanted))


def _prompt(one: InstructionType, layout: Layout, values: dict[str, str], own_system: str | None) -> str:
    instruction, context = one.instruction.format_map(values), one.input.format_map(values)
    system = own_system if own_system is not None else one.with_input if context else one.without_input
    before = layout.system.format(system=system) if system else ""
    return before + (layout.with_input if context else layout.without_input).format(instruction=instruction, input=context, system=system)


def _answer(row: Row, one: InstructionType, values: dict[str, str]) -> str:
    """The answer's text; "" (nothing to learn) when one of its columns is null."""
    wanted = [column for column in names_in((one.answer,)) if column not in _COMPUTED.get(one.computed, ())]
    if any(row.values.get(column) is None for column in wanted):
        return ""
    return one.answer.format_map({**values, **{column: text_of(row, column) for column in wanted}})


def _layout(one: InstructionType, name: str, dataset: Dataset) -> Layout:
    """alpaca_chat alone takes another layout by `conversation`."""
    if name != "alpaca_chat" or dataset.conversation is None:
        return one.layout
    if dataset.conversation not in LAYOUTS:
        raise ConfigError(f"conversation is {dataset.conversation!r}; expected one of {', '.join(LAYOUTS)}.", where="datasets[].conversation",
                          next_step="Write conversation: chat, or delete the line.")
    return LAYOUTS[dataset.conversation]


def _worked_out(row: Row, one: InstructionType) -> dict[str, str]:
    """What is made of several columns: the choices as a list and the solution, or scores and critiques as YAML."""
    if one.computed == "choices":
        choices = row.values["choices"]
        if not isinstance(choices, list):
            raise DataError(f"The column `choices` holds a {kind(choices)}; expected a list.", where=str(row.origin),
                            next_step='Write it as ["first", "second"].')
        answer = "solution" if "solution" in row.values else "explanation"
        require_columns(row, "of multiple choice", (answer,))
        return {"choices": "\n".join(f'- "{choice}"' for choice in choices), "solution": text_of(row, answer, optional=True)}
    if one.computed == "evaluation":
        return {"evaluation": _as_yaml(row.values["scores"]) + _as_yaml(row.values["critiques"])}
    return {}


def _as_yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=False)
    return text
