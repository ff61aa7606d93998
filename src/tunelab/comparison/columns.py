"""Further columns of a comparison: would prompting have done it (the base model with examples), and how much does it differ from itself?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunelab.runners.prompt import Answer, Prompt, Runner, Sampling

_AGAIN = 1_000_003
"""Added to the seed of the second asking, so that no sample of the first has it."""


@dataclass(frozen=True, slots=True)
class FewShot:
    """A runner whose prompts begin with worked examples: turns of user and assistant, put behind a system message where there is one."""

    runner: Runner
    examples: tuple[tuple[dict[str, str], ...], ...]

    @property
    def name(self) -> str:
        """The base's name, and how many examples."""
        return f"{self.runner.name} + {len(self.examples)} examples"

    def facts(self) -> dict[str, Any]:
        """The runner's facts and the examples' number."""
        return {**self.runner.facts(), "examples": len(self.examples)}

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        """Answer every prompt with the examples before it."""
        shown = [turn for example in self.examples for turn in example]
        yield from self.runner.answer([replace(prompt, messages=_behind_system(prompt.messages, shown)) for prompt in prompts], sampling)


@dataclass(frozen=True, slots=True)
class Again:
    """The same runner asked a second time with other random numbers: what differs between the two is noise."""

    runner: Runner

    @property
    def name(self) -> str:
        """The runner's name, said to be a second asking."""
        return f"{self.runner.name} again"

    def facts(self) -> dict[str, Any]:
        """The runner's own."""
        return self.runner.facts()

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        """Answer every prompt with another seed."""
        yield from self.runner.answer(prompts, replace(sampling, seed=sampling.seed + _AGAIN))


def with_system(prompts: Sequence[Prompt], system: str) -> tuple[Prompt, ...]:
    """The prompts with a system message; one that a prompt has of its own stays."""
    before = {"role": "system", "content": system}
    return tuple(prompt if prompt.messages[0]["role"] in ("system", "developer") else replace(prompt, messages=(before, *prompt.messages))
                 for prompt in prompts)


def _behind_system(messages: Sequence[dict[str, str]], turns: Sequence[dict[str, str]]) -> tuple[dict[str, str], ...]:
    leading = 1 if messages and messages[0]["role"] in ("system", "developer") else 0
    own = [turn for turn in turns if not (leading and turn["role"] in ("system", "developer"))]
    return (*messages[:leading], *own, *messages[leading:])
