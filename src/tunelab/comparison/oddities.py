"""What went wrong with single answers, gathered: prompts that a model did not get in full, answers that failed or were cut by something else."""

from __future__ import annotations

from collections.abc import Sequence

from tunelab.comparison.record import EXTRA, SIDES, Record

_KINDS = {"truncated": "got only a part of", "error": "gave no answer to", "cut": "was cut short in its answer to",
          "invalid_utf8": "put bytes that are no text into its answer to"}


def oddities(records: Sequence[Record]) -> tuple[str, ...]:
    """One warning for each side and kind: to how many prompts it happened, which is the first, and how the runner puts it."""
    warnings = []
    for side in (*SIDES, *EXTRA):
        answers = [one.answer for record in records for one in record.judged(side)]
        for kind, words in _KINDS.items():
            odd = [answer for answer in answers if kind in answer.details]
            if odd:
                many = len({answer.prompt_id for answer in odd})
                reason = odd[0].details[kind]
                why = f": {reason}" if isinstance(reason, str) else ""
                prompts = f"{many} prompts, the first is {odd[0].prompt_id!r}" if many > 1 else f"the prompt {odd[0].prompt_id!r}"
                warnings.append(f"The {side} model {words} {prompts}{why}.")
    return tuple(warnings)
