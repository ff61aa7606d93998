"""Rows of preference data and of reward models to token ids: the two answers of a pair, each behind its prompt.

The ids are those that trl's trainers make of the texts of Axolotl's loaders: prompt and answer are encoded together, and the answer begins
where the two encodings part. DPO, IPO and KTO let the tokenizer put its BOS in front; ORPO and SimPO put it there themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context
from tunelab.data.formats.preference import Judged, Pair, Preference, find_preference
from tunelab.data.formats.reward import REWARD_TYPES, Reward, RewardPair
from tunelab.data.sample import IGNORE, Origin, Row, Sample, Unit
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import DataError


@dataclass(frozen=True, slots=True)
class PairFormat:
    """How the rows of one dataset become answers: its reader, and the method that decides how they are encoded."""

    method: str
    read: Preference | Reward

    def __call__(self, row: Row, dataset: Dataset, context: Context) -> list[Unit]:
        """The answers of a row. Raises DataError for a row that cannot be read."""
        found = self.read(row, dataset, context)
        if isinstance(found, RewardPair):
            return [_scored(found)]
        if isinstance(found, Judged):
            return [_rated(found, context.tokenizer)]
        if isinstance(found, Pair):
            return [_compared(found, context.tokenizer, self.method)]
        raise TypeError(f"{type(found).__name__} is no pair of answers")


def find_pair_format(method: str, dataset: Dataset, index: int) -> PairFormat:
    """The format for a method (dpo, ipo, kto, orpo, simpo, reward) and the type of `datasets[index]`. Raises DataError when there is none."""
    if method != "reward":
        return PairFormat(method, find_preference(method, dataset, index))
    if dataset.type != "bradley_terry.chat_template":
        raise DataError(f"type {dataset.type_name!r} is not one of a reward model; it reads bradley_terry.chat_template.", where=f"datasets[{index}].type",
                        next_step="Write: type: bradley_terry.chat_template")
    return PairFormat(method, REWARD_TYPES["bradley_terry.chat_template"])


def _scored(pair: RewardPair) -> Unit:
    """Two conversations whose last token is where the score is read."""
    chosen, rejected = (Sample(ids, (*(IGNORE,) * (len(ids) - 1), *ids[-1:]), pair.origin) for ids in (pair.chosen_ids, pair.rejected_ids))
    return Unit((chosen, rejected), max(len(pair.chosen_ids), len(pair.rejected_ids)), 0)


def _rated(row: Judged, tokenizer: TextTokenizer) -> Unit:
    if row.label is None:
        raise DataError("This row does not say whether its answer is good.", where=str(row.origin),
                        next_step="Give it a column `label`: true for a good answer, false for a bad one.")
    prompt, whole = _encode(tokenizer, row.prompt), _encode(tokenizer, row.prompt + _ended(row.completion, tokenizer))
    sample = _sample(whole, _common(prompt, whole), row.origin)
    empty = Sample((), (), row.origin)
    alone = _plain(tokenizer, row.prompt) + _plain(tokenizer, row.completion)
    return Unit((sample, empty) if row.label else (empty, sample), alone, _common(prompt, whole))


def _compared(row: Pair, tokenizer: TextTokenizer, method: str) -> Unit:
    answers = (row.chosen, row.rejected)
    if method in ("orpo", "simpo"):
        chosen, rejected = (_with_ends(row.prompt, answer, tokenizer, row.origin) for answer in answers)
        head = min(_first_answer(chosen), _first_answer(rejected))
    else:
        prompt, *whole = (_single_bos(_encode(tokenizer, text), tokenizer.bos_id)
                          for text in (row.prompt, *(row.prompt + _ended(answer, tokenizer) for answer in answers)))
        head = min(_common(prompt, ids) for ids in whole)
        chosen, rejected = (_sample(ids, head, row.origin) for ids in whole)
    return Unit((chosen, rejected), _plain(tokenizer, row.prompt) + max(_plain(tokenizer, answer) for answer in answers), head)


def _with_ends(prompt: str, answer: str, tokenizer: TextTokenizer, origin: Origin) -> Sample:
    """As trl's trainers for ORPO and CPO: encoded without special tokens, then BOS and EOS put where they are missing."""
    alone, whole = tokenizer.encode(prompt, special=False), tokenizer.encode(prompt + answer, special=False)
    head = len(alone) if whole[:len(alone)] == alone else max(0, len(alone) - 1)  # the prompt's last token merged with the answer's first
    before, after = whole[:head], whole[head:]
    if tokenizer.bos_id is not None and before[:1] != [tokenizer.bos_id]:
        before = [tokenizer.bos_id, *before]
    if tokenizer.eos_id is not None and after[-1:] != [tokenizer.eos_id]:
        after = [*after, tokenizer.eos_id]
    return _sample([*before, *after], len(before), origin)


def _encode(tokenizer: TextTokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, special=True)


def _plain(tokenizer: TextTokenizer, text: str) -> int:
    return len(tokenizer.encode(text, special=False))


def _ended(answer: str, tokenizer: TextTokenizer) -> str:
    """An answer with the EOS token behind it, once."""
    end = tokenizer.eos_token or ""
    return answer if answer.endswith(end) else answer + end


def _single_bos(ids: list[int], bos: int | None) -> list[int]:
    return ids[1:] if bos is not None and ids[:2] == [bos, bos] else ids


def _common(one: list[int], other: list[int]) -> int:
    """Leading tokens that two encodings have in common."""
    return next((place for place, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), min(len(one), len(other)))


def _sample(ids: list[int], head: int, origin: Origin) -> Sample:
    return Sample(tuple(ids), (*(IGNORE,) * head, *ids[head:]), origin)


def _first_answer(sample: Sample) -> int:
    return sum(label == IGNORE for label in sample.labels)

