"""Single rows made visible, token by token: what the model only reads, what it learns to write, where rows meet and where they are cut."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tunelab.data.sample import IGNORE, Origin, Sample
from tunelab.data.statistics import Bucket, Language, Statistics, statistics
from tunelab.data.survey import Survey, end_tokens
from tunelab.data.token_text import TokenText, token_texts
from tunelab.data.tokenizer import TextTokenizer

__all__ = ["Bucket", "Language", "PreviewRow", "PreviewToken", "Statistics", "TokenState", "preview", "preview_cut", "preview_packed",
           "statistics", "worst"]


_SHOWN_BEHIND = 300
"""So many tokens behind the limit are shown."""


class TokenState(StrEnum):
    """What training does with a token; told apart for the token that ends a turn.

    PACK_BORDER is the first token of a row that follows another one in a pack: nothing before it is seen from there on, so it is read
    only. TRUNCATED tokens are behind the limit and never reach the model; PADDING fills a row up and carries no loss.
    """

    CONTEXT = "context"
    TRAINED = "trained"
    END_OF_TURN_TRAINED = "end_of_turn_trained"
    END_OF_TURN_UNTRAINED = "end_of_turn_untrained"
    TRUNCATED = "truncated"
    PADDING = "padding"
    PACK_BORDER = "pack_border"


@dataclass(frozen=True, slots=True)
class PreviewToken:
    """One token. `text` is what it adds to the row's text: "" inside a character that is split over several tokens.

    `joined`: the token ends inside a character, which the next token goes on with. `special`: it is one of the tokenizer's special tokens.
    """

    text: str
    id: int
    state: TokenState
    joined: bool = False
    special: bool = False


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One row, token by token. `index` is its place among the samples that were given.

    `why` says why it was chosen. A packed row holds several samples: `origin` is that of the first and `others` are those that follow.
    `side`: of a pair of answers, which it is (data.pair_preview).
    """

    index: int
    origin: Origin
    tokens: tuple[PreviewToken, ...]
    why: tuple[str, ...] = ()
    others: tuple[Origin, ...] = ()
    side: str = ""

    @property
    def supervised(self) -> int:
        """How many of its tokens are learnt."""
        return sum(token.state in (TokenState.TRAINED, TokenState.END_OF_TURN_TRAINED) for token in self.tokens)


def preview(samples: Sequence[Sample], tokenizer: TextTokenizer, rows: Sequence[int], *, ends: Collection[int] | None = None) -> tuple[PreviewRow, ...]:
    """The chosen samples, token by token. `ends`: the tokens that end a turn (EOS, if not given). Raises IndexError for a row that is not there."""
    ends = end_tokens(tokenizer) if ends is None else ends
    return tuple(PreviewRow(index, samples[index].origin, _tokens(samples[index], tokenizer, ends)) for index in rows)


def preview_packed(samples: Sequence[Sample], tokenizer: TextTokenizer, row: Sequence[int], *, fill_to: int | None = None,
                   ends: Collection[int] | None = None) -> PreviewRow:
    """Samples as they lie end to end in one row of a batch, filled up with padding to `fill_to` tokens."""
    ends = end_tokens(tokenizer) if ends is None else ends
    tokens: list[PreviewToken] = []
    for place, index in enumerate(row):
        first, *rest = _tokens(samples[index], tokenizer, ends)
        tokens += [replace(first, state=TokenState.PACK_BORDER) if place else first, *rest]
    pad = tokenizer.pad_id if tokenizer.pad_id is not None else tokenizer.eos_id or 0
    missing = max(0, (fill_to or 0) - len(tokens))
    tokens += [PreviewToken(tokenizer.decode([pad]), pad, TokenState.PADDING, special=True)] * missing
    return PreviewRow(row[0], samples[row[0]].origin, tuple(tokens), others=tuple(samples[index].origin for index in row[1:]))


def preview_cut(sample: Sample, tokenizer: TextTokenizer, limit: int, *, ends: Collection[int] | None = None) -> PreviewRow:
    """A whole sample of which only the first `limit` tokens can be used: those behind are shown as truncated, up to 300 of them.

    Its index is -1: as it stands, it is not trained on.
    """
    part = Sample(sample.input_ids[:limit + _SHOWN_BEHIND], sample.labels[:limit + _SHOWN_BEHIND], sample.origin)
    tokens = _tokens(part, tokenizer, end_tokens(tokenizer) if ends is None else ends)
    behind = tuple(replace(token, state=TokenState.TRUNCATED) for token in tokens[limit:])
    return PreviewRow(-1, sample.origin, tokens[:limit] + behind)


def worst(found: Survey, count: int, sequence_len: int | None = None) -> tuple[tuple[int, str], ...]:
    """The most doubtful rows to train on as (row, why): cut, with nothing or least to learn, repeated, longest; `count` of each, worst first."""
    import numpy as np

    rows = found.train
    lengths, supervised, same = found.lengths[:rows], found.supervised[:rows], found.same_as[:rows]
    share = supervised / np.maximum(1, lengths)
    copies = np.bincount(same, minlength=rows)[:rows]
    chosen: list[tuple[int, str]] = []

    def add(order: Any, fits: Any, why: Any) -> None:
        wanted = [int(index) for index in order if fits[index]][:count]
        chosen.extend((index, why(index)) for index in wanted)

    cut = found.open_end[:rows] & (lengths >= (sequence_len or int(lengths.max(initial=0))))
    add(np.argsort(-lengths, kind="stable"), cut, lambda index: f"cut: {lengths[index]:,} tokens and no end")
    add(np.argsort(share, kind="stable"), share < 1, lambda index: f"least trained: {supervised[index]:,} of {lengths[index]:,} tokens")
    add(np.argsort(-copies, kind="stable"), copies > 1, lambda index: f"duplicate: {copies[index]:,} rows are the same")
    add(np.argsort(-lengths, kind="stable"), lengths > 0, lambda index: f"longest: {lengths[index]:,} tokens")
    return tuple(chosen)


def merged_reasons(chosen: Iterable[tuple[int, str]]) -> dict[int, tuple[str, ...]]:
    """Each row once, with all the reasons for which it was chosen."""
    reasons: dict[int, tuple[str, ...]] = {}
    for index, why in chosen:
        reasons[index] = (*reasons.get(index, ()), why)
    return reasons


def _tokens(sample: Sample, tokenizer: TextTokenizer, ends: Collection[int]) -> tuple[PreviewToken, ...]:
    special = _special_ids(tokenizer)
    ids = [int(token) for token in sample.input_ids]
    # Nothing comes before the first token to predict it from, so it is never learnt, whatever its label says.
    trained = [False, *(label != IGNORE for label in sample.labels[1:])]
    texts = _parted(token_texts(tokenizer, ids), special, ids)
    return tuple(PreviewToken(one.text, token, _state(token in ends, learnt), one.joined, token in special)
                 for one, token, learnt in zip(texts, ids, trained, strict=True))


def _parted(texts: list[TokenText], special: frozenset[int], ids: Sequence[int]) -> list[TokenText]:
    """A special token is a thing of its own: nothing is joined with it."""
    return [TokenText(one.text, one.joined and token not in special and following not in special)
            for one, token, following in zip(texts, ids, [*ids[1:], -1], strict=True)]


def _special_ids(tokenizer: TextTokenizer) -> frozenset[int]:
    return frozenset(token for token, added in tokenizer.backend.get_added_tokens_decoder().items() if added.special)


def _state(ends_turn: bool, trained: bool) -> TokenState:
    if ends_turn:
        return TokenState.END_OF_TURN_TRAINED if trained else TokenState.END_OF_TURN_UNTRAINED
    return TokenState.TRAINED if trained else TokenState.CONTEXT
