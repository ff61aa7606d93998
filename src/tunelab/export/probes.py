"""The prompts on which two models are held against each other: rows that a run held out, or a few that tunelab ships."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

from tunelab.data.sample import IGNORE, Sample
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import TunelabError

MAX_TOKENS = 512
"""A longer row is cut here: enough to tell two models apart."""

MAX_PROBES = 16


@dataclass(frozen=True, slots=True)
class Probe:
    """Token ids, and where the answer begins in them: logits are compared from the position that predicts token `first` on (counted
    from 0), and greedy answers go on from the tokens before it. With `first == len(ids)` the whole is a prompt, and all of it is compared."""

    ids: tuple[int, ...]
    first: int

    @property
    def positions(self) -> range:
        """The positions whose logits are compared."""
        return range(len(self.ids)) if self.first == len(self.ids) else range(self.first - 1, len(self.ids))

    @property
    def prompt(self) -> tuple[int, ...]:
        """What a greedy answer goes on from."""
        return self.ids[:self.first]


def from_samples(samples: Iterable[Sample]) -> tuple[Probe, ...]:
    """The first rows that have a prompt and an answer within the first MAX_TOKENS."""
    probes = []
    for sample in samples:
        ids = sample.input_ids[:MAX_TOKENS]
        first = next((index for index, label in enumerate(sample.labels[:MAX_TOKENS]) if label != IGNORE and index > 0), None)
        if first is not None:
            probes.append(Probe(tuple(ids), first))
        if len(probes) == MAX_PROBES:
            break
    return tuple(probes)


def shipped(tokenizer: TextTokenizer) -> tuple[Probe, ...]:
    """tunelab's own prompts, in the tokenizer's chat template where it has one, as plain text where not."""
    texts = [line for line in resources.files("tunelab.export").joinpath("prompts.txt").read_text(encoding="utf-8").splitlines() if line]
    rows = (_rendered(tokenizer, text) for text in texts)
    return tuple(Probe(tuple(ids[:MAX_TOKENS]), len(ids[:MAX_TOKENS])) for ids in rows if ids)


def _rendered(tokenizer: TextTokenizer, text: str) -> Sequence[int]:
    if tokenizer.chat_template is not None:
        try:
            return tokenizer.encode(tokenizer.render([{"role": "user", "content": text}], add_generation_prompt=True), special=False)
        except TunelabError:
            pass  # a template that refuses a plain question: the text alone tells two models apart too
    return tokenizer.encode(text)
