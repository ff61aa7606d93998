"""A `type` written as a mapping in the config: which columns hold what, and patterns around them."""

from __future__ import annotations

from tunelab.config.sections.data import Dataset, RowFormat
from tunelab.data.formats.context import Context, printed, require_columns, text_of
from tunelab.data.formats.encoding import prompt_and_answer
from tunelab.data.formats.patterns import fill
from tunelab.data.sample import Row, Sample


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample. A row without an answer column has only a prompt, and teaches nothing.

    Raises DataError for a row without the instruction's column, ConfigError for a pattern that cannot be filled in.
    """
    layout = dataset.type if isinstance(dataset.type, RowFormat) else RowFormat()
    where = f"datasets[{row.origin.dataset}].type"
    instruction = layout.field_instruction or "instruction"
    require_columns(row, "(the mapping in the config)", (instruction,))
    values = {"instruction": printed(row, instruction)}
    given = text_of(row, layout.field_input or "input", optional=True)
    field_system = layout.field_system or "system"
    system = text_of(row, field_system, optional=True) if field_system in row.values else layout.system_prompt or ""
    prompt = fill(_or(layout.system_format, "{system}"), {"system": system}, f"{where}.system_format") if system else ""
    if given:
        prompt += fill(_or(layout.format, "{instruction} {input} "), {**values, "input": given}, f"{where}.format")
    else:
        prompt += fill(_or(layout.no_input_format, "{instruction} "), values, f"{where}.no_input_format")
    return [prompt_and_answer(prompt, text_of(row, layout.field_output or "output", optional=True), row, context)]


def _or(written: str | None, default: str) -> str:
    return default if written is None else written
