"""`type: llama2_chat`: the layout of the Llama 2 chat models, from rows in the ShareGPT shape."""

from __future__ import annotations

from typing import Any

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context, require_columns
from tunelab.data.sample import IGNORE, Row, Sample
from tunelab.errors import DataError

_SYSTEM = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something not correct. "
    "If you don't know the answer to a question, please don't share false information.")
_ROLES = {"human": 0, "gpt": 1}


def tokenise(row: Row, dataset: Dataset, context: Context) -> list[Sample]:
    """One sample: every answer and the end-of-text token behind it carry loss. Each exchange is tokenised with its own BOS.

    Raises DataError for a conversation that does not go back and forth between human and gpt.
    """
    require_columns(row, "llama2_chat", ("conversations",))
    system, turns = _conversation(row)
    tokenizer = context.tokenizer
    bos = [tokenizer.bos_id] if tokenizer.bos_id is not None else []
    eos = [tokenizer.eos_id] if tokenizer.eos_id is not None else []
    ids: list[int] = []
    labels: list[int] = []
    for number in range(0, len(turns) - 1, 2):
        head = f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n" if number == 0 else "[INST] "
        prompt = f"{head}{turns[number].strip()} [/INST]"
        answer = f" {turns[number + 1].strip()} "
        before, after = _encode_split(prompt, answer, context)
        ids += [*bos, *before, *after, *eos]
        hidden = len(bos) + len(before)
        labels += [*(ids[-len(bos + before + after + eos):][:hidden] if context.train_on_inputs else [IGNORE] * hidden), *after, *eos]
    return [Sample(tuple(ids), tuple(labels), row.origin)]


def _encode_split(prompt: str, answer: str, context: Context) -> tuple[list[int], list[int]]:
    """The tokens of prompt + answer as one text; a token over the border belongs to the answer."""
    ids, offsets = context.tokenizer.encode_with_offsets(prompt + answer)
    border = next((place for place, (_, end) in enumerate(offsets) if end > len(prompt)), len(ids))
    return ids[:border], ids[border:]


def _conversation(row: Row) -> tuple[str, list[str]]:
    """The system text and the turns, beginning with the human's; a first turn of the model and a last one of the human are left out."""
    turns = row.values["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) and isinstance(turn.get("value"), str) for turn in turns):
        raise _broken(row, "`conversations` is not a list of objects with `from` and `value`")
    given: list[dict[str, Any]] = turns
    system = _SYSTEM
    if given and given[0].get("from") == "system":
        system, given = given[0]["value"], given[1:]
    given = given[1:] if given and given[0].get("from") == "gpt" else given
    for number, turn in enumerate(given):
        if _ROLES.get(turn.get("from", "")) != number % 2:
            raise _broken(row, f"turn {number + 1} is from {turn.get('from')!r}; expected human and gpt by turns")
    if len(given) < 2:
        raise _broken(row, "it holds no question with an answer")
    return system, [turn["value"] for turn in given]


def _broken(row: Row, what: str) -> DataError:
    return DataError(f"This conversation cannot be read as llama2_chat: {what}.", where=str(row.origin),
                     next_step="Mend or leave out the row, or use type: chat_template with the model's own template.")
