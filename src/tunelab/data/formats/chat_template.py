"""`type: chat_template`: a conversation printed by a Jinja template; the turns of some roles carry loss.

Labels follow Axolotl 0.21 token for token.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context
from tunelab.data.formats.conversation import Conversation, Mark, Turn, conversation, mapped_role, thinking_key
from tunelab.data.formats.details import Stretch, trained_tokens
from tunelab.data.formats.spans import NOWHERE, Part, Printed, span
from tunelab.data.formats.turn_ends import NEAR, end_tokens, train_on
from tunelab.data.sample import IGNORE, Row, Sample
from tunelab.errors import ConfigError, TunelabError

_NOT_VARIABLES = frozenset({"tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict", "continue_final_message",
                            "return_assistant_tokens_mask", "tokenizer_kwargs", "sanitize_control_tokens", "chat_template", "conversation"})
"""What transformers' own function would take for itself rather than hand to the template."""


@dataclass(slots=True)
class _End:
    """A kind of token that ends turns, after which turns it carries loss, and where the last one stood."""

    tokens: Set[int]
    on: str
    last: int | None = None


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample: the printed conversation, with loss on the turns to train and, by train_on_eos and train_on_eot, on what ends them.

    Nothing is cut; an empty list of messages becomes an empty sample. Raises DataError when the row holds no conversation or the
    template refuses it, ConfigError when there is no template.
    """
    template = template_of(row, context)
    if row.values.get(dataset.field_messages or "messages") == []:
        return [Sample((), (), row.origin)]  # real data has empty conversations: left out as too short, and counted
    talk = conversation(row, dataset, template)
    try:
        printed = print_conversation(talk, dataset, context)
        if context.longest is not None and len(printed.ids) > context.longest:
            return [Sample(tuple(printed.ids), (IGNORE,) * len(printed.ids), row.origin)]
        labels = _labels(printed, talk.marks, dataset, context)
    except TunelabError as error:
        error.where = error.where or str(row.origin)
        raise
    return [Sample(tuple(printed.ids), tuple(labels), row.origin)]


def template_of(row: Row, context: Context) -> str:
    """The template's text. Raises ConfigError when the tokenizer has none and the config names none."""
    if context.template is None:
        raise ConfigError("The tokenizer has no chat template, and type: chat_template needs one.",
                          where=f"datasets[{row.origin.dataset}].type", next_step="Set one: chat_template: chatml")
    reserved = sorted(_NOT_VARIABLES & context.variables.keys())
    if reserved:
        raise ConfigError(f"chat_template_kwargs holds {', '.join(reserved)}, which is no variable of a template.", where="chat_template_kwargs",
                          next_step="Delete it.")
    return context.template


def print_conversation(talk: Conversation, dataset: Dataset, context: Context) -> Printed:
    """A conversation as text and tokens. Raises DataError when the template refuses it."""
    tokenizer = context.tokenizer

    def printer(turns: Sequence[Turn]) -> str:
        return tokenizer.render(turns, template=context.template, tools=talk.tools, variables=context.variables)

    text = printer(talk.turns)
    ids, starts, ends = tokenizer.encode_with_borders(text)
    closing = end_tokens(context) | frozenset(() if tokenizer.eos_id is None else (tokenizer.eos_id,))
    return Printed(talk.turns, text, ids, starts, ends, printer, thinking_key(dataset), closing)


def _labels(printed: Printed, marks: tuple[Mark, ...], dataset: Dataset, context: Context) -> list[int]:
    roles = {"assistant"} if dataset.roles_to_train is None else {mapped_role(role, dataset) for role in dataset.roles_to_train}
    on_eot, on_eos = train_on(dataset, context)
    eos_id = context.tokenizer.eos_id
    ends = (_End(end_tokens(context), on_eot), _End(frozenset(() if eos_id is None else (eos_id,)), on_eos))
    labels = [IGNORE] * len(printed.ids)
    for number, (turn, mark) in enumerate(zip(printed.turns, marks, strict=True)):
        trained = _is_trained(turn, mark, roles, context)
        if not trained and all(end.on != "all" for end in ends):
            continue
        behind = _train_turn(printed, number, mark, trained, labels, context)
        for end in ends:
            closing = _closing(printed.ids, end.tokens, behind)
            if closing is not None:
                end.last = closing
                if end.on == "all" or (end.on == "turn" and trained):
                    labels[closing] = printed.ids[closing]
    for end in ends:
        if end.on == "last" and end.last is not None:
            labels[end.last] = printed.ids[end.last]
    return labels


def _is_trained(turn: Turn, mark: Mark, roles: Set[str], context: Context) -> bool:
    """The message's own word first, then its marked parts, then the config."""
    if mark.trained is not None:
        return mark.trained
    if mark.content is not None or mark.reasoning is not None:
        return bool(mark.content) or bool(mark.reasoning)
    return context.train_on_inputs or turn["role"] in roles


def _train_turn(printed: Printed, number: int, mark: Mark, trained: bool, labels: list[int], context: Context) -> int:
    """Put the labels of one turn; returns the token behind it, -1 when it prints nothing."""
    turn = printed.turns[number]
    if _is_skipped(number, turn, context):
        return -1
    reasoned = turn.get(printed.thinking) is not None
    part = Part.CONTENT if reasoned and (mark.content or mark.reasoning) else Part.WHOLE
    start, end = span(printed, number, part)
    if trained and start != -1:
        if mark.content:
            _train_parts(printed, str(turn.get("content", "")), mark.content, start, labels, context)
        elif not mark.reasoning:
            labels[start:end] = printed.ids[start:end]
    if trained and mark.reasoning and reasoned:
        at, _ = span(printed, number, Part.REASONING)
        if at != NOWHERE[0]:
            _train_parts(printed, str(turn[printed.thinking]), mark.reasoning, at, labels, context)
    return end


def _train_parts(printed: Printed, text: str, stretches: tuple[Stretch, ...], start: int, labels: list[int], context: Context) -> None:
    """Labels for the marked parts of a text whose first token stands at `start`."""
    for place in trained_tokens(text, stretches, context.tokenizer):
        if start + place < len(labels):
            labels[start + place] = printed.ids[start + place]


def _is_skipped(number: int, turn: Turn, context: Context) -> bool:
    """Axolotl never trains a leading system turn of models with "mistral" in their name."""
    return number == 0 and turn["role"] == "system" and any("mistral" in part.lower() for part in context.tokenizer.folder.parts[-3:])


def _closing(ids: Sequence[int], tokens: Set[int], behind: int) -> int | None:
    """Where the token stands that closes a turn before `behind`; None when none is near.

    For a turn that printed nothing `behind` is -1, and the search begins with the very last token: one found there is none.
    """
    if behind == -1 and ids and ids[-1] in tokens:
        return None
    return next((place for place in range(max(behind, 0), min(behind + NEAR + 1, len(ids))) if ids[place] in tokens), None)
