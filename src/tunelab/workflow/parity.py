"""parity: does a server feed the model what training fed it, token for token?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tunelab.comparison.parity import PromptParity, parity
from tunelab.comparison.prompt_sets import prompt_set
from tunelab.errors import DataError, UsageError
from tunelab.runners.prompt import Fed, Prompt
from tunelab.workflow.prompts import held_out_as_trained, prompts_of
from tunelab.workflow.sides import run_tokenizer, served_by

MOST = 32
"""Prompts that are looked at when none are named: the template is the same for all of them."""


class Teller(Protocol):
    """A runner that can tell what it feeds its model."""

    def fed(self, prompt: Prompt) -> Fed:
        """The text and the token ids of a prompt, as far as they are known."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What was found; `same`: whether every prompt reaches the model as in training, as far as the server tells."""

    run: Path
    target: str
    prompts: tuple[PromptParity, ...]
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """No prompt differs, and of each something is known."""
        return bool(self.prompts) and all(one.word in ("same", "same text") for one in self.prompts)


def check_parity(run: Path, target: str, prompts: Sequence[str] = ()) -> Parity:
    """Put the same messages into the run's template and through the target. Without `prompts`: the rows that the run held out, or else a few
    that are shipped. Raises FolderError, UsageError, ModelError, RunnerError.
    """
    tokenizer = run_tokenizer(run)
    asked: Sequence[tuple[Prompt, Fed | None]] = [(prompt, None) for name in prompts for prompt in prompts_of(name, "task")] if prompts else _some(run)
    teller = served_by(target)
    if not hasattr(teller, "fed"):
        raise UsageError("This kind of model does not tell what it is fed.", where=target)
    begin = tokenizer.decode([tokenizer.bos_id]) if tokenizer.bos_id is not None else ""
    found = []
    for prompt, trained in asked:
        if trained is None:
            text = prompt.raw or tokenizer.render(list(prompt.messages), add_generation_prompt=True)
            trained = Fed(text, tuple(tokenizer.encode(text, special=False)))
        found.append(parity(prompt.id, trained, teller.fed(prompt), tokenizer.pieces(trained.ids), begin))
    only_text = any(one.word == "same text" for one in found)
    notes = ("The server tells only text: that its tokens are the same cannot be proven here.",) if only_text else ()
    return Parity(run, target, tuple(found), notes)


def _some(run: Path) -> Sequence[tuple[Prompt, Fed | None]]:
    """Held-out rows with the very tokens of training; failing these, shipped prompts, put into the run's template."""
    try:
        return list(held_out_as_trained(run, "task"))[:MOST]
    except DataError:  # nothing was held out, or the data is no longer there
        return [(prompt, None) for prompt in prompt_set("general", "task")[:8]]
