"""Rows for reward models and for odds-ratio training, as ids: a better and a worse conversation, or steps with a verdict on each."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.chat_template import print_conversation, template_of
from tunelab.data.formats.context import Context, kind, require_columns, text_of
from tunelab.data.formats.conversation import Turn, conversation, without_none
from tunelab.data.formats.preference_chat import answer_turn
from tunelab.data.sample import IGNORE, Origin, Row
from tunelab.errors import DataError


@dataclass(frozen=True, slots=True)
class RewardPair:
    """Two conversations as ids, of which the first should get the higher reward."""

    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class OddsPair:
    """Two conversations as ids and labels (a label is the token's id or IGNORE); `prompt_length` counts the tokens before the worse answer."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    rejected_labels: tuple[int, ...]
    prompt_length: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Steps:
    """A solution in steps; the label of each step's last token says whether it is right (1 or 0), all others are IGNORE."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    origin: Origin


def bradley_terry(row: Row, dataset: Dataset, context: Context) -> RewardPair:
    """`bradley_terry.chat_template`: the columns system, input, chosen and rejected in a chat template, each cut to sequence_len."""
    require_columns(row, "bradley_terry.chat_template", ("input", "chosen", "rejected"))
    chosen, rejected = (_conversation_ids(row, text_of(row, column), dataset, context)[:context.sequence_len]
                        for column in ("chosen", "rejected"))
    return RewardPair(tuple(chosen), tuple(rejected), row.origin)


def _conversation_ids(row: Row, answer: str, dataset: Dataset, context: Context) -> list[int]:
    """The ids of the prompt as it is before an answer, then the rest of the whole conversation's."""
    mapping = {"role": "role", "content": "content", **(dataset.message_property_mappings or {})}
    said = [("user", text_of(row, "input")), ("assistant", answer)]
    system = row.values.get("system")
    said = [("system", str(system)), *said] if system else said
    values = {**row.values, dataset.field_messages or "messages": [{mapping["role"]: role, mapping["content"]: text} for role, text in said]}
    talk = conversation(Row(values, row.origin), dataset, template_of(row, context))
    ids = list(print_conversation(talk, dataset, context).ids)
    if any((dataset.roles_to_train, dataset.train_on_eos, dataset.message_field_training, dataset.message_field_training_detail)):
        return ids
    prompt = context.tokenizer.render(talk.turns[:-1], template=context.template, add_generation_prompt=True, variables=context.variables)
    before = context.tokenizer.encode(prompt, special=False)
    return before + ids[len(before):]


def odds_ratio(row: Row, dataset: Dataset, context: Context) -> OddsPair:
    """`orpo.chat_template`: two conversations of one question and one answer each."""
    require_columns(row, "orpo.chat_template", ("chosen", "rejected"))
    rejected_ids, rejected_labels, prompt_length = _exchange(row, "rejected", context)
    ids, labels, _ = _exchange(row, "chosen", context)
    return OddsPair(tuple(ids), tuple(labels), tuple(rejected_ids), tuple(rejected_labels), prompt_length, row.origin)


def _exchange(row: Row, column: str, context: Context) -> tuple[list[int], list[int], int]:
    """(ids, labels, tokens before the answer): the conversation is printed turn by turn, and what is new belongs to the turn."""
    messages = without_none(row.values[column])
    if not isinstance(messages, list) or len(messages) < 2 or not all(isinstance(one, dict) and isinstance(one.get("content"), str)
                                                                      for one in messages[:2]):
        raise DataError(f"The column `{column}` is not a list of a question and an answer with `content`.", where=str(row.origin),
                        next_step='Write it as [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}].')
    system = row.values.get("system")
    turns: list[Turn] = [{"role": "system", "content": system}] if system else []
    turns += [{"role": "user", "content": messages[0]["content"]}, answer_turn(messages[1])]
    ids: list[int] = []
    labels: list[int] = []
    prompt_length = 0
    for count, turn in enumerate(turns, start=1):
        text = context.tokenizer.render(turns[:count], template=template_of(row, context), add_generation_prompt=turn["role"] == "user")
        new = context.tokenizer.encode(text, special=False)[len(ids):] if text else []
        ids += new
        answer = turn["role"] == "assistant"
        labels += new if answer else [IGNORE] * len(new)
        prompt_length = prompt_length if answer else len(ids)
    return ids, labels, prompt_length


def stepwise(row: Row, dataset: Dataset, context: Context) -> Steps:
    """`stepwise_supervised`: a prompt, its solution in steps, and for each step whether it is right. Steps are closed with a line break."""
    require_columns(row, "stepwise_supervised", ("prompt", "completions", "labels"))
    steps, verdicts = row.values["completions"], row.values["labels"]
    for column, value, wanted in (("completions", steps, str), ("labels", verdicts, int)):
        if not isinstance(value, list) or not all(isinstance(one, wanted) for one in value):
            raise DataError(f"The column `{column}` holds a {kind(value)} that does not fit; expected a list of "
                            f"{'texts' if wanted is str else 'true and false'}.", where=str(row.origin), next_step="Mend the row, or leave it out.")
    if len(steps) != len(verdicts):
        raise DataError(f"This row has {len(steps)} steps and {len(verdicts)} labels; expected one label a step.", where=str(row.origin),
                        next_step="Mend the row, or leave it out.")
    tokenizer = context.tokenizer
    ids = [*(() if tokenizer.bos_id is None else (tokenizer.bos_id,)), *tokenizer.encode(text_of(row, "prompt"), special=False)]
    labels = [IGNORE] * len(ids)
    for step, verdict in zip(steps, verdicts, strict=True):
        piece = [*tokenizer.encode(step, special=False), *tokenizer.encode("\n", special=False)]
        ids += piece
        labels += [IGNORE] * (len(piece) - 1) + [int(verdict)]
    return Steps(tuple(ids[:context.sequence_len]), tuple(labels[:context.sequence_len]), row.origin)


Reward = Callable[[Row, Dataset, Context], RewardPair | OddsPair | Steps]

REWARD_TYPES: Mapping[str, Reward] = types.MappingProxyType({
    "bradley_terry.chat_template": bradley_terry, "orpo.chat_template": odds_ratio, "stepwise_supervised": stepwise})
"""`type` -> function."""
