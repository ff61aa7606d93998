"""`type: chat_template`: a conversation printed by a Jinja template; the turns of some roles carry loss.

Where a turn's text stands in the printed conversation is found by printing the conversation again with other text in its
place, so it works for any template. Labels follow Axolotl 0.21 token for token.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context
from tunelab.data.formats.conversation import Turn, conversation, mapped_role, tools_of
from tunelab.data.sample import IGNORE, Row, Sample
from tunelab.errors import ConfigError, TunelabError

_STAND_INS = ("[[dummy_message]]", "zzdummymessagezz")
"""Two texts that share neither first nor last character: what both prints have in common is not the turn's."""

_END_WITHIN = 3
"""The end-of-turn token counts as a turn's own when it comes at most this many tokens after it."""


@dataclass(frozen=True, slots=True)
class _Printed:
    """A conversation as text and tokens. `print` prints a changed conversation with the same template and tools."""

    turns: Sequence[Turn]
    text: str
    ids: Sequence[int]
    offsets: Sequence[tuple[int, int]]
    print: Callable[[Sequence[Turn]], str]


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample: the printed conversation, with loss on the turns to train and, by train_on_eos, on the tokens that end them.

    Nothing is cut; an empty list of messages becomes an empty sample. Raises DataError when the row holds no conversation or the
    template refuses it, ConfigError when there is no template.
    """
    template = context.template
    if template is None:
        raise ConfigError("The tokenizer has no chat template, and type: chat_template needs one.",
                          where=f"datasets[{row.origin.dataset}].type", next_step="Set one: chat_template: chatml")
    if row.values.get(dataset.field_messages or "messages") == []:
        return [Sample((), (), row.origin)]  # real data has empty conversations: left out as too short, and counted
    turns, tools = conversation(row, dataset, template), tools_of(row)
    try:
        printed = _print(turns, lambda some: context.tokenizer.render(some, template=template, tools=tools), context)
        labels = _labels(printed, dataset, context)
    except TunelabError as error:
        error.where = error.where or str(row.origin)
        raise
    return [Sample(tuple(printed.ids), tuple(labels), row.origin)]


def _print(turns: Sequence[Turn], printer: Callable[[Sequence[Turn]], str], context: Context) -> _Printed:
    text = printer(turns)
    ids, offsets = context.tokenizer.encode_with_offsets(text)
    return _Printed(turns, text, ids, offsets, printer)


def _labels(printed: _Printed, dataset: Dataset, context: Context) -> list[int]:
    roles = ["assistant"] if dataset.roles_to_train is None else [mapped_role(role, dataset) for role in dataset.roles_to_train]
    on_end = dataset.train_on_eos or "turn"
    ids, eos_id = printed.ids, context.tokenizer.eos_id
    labels = [IGNORE] * len(ids)
    last_end: int | None = None
    for number, turn in enumerate(printed.turns):
        trained = context.train_on_inputs or turn["role"] in roles
        if not trained and on_end != "all":
            continue
        start, end = (-1, -1) if _is_skipped(number, turn, context) else _span(printed, number)
        if trained and start != -1:
            labels[start:end] = ids[start:end]
        closing = _closing_token(ids, eos_id, end)
        if closing is not None:
            last_end = closing
            if on_end == "all" or (on_end == "turn" and trained):
                labels[closing] = ids[closing]
    if on_end == "last" and last_end is not None:
        labels[last_end] = ids[last_end]
    return labels


def _is_skipped(number: int, turn: Turn, context: Context) -> bool:
    """Axolotl never trains a leading system turn of models with "mistral" in their name."""
    return number == 0 and turn["role"] == "system" and any("mistral" in part.lower() for part in context.tokenizer.folder.parts[-3:])


def _span(printed: _Printed, number: int) -> tuple[int, int]:
    """The tokens [start, end) that hold anything of a turn's text; (-1, -1) when it prints nothing."""
    turn = printed.turns[number]
    start, end = len(printed.text), 0
    for stand_in in _STAND_INS:
        # Other keys of an assistant's turn (reasoning, tool calls) are the model's own words too: without them they are in the span.
        other = {"role": turn["role"], "content": stand_in} if turn["role"] == "assistant" else {**turn, "content": stand_in}
        text = printed.print([*printed.turns[:number], other, *printed.turns[number + 1:]])
        if text == printed.text:
            continue  # the turn's text is the stand-in itself; the other one tells
        prefix = _shared_start(printed.text, text)
        suffix = _shared_start(printed.text[prefix:][::-1], text[prefix:][::-1])
        start, end = min(start, prefix), max(end, len(printed.text) - suffix)
    first = bisect_right([token_end for _, token_end in printed.offsets], start)
    behind = bisect_left([token_start for token_start, _ in printed.offsets], end)
    return (first, behind) if start < end and first < behind else (-1, -1)


def _shared_start(one: str, other: str) -> int:
    """How many characters two texts have in common at their start."""
    shared, limit = 0, min(len(one), len(other))
    while shared < limit:
        middle = (shared + limit + 1) // 2
        if one[shared:middle] == other[shared:middle]:
            shared = middle
        else:
            limit = middle - 1
    return shared


def _closing_token(ids: Sequence[int], eos_id: int | None, end: int) -> int | None:
    """Where the end-of-turn token stands that closes a turn ending at `end`; None when none is near.

    For a turn that printed nothing `end` is -1, and the search begins with the very last token: one found there is none.
    """
    if end == -1 and ids and ids[-1] == eos_id:
        return None
    for index in range(max(end, 0), min(end + _END_WITHIN + 1, len(ids))):
        if ids[index] == eos_id:
            return index
    return None
