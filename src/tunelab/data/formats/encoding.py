"""What most formats share: text to ids with or without an end-of-text token, and a prompt without loss before an answer with it.

Prompt and answer are tokenised apart, as Axolotl does it, so no token spans the border between them.
"""

from __future__ import annotations

from tunelab.data.formats.context import Context
from tunelab.data.sample import IGNORE, Row, Sample
from tunelab.data.tokenizer import TextTokenizer


def encode(text: str, tokenizer: TextTokenizer, limit: int, *, ends: int = 0, strip_bos: bool = False) -> list[int]:
    """Token ids, at most `limit`, with what the tokenizer adds by itself. Empty text gives none at all, not even an end.

    `ends`: how many end-of-text tokens the ids should close with; one that is there counts, and none goes beyond the limit.
    """
    return _closed(tokenizer.encode_truncated(text, limit), tokenizer, limit, ends, strip_bos) if text else []


def encode_even_empty(text: str, tokenizer: TextTokenizer, limit: int, *, ends: int = 0, strip_bos: bool = False) -> list[int]:
    """The same, but empty text is given to the tokenizer too: one that puts BOS in front makes a token of it."""
    return _closed(tokenizer.encode_truncated(text, limit), tokenizer, limit, ends, strip_bos)


def _closed(ids: list[int], tokenizer: TextTokenizer, limit: int, ends: int, strip_bos: bool) -> list[int]:
    if not ids:
        return ids
    if tokenizer.eos_id is not None:
        wanted = ends - (ids[-1] == tokenizer.eos_id)
        ids = ids + [tokenizer.eos_id] * max(0, min(wanted, limit - len(ids)))
    return ids[1:] if strip_bos and tokenizer.bos_id is not None and ids[0] == tokenizer.bos_id else ids


def prompt_and_answer(prompt: str, answer: str, row: Row, context: Context) -> Sample:
    """The prompt without loss (unless train_on_inputs), then answer and end-of-text token with loss.

    Each half is cut to sequence_len; a row in which that happens is longer than sequence_len and is left out later.
    """
    limit = context.sequence_len
    before = encode(prompt, context.tokenizer, limit)
    after = encode(answer, context.tokenizer, limit, ends=1, strip_bos=True)
    return halves(before, after, row, context)


def halves(before: list[int], after: list[int], row: Row, context: Context) -> Sample:
    """A sample of two halves: the first carries loss only with train_on_inputs."""
    labels = [*(before if context.train_on_inputs else [IGNORE] * len(before)), *after]
    return Sample((*before, *after), tuple(labels), row.origin)
