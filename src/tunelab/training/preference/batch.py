"""A micro-batch of answers: the better ones, then the worse ones, laid end to end without padding, each behind its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tunelab.data.pairs import WIDTH, Pair, pair_at
from tunelab.data.sample import IGNORE, Sample
from tunelab.planning.schedule import Rows
from tunelab.training.batch import MicroBatch, lay_out


@dataclass(frozen=True, slots=True)
class Laid:
    """Samples end to end, and how many tokens of each carry loss, in their order: all of them, and those that belong to its prompt."""

    flat: MicroBatch
    counts: tuple[int, ...]
    prompts: tuple[int, ...]

    @property
    def sizes(self) -> torch.Tensor:
        """Tokens of the answers, (samples,)."""
        counts = [count - prompt for count, prompt in zip(self.counts, self.prompts, strict=True)]
        return torch.tensor(counts, device=self.flat.targets.device, dtype=torch.float32)

    def summed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Values of the tokens with loss, summed over those of each answer: (tokens,) -> (samples,)."""
        return torch.stack([part[prompt:].sum() for part, prompt in zip(tokens.split(list(self.counts)), self.prompts, strict=True)])

    def first(self, samples: int) -> int:
        """How many tokens with loss the first samples have."""
        return sum(self.counts[:samples])


@dataclass(frozen=True, slots=True)
class PairBatch:
    """One micro-batch. `rows`: the numbers of its pairs, or rated answers, of the held-out data or of that to train on.

    `answers`: the better answers, then the worse ones; rated answers in their order. `good`: which rated answers are, (rows,).
    `mismatched`: for KTO each prompt with the answer of the row before it. `recording`: the model has not learnt yet, and what it says is to
    be kept as the reference.
    """

    rows: tuple[int, ...]
    held_out: bool
    answers: Laid
    good: torch.Tensor | None = None
    mismatched: Laid | None = None
    recording: bool = False

    @property
    def tokens(self) -> int:
        """Positions of the pass that is trained; those of the reference are not counted."""
        return self.answers.flat.tokens

    @property
    def supervised(self) -> int:
        """Tokens that carry loss."""
        return self.answers.flat.supervised

    @property
    def units(self) -> int:
        """Pairs, or rated answers."""
        return len(self.rows)


class Shelf:
    """The rows of a run, and how they are laid out."""

    def __init__(self, samples: tuple[Sequence[Sample], Sequence[Sample]], longest: int, device: torch.device) -> None:
        self._train, self._held_out = samples
        self._longest, self._device = longest, device

    def pairs(self, rows: Rows, held_out: bool) -> tuple[tuple[int, ...], list[Pair]]:
        """The numbers of some rows, and the rows."""
        numbers = tuple(index for row in rows for index in row)
        samples = self._held_out if held_out else self._train
        return numbers, [pair_at(samples, index) for index in numbers]

    def tokens(self, rows: Rows, held_out: bool) -> int:
        """How many tokens the rows have."""
        samples = self._held_out if held_out else self._train
        return sum(len(samples[WIDTH * index + side].input_ids) for row in rows for index in row for side in range(WIDTH))

    def laid(self, samples: Sequence[Sample], whole: int = 0) -> Laid:
        """Samples end to end on the device. Of the first `whole` of them the prompt carries loss too."""
        answers = [sample.supervised for sample in samples]
        samples = [Sample(one.input_ids, one.input_ids, one.origin) if place < whole else one for place, one in enumerate(samples)]
        counts = [sample.supervised for sample in samples]
        return Laid(lay_out([samples], pad_id=0, pad_to=None, device=self._device), tuple(counts),
                    tuple(count - answer for count, answer in zip(counts, answers, strict=True)))

    def compared(self, rows: Rows, held_out: bool, *, whole_chosen: bool = False) -> PairBatch:
        """A batch of pairs. `whole_chosen`: of the better answers the prompt's tokens carry loss too."""
        numbers, pairs = self.pairs(rows, held_out)
        sides = [pair.sides[side] for side in range(WIDTH) for pair in pairs]
        return PairBatch(numbers, held_out, self.laid(sides, len(pairs) if whole_chosen else 0))

    def rated(self, rows: Rows, held_out: bool) -> PairBatch:
        """A batch of rated answers, and each prompt with the answer of the row before (of the first: the last)."""
        numbers, pairs = self.pairs(rows, held_out)
        own = [pair.sides[0] for pair in pairs]
        crossed = [_crossed(prompt, answer, self._longest) for prompt, answer in zip(own, [own[-1], *own[:-1]], strict=True)]
        good = torch.tensor([pair.chosen is not None for pair in pairs], device=self._device)
        return PairBatch(numbers, held_out, self.laid(own), good, self.laid(crossed))


def _crossed(prompt: Sample, answer: Sample, longest: int) -> Sample:
    """The prompt of one sample with the answer of another, cut to `longest` tokens."""
    head, tail = _head(prompt), answer.input_ids[_head(answer):]
    ids = (*prompt.input_ids[:head], *tail)[:longest]
    return Sample(ids, (*(IGNORE,) * head, *tail)[:longest], prompt.origin)


def _head(sample: Sample) -> int:
    """Tokens before the answer."""
    return next((place for place, label in enumerate(sample.labels) if label != IGNORE), len(sample.labels))
