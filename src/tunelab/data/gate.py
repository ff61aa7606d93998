"""The gate before step 1: faults of the tokenised data that no training can make good, looked for in all rows.

Rows that are too long or teach nothing are not here: `prepare` leaves them out and counts them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.data.prepare import Prepared
from tunelab.data.preview import has_double_bos, trains_end
from tunelab.data.sample import Sample
from tunelab.data.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True)
class GateProblem:
    """A fault in `rows` of `of` rows. `code` is stable; `message` is a sentence; `fix` is the edit."""

    code: str
    message: str
    fix: str
    rows: int
    of: int


def gate(prepared: Prepared, tokenizer: TextTokenizer) -> tuple[GateProblem, ...]:
    """Everything that must be mended before training; empty when nothing must."""
    samples = (*prepared.train, *prepared.held_out)
    found = (_untrained_end(samples, tokenizer), _double_bos(samples, tokenizer))
    return tuple(problem for problem in found if problem is not None)


def _untrained_end(samples: tuple[Sample, ...], tokenizer: TextTokenizer) -> GateProblem | None:
    if any(trains_end(sample, tokenizer) for sample in samples):
        return None
    rows = len(samples)
    if tokenizer.eos_id is None:
        return GateProblem("untrained_end", "The tokenizer names no end-of-text token, so the model cannot learn to stop.",
                           "special_tokens: {eos_token: TOKEN}", rows, rows)
    name = tokenizer.eos_token
    if any(tokenizer.eos_id in sample.input_ids for sample in samples):
        return GateProblem("untrained_end", f"{name!r} ends the turns, and no row is trained on it: the model would not learn to stop.",
                           "train_on_eos: turn, with the answering role in roles_to_train", rows, rows)
    return GateProblem("untrained_end", f"No row contains the end-of-text token {name!r}: the model would not learn to stop.",
                       f"Name the token that ends your template's turns, special_tokens: {{eos_token: TOKEN}}, or end the trained "
                       f"text with {name}", rows, rows)


def _double_bos(samples: tuple[Sample, ...], tokenizer: TextTokenizer) -> GateProblem | None:
    doubled = [sample for sample in samples if has_double_bos(sample, tokenizer)]
    if not doubled:
        return None
    return GateProblem("double_bos", f"{len(doubled)} of {len(samples)} rows begin with {tokenizer.bos_token!r} twice, first at "
                                     f"{doubled[0].origin}: once from the text and once from the tokenizer.",
                       "Take the token out of the data or the template, or use type: chat_template, which adds none", len(doubled),
                       len(samples))
