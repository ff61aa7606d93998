"""Which tokens end a turn: the tokenizer's end-of-text token, the config's `eot_tokens`, or what the template prints after an answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tunelab.config.sections.data import Dataset
from tunelab.data.formats.context import Context
from tunelab.data.formats.spans import STAND_INS
from tunelab.errors import ConfigError, TunelabError

NEAR = 3
"""A token that ends a turn counts as the turn's own when it comes at most this many tokens after it."""


@lru_cache(maxsize=64)
def end_tokens(context: Context) -> frozenset[int]:
    """The ids of the tokens that end a turn, beside the end-of-text token that `train_on_eos` speaks of.

    Without `eot_tokens` in the config that is the end-of-text token; when the template closes answers with another token of the vocabulary
    instead, that one too: else no model would learn to stop. Raises ConfigError for an end token that is several tokens.
    """
    tokenizer, template = context.tokenizer, context.template or ""
    if context.eot_tokens is None:
        names = [name for name in (tokenizer.eos_token, printed_end(context)) if name is not None]
    elif context.eot_tokens == (tokenizer.eos_token,):
        names = list(context.eot_tokens)
    else:
        names = [name for name in context.eot_tokens if name in template]  # one that the template never prints ends nothing
    spelt = {name: tokenizer.encode(name, special=False) for name in names}
    split = next((name for name, ids in spelt.items() if len(ids) != 1 and name != tokenizer.eos_token), None)
    if split is not None:
        raise ConfigError(f"eot_tokens holds {split!r}, which this tokenizer spells with {len(spelt[split])} tokens; expected one.",
                          where="eot_tokens", next_step=f"Make it a token: tokens: [{split!r}], or rename a reserved one with "
                          "added_tokens_overrides.")
    return frozenset(ids[0] for ids in spelt.values() if len(ids) == 1)


def train_on(dataset: Dataset, context: Context) -> tuple[str, str]:
    """(after which turns `eot_tokens` carry loss, after which the end-of-text token does). Raises ConfigError when they contradict."""
    on_eos = dataset.train_on_eos or "turn"
    on_eot = dataset.train_on_eot or on_eos
    own = context.tokenizer.eos_token
    named = context.eot_tokens is not None and own in context.eot_tokens and context.eot_tokens != (own,) and str(own) in (context.template or "")
    if named and on_eot != on_eos:
        raise ConfigError(f"eot_tokens holds the end-of-text token {own!r}, and train_on_eot ({on_eot}) and train_on_eos ({on_eos}) ask for "
                          "different things of it.", where="datasets[].train_on_eot", next_step=f"Write train_on_eot: {on_eos}")
    return on_eot, on_eos


@lru_cache(maxsize=64)
def printed_end(context: Context) -> str | None:
    """The token that the template prints after an answer, where that is not the end-of-text token; None when there is none to be found.

    Only tokens that stand whole in the vocabulary count, and only right after the answer (whitespace may come between).
    """
    tokenizer = context.tokenizer
    try:
        text = tokenizer.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": STAND_INS[1]}],
                                template=context.template, variables=context.variables)
    except TunelabError:
        return None
    _, found, tail = text.rpartition(STAND_INS[1])
    ids, offsets = tokenizer.encode_with_offsets(tail)
    if not found or tokenizer.eos_id in ids[:NEAR + 1]:
        return None
    return _first_added(tail, ids[:NEAR + 1], offsets, context)


def _first_added(tail: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]], context: Context) -> str | None:
    added = context.tokenizer.backend.get_added_tokens_decoder()
    for token, (start, end) in zip(ids, offsets, strict=False):
        if token in added:
            return str(added[token].content)
        if tail[start:end].strip():
            return None
    return None
