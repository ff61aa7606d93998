"""Rows of preference data (`rl`) to texts: a prompt with a better and a worse answer, or a prompt with one answer and a verdict on it.

The texts are not tokenised here: the trainer of such data does that. Which loader reads a type is decided by `rl`: dpo, ipo, simpo (and
grpo, gdpo) share one, kto and orpo have their own.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tunelab.config.sections.data import Dataset, RowFormat
from tunelab.data.formats.context import Context, require_columns, text_of
from tunelab.data.formats.patterns import fill
from tunelab.data.formats.preference_chat import argilla_pair, odds_pair, template_pair
from tunelab.data.formats.preference_chat import message_text as _message_text
from tunelab.data.sample import Origin, Row
from tunelab.errors import DataError


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with a better and a worse answer, as texts ready to be tokenised."""

    prompt: str
    chosen: str
    rejected: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Judged:
    """A prompt with one answer, and whether it is a good one (None: the row does not say)."""

    prompt: str
    completion: str
    label: bool | None
    origin: Origin


Preference = Callable[[Row, Dataset, Context], Pair | Judged]
"""One row -> its texts. Raises DataError for a row that it cannot read."""


@dataclass(frozen=True, slots=True)
class _Marks:
    """The turns of a fixed layout: what begins one and what ends it; `gap` stands behind the end where another turn follows."""

    head: str
    end: str
    gap: str = ""

    def prompt(self, turns: list[tuple[str, str]]) -> str:
        """The turns, and the head of an answer."""
        return "".join(f"{self.head.format(role=role)}{text}{self.end}{self.gap}" for role, text in turns) + self.head.format(role="assistant")


_CHATML = _Marks("<|im_start|>{role}\n", "<|im_end|>", "\n")
_LLAMA3 = _Marks("<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>")


def find_preference(rl: str, dataset: Dataset, index: int) -> Preference:
    """The function for `rl` and the type of `datasets[index]`. Raises DataError when there is none of that name."""
    loader = LOADERS["kto" if rl == "kto" else "orpo" if rl == "orpo" else "dpo"]
    if isinstance(dataset.type, RowFormat):
        return _custom_judged if rl == "kto" else _custom_pair
    name = dataset.type or "passthrough"
    found = loader.get(name) or loader.get(f"{name}.default")
    if found is None:
        known = [one for one in loader if not one.endswith(".default")]
        raise DataError(f"type {name!r} is not one of rl: {rl}; known are {', '.join(known)}.", where=f"datasets[{index}].type",
                        next_step=f"Write: type: {known[0]}")
    return found


def _fixed_pair(row: Row, dataset: Dataset, context: Context, *, marks: _Marks, prompt: tuple[str, ...],
                listed: str = "", alone: bool = False) -> Pair:
    """A pair in a fixed layout. `prompt`: the columns of which the first that is there holds the prompt. `listed`: the answers are
    conversations, and "answers" takes their second message, "all" the prompt from the first one too."""
    columns = ["chosen", "rejected"]
    if len(prompt) > 1:
        columns = [name if name in row.values else f"{name}_response" for name in columns]
    asked = next((name for name in prompt if name in row.values), prompt[-1])
    require_columns(row, dataset.type_name, (*columns, *(() if listed == "all" else (asked,))))
    text = _message_text(row, columns[0], 0) if listed == "all" else text_of(row, asked)
    chosen, rejected = (_message_text(row, name, 1) if listed else text_of(row, name) for name in columns)
    return Pair(marks.prompt([*([] if alone else _system(row)), ("user", text)]), chosen + marks.end, rejected + marks.end, row.origin)


def _fixed_judged(row: Row, dataset: Dataset, context: Context, *, marks: _Marks, prompt: str) -> Judged:
    require_columns(row, dataset.type_name, (prompt, "completion"))
    turns = [*_system(row), ("user", text_of(row, prompt))]
    return Judged(marks.prompt(turns), text_of(row, "completion") + marks.end, _verdict(row, "label"), row.origin)


def _listed_judged(row: Row, dataset: Dataset, context: Context, *, marks: _Marks) -> Judged:
    """The completion is a whole conversation; its last message is the answer."""
    require_columns(row, dataset.type_name, ("completion",))
    turns = row.values["completion"]
    if not isinstance(turns, list) or len(turns) < 2 or not all(_is_message(turn) for turn in turns):
        raise DataError("The column `completion` is not a list of at least two messages with `role` and `content`.", where=str(row.origin),
                        next_step="Mend the row, or choose a type whose answer is plain text.")
    prompt = marks.prompt([(turn["role"], turn["content"]) for turn in turns[:-1]])
    return Judged(prompt, turns[-1]["content"] + marks.end, _verdict(row, "label"), row.origin)


def _passthrough(row: Row, dataset: Dataset, context: Context) -> Pair:
    """Rows whose texts are ready."""
    require_columns(row, dataset.type_name or "(none)", ("prompt", "chosen", "rejected"))
    return Pair(text_of(row, "prompt"), text_of(row, "chosen"), text_of(row, "rejected"), row.origin)


def _nectar(row: Row, dataset: Dataset, context: Context) -> Pair:
    """Ranked answers: the two of the highest rank numbers, the last one as the better. (In the Nectar data set rank 1 is the best, so this
    learns the worst answer; it is what the dialect's type does.)"""
    require_columns(row, "zephyr.nectar", ("prompt", "answers"))
    answers = row.values["answers"]
    if not isinstance(answers, list) or len(answers) < 2 or not all(_is_ranked(one) for one in answers):
        raise DataError("The column `answers` is not a list of at least two {rank, answer}.", where=str(row.origin),
                        next_step="Mend the row, or leave it out.")
    ranked = sorted(answers, key=lambda one: float(one["rank"]))
    prompt = f"<|system|>\n</s>\n<|user|>\n{text_of(row, 'prompt')}</s>\n<|assistant|>\n"
    return Pair(prompt, ranked[-1]["answer"], ranked[-2]["answer"], row.origin)


def _custom_pair(row: Row, dataset: Dataset, context: Context) -> Pair:
    layout, where = _layout(dataset), f"datasets[{row.origin.dataset}].type"
    names = (layout.field_prompt or "prompt", layout.field_chosen or "chosen", layout.field_rejected or "rejected")
    require_columns(row, "(the mapping in the config)", names)
    chosen, rejected = text_of(row, names[1]), text_of(row, names[2])
    return Pair(_custom_prompt(row, layout, names[0], where),
                fill(layout.chosen_format or "{chosen}", {"chosen": chosen}, f"{where}.chosen_format"),
                fill(layout.rejected_format or "{rejected}", {"rejected": rejected}, f"{where}.rejected_format"), row.origin)


def _custom_judged(row: Row, dataset: Dataset, context: Context) -> Judged:
    layout, where = _layout(dataset), f"datasets[{row.origin.dataset}].type"
    names = (layout.field_prompt or "prompt", layout.field_completion or "completion", layout.field_label or "label")
    require_columns(row, "(the mapping in the config)", names)
    completion = fill(layout.completion_format or "{completion}", {"completion": text_of(row, names[1])}, f"{where}.completion_format")
    return Judged(_custom_prompt(row, layout, names[0], where), completion, _verdict(row, names[2]), row.origin)


def _custom_prompt(row: Row, layout: RowFormat, column: str, where: str) -> str:
    system = text_of(row, layout.field_system or "system", optional=True)
    return fill(layout.prompt_format or "{prompt}", {"prompt": text_of(row, column), "system": system}, f"{where}.prompt_format")


def _layout(dataset: Dataset) -> RowFormat:
    return dataset.type if isinstance(dataset.type, RowFormat) else RowFormat()


def _system(row: Row) -> list[tuple[str, str]]:
    system = text_of(row, "system", optional=True)
    return [("system", system)] if system else []


def _verdict(row: Row, column: str) -> bool | None:
    value = row.values.get(column)
    if value is not None and not isinstance(value, (bool, int, float)):
        raise DataError(f"The column `{column}` holds {value!r}; expected true (a good answer) or false.", where=str(row.origin),
                        next_step=f"Write `{column}` as true or false.")
    return None if value is None else bool(value)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _is_ranked(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("rank"), (int, float)) and isinstance(value.get("answer"), str)


def _template_pair(row: Row, dataset: Dataset, context: Context) -> Pair:
    return Pair(*template_pair(row, dataset, context), row.origin)


def _argilla_pair(row: Row, dataset: Dataset, context: Context) -> Pair:
    return Pair(*argilla_pair(row, dataset, context), row.origin)


def _odds_pair(row: Row, dataset: Dataset, context: Context) -> Pair:
    return Pair(*odds_pair(row, context), row.origin)


def _pairs(name: str, marks: _Marks) -> dict[str, Preference]:
    pair = partial(_fixed_pair, marks=marks)
    return {f"{name}.default": partial(pair, prompt=("prompt", "input", "question", "instruction")),
            f"{name}.argilla_chat": partial(pair, prompt=("chosen",), listed="all", alone=True),
            f"{name}.icr": partial(pair, prompt=("input",)), f"{name}.intel": partial(pair, prompt=("question",)),
            f"{name}.prompt_pairs": partial(pair, prompt=("prompt",)), f"{name}.ultra": partial(pair, prompt=("prompt",), listed="answers")}


def _judgements(name: str, marks: _Marks) -> dict[str, Preference]:
    columns = {"argilla": "instruction", "intel": "question", "prompt_pairs": "prompt", "ultra": "prompt"}
    return {f"{name}.argilla_chat": partial(_listed_judged, marks=marks),
            **{f"{name}.{way}": partial(_fixed_judged, marks=marks, prompt=column) for way, column in columns.items()}}


LOADERS: Mapping[str, Mapping[str, Preference]] = types.MappingProxyType({
    "dpo": types.MappingProxyType({
        **_pairs("chatml", _CHATML), **_pairs("llama3", _LLAMA3), "chat_template.default": _template_pair,
        "chat_template.argilla_chat": _argilla_pair, "passthrough": _passthrough, "passthrough.default": _passthrough,
        "zephyr.nectar": _nectar}),
    "kto": types.MappingProxyType({**_judgements("chatml", _CHATML), **_judgements("llama3", _LLAMA3)}),
    "orpo": types.MappingProxyType({"chat_template.argilla": _odds_pair, "passthrough": _passthrough}),
})
"""Loader -> type -> function. A type of one part stands for its `.default`; a mapping in the config for the user's own layout."""
