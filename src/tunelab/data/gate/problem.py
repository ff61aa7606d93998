"""What the gate says, and what it looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tunelab.config.config import Config
from tunelab.config.sections.data import Dataset
from tunelab.data.mixing import trained_on
from tunelab.data.prepare import Prepared
from tunelab.data.sample import Origin, Sample
from tunelab.data.survey import Survey
from tunelab.data.tokenizer import TextTokenizer

_PLACES = 5

CODES: Mapping[str, str] = MappingProxyType({
    "empty_mask": "rows in which no token carries loss",
    "untrained_end": "the token that ends a turn is never trained",
    "template_end": "the chat template does not end an answer with a token that the run trains",
    "generation_prompt": "the chat template does not mark where an answer begins, or not as the training rows do",
    "missing_tokens": "special tokens of the template that the vocabulary does not have",
    "double_bos": "rows that begin with two BOS tokens",
    "truncated": "answers that are cut off",
    "rows_lost": "rows that are too long or too short to be trained on",
    "overlap": "held-out rows that are trained on too",
    "pad_is_end": "the end of answers is masked because padding uses the same token",
    "trained_padding": "padding that carries loss",
    "untrained_tokens": "new tokens whose embedding rows the adapter does not train",
    "empty_answer": "pairs with an empty answer",
    "same_answers": "pairs whose better and worse answers are the same",
    "prompt_differs": "pairs whose answers do not follow the same prompt",
    "one_label": "rated answers that are all good, or all bad",
    "label_balance": "good and bad rated answers that do not weigh about the same",
    "length_bias": "pairs in which the better answer is nearly always the longer, or the shorter, one",
})
"""Code -> what it is about."""


@dataclass(frozen=True, slots=True)
class GateProblem:
    """A fault in `rows` of `of` rows. `code` is stable; `message` is a sentence; `fix` is the edit.

    `stops`: no training is begun with it unless its code is allowed; otherwise it is only said. `places`: the first rows that have it.
    """

    code: str
    message: str
    fix: str
    rows: int
    of: int
    stops: bool = True
    places: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What the checks look at: all samples, a survey of them (train first, then held out), and what they were made with."""

    prepared: Prepared
    tokenizer: TextTokenizer
    config: Config | None
    found: Survey
    ends: frozenset[int]

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """The datasets of the config, those that are held out last; none without a config."""
        return (*trained_on(self.config.data), *(self.config.data.test_datasets or ())) if self.config is not None else ()

    def sample(self, index: int) -> Sample:
        """One of all samples."""
        train = self.prepared.train
        return train[index] if index < len(train) else self.prepared.held_out[index - len(train)]

    def of_type(self, *beginnings: str) -> Any:
        """For each sample whether its dataset's `type` begins with one of these words; false without a config."""
        return self.of_datasets(index for index, one in enumerate(self.datasets) if one.type_name.startswith(beginnings))

    def of_datasets(self, indices: Iterable[int]) -> Any:
        """For each sample whether it comes from one of these datasets."""
        import numpy as np

        return np.isin(self.found.dataset, list(indices))

    def places(self, flags: Any) -> tuple[Origin, ...]:
        """Where the first of the flagged samples stand, in the order of the data."""
        import numpy as np

        flagged = flags.nonzero()[0]
        order = np.lexsort((self.found.row[flagged], self.found.dataset[flagged]))[:_PLACES]
        return tuple(dict.fromkeys(self.sample(index).origin for index in flagged[order].tolist()))


def first_places(origins: Iterable[Origin]) -> tuple[Origin, ...]:
    """The first few, in the order of the data."""
    from heapq import nsmallest

    return tuple(nsmallest(_PLACES, origins, key=lambda one: (one.dataset, one.file, one.row)))


def some_of(rows: int, of: int, noun: str = "rows") -> str:
    """ "3 of 40 rows (7.5 %)", "all 40 rows", "the only row"."""
    if rows == of:
        return f"the only {noun.removesuffix('s')}" if of == 1 else f"all {of:,} {noun}"
    share = 100 * rows / max(1, of)
    return f"{rows:,} of {of:,} {noun} ({'under 0.1' if share < 0.1 else format(share, '.1f').removesuffix('.0')} %)"


def begins(sentence: str) -> str:
    """A sentence with its first letter in upper case."""
    return sentence[:1].upper() + sentence[1:]
