"""What is trained on, made visible: single rows token by token, and figures over all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from statistics import fmean, median

from tunelab.data.prepare import Prepared
from tunelab.data.sample import IGNORE, Origin, Sample
from tunelab.data.tokenizer import TextTokenizer

_BUCKETS = 12


class TokenState(StrEnum):
    """What training does with a token: read it only, or learn to write it; told apart for the token that ends an answer."""

    CONTEXT = "context"
    TRAINED = "trained"
    END_OF_TURN_TRAINED = "end_of_turn_trained"
    END_OF_TURN_UNTRAINED = "end_of_turn_untrained"


@dataclass(frozen=True, slots=True)
class PreviewToken:
    """One token. `text` is what it adds to the row's text: "" inside a character that is split over several tokens."""

    text: str
    id: int
    state: TokenState


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One row, token by token. `index` is its place among the samples that were given."""

    index: int
    origin: Origin
    tokens: tuple[PreviewToken, ...]

    @property
    def supervised(self) -> int:
        """How many of its tokens are learnt."""
        return sum(token.state in (TokenState.TRAINED, TokenState.END_OF_TURN_TRAINED) for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows with lower <= length <= upper tokens."""

    lower: int
    upper: int
    count: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures over the rows to train on (held-out rows are not in them). Lengths are in tokens.

    `duplicates` counts rows whose ids all occurred in an earlier row. `end_never_trained` counts rows in which no end-of-turn
    token is learnt; `double_bos` those that begin with two BOS tokens.
    """

    rows: int
    tokens: int
    supervised: int
    share: float
    shortest: int
    median: float
    mean: float
    p95: int
    longest: int
    histogram: tuple[Bucket, ...]
    duplicates: int
    end_never_trained: int
    double_bos: int


def preview(samples: Sequence[Sample], tokenizer: TextTokenizer, rows: Sequence[int]) -> tuple[PreviewRow, ...]:
    """The chosen samples, token by token. Raises IndexError for a row that is not there."""
    return tuple(_row(index, samples[index], tokenizer) for index in rows)


def statistics(prepared: Prepared, tokenizer: TextTokenizer) -> Statistics:
    """Figures over all rows to train on."""
    samples = prepared.train
    lengths = sorted(len(sample.input_ids) for sample in samples)
    supervised = sum(sample.supervised for sample in samples)
    repeated = Counter(sample.input_ids for sample in samples)
    return Statistics(
        rows=len(samples), tokens=sum(lengths), supervised=supervised, share=supervised / sum(lengths), shortest=lengths[0],
        median=median(lengths), mean=fmean(lengths), p95=lengths[ceil(0.95 * len(lengths)) - 1], longest=lengths[-1],
        histogram=_histogram(lengths), duplicates=len(samples) - len(repeated),
        end_never_trained=sum(not trains_end(sample, tokenizer) for sample in samples),
        double_bos=sum(has_double_bos(sample, tokenizer) for sample in samples))


def trains_end(sample: Sample, tokenizer: TextTokenizer) -> bool:
    """Whether the row teaches to write the end-of-turn token (the tokenizer's EOS)."""
    return tokenizer.eos_id is not None and tokenizer.eos_id in sample.labels[1:]


def has_double_bos(sample: Sample, tokenizer: TextTokenizer) -> bool:
    """Whether the row begins with two BOS tokens: one from the template and one from the tokenizer."""
    return tokenizer.bos_id is not None and sample.input_ids[:2] == (tokenizer.bos_id, tokenizer.bos_id)


def _row(index: int, sample: Sample, tokenizer: TextTokenizer) -> PreviewRow:
    pieces = tokenizer.pieces(sample.input_ids)
    # Nothing comes before the first token to predict it from, so it is never learnt, whatever its label says.
    trained = [False, *(label != IGNORE for label in sample.labels[1:])]
    tokens = (PreviewToken(text, token, _state(token == tokenizer.eos_id, learnt))
              for text, token, learnt in zip(pieces, sample.input_ids, trained, strict=True))
    return PreviewRow(index, sample.origin, tuple(tokens))


def _state(ends_turn: bool, trained: bool) -> TokenState:
    if ends_turn:
        return TokenState.END_OF_TURN_TRAINED if trained else TokenState.END_OF_TURN_UNTRAINED
    return TokenState.TRAINED if trained else TokenState.CONTEXT


def _histogram(lengths: Sequence[int]) -> tuple[Bucket, ...]:
    """Twelve buckets of equal width from the shortest to the longest length."""
    lowest = lengths[0]
    width = max(1, ceil((lengths[-1] - lowest + 1) / _BUCKETS))
    counts = Counter((length - lowest) // width for length in lengths)
    return tuple(Bucket(lowest + number * width, lowest + (number + 1) * width - 1, counts[number]) for number in range(_BUCKETS))
