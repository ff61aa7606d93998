"""What is put to a model and what comes back: the same for every runner."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt. `messages` are OpenAI-style {"role", "content"}; `grader` says how an answer is judged
    ({"kind": "exact", "expected": ...}; see `tunelab.grading`), None: answers are only shown; `group`: the verdict that it counts for, such
    as "task" or "general". `raw`: the text to feed as it is, without any template, for rows that are not conversations ("": use `messages`).
    """

    id: str
    messages: tuple[dict[str, str], ...]
    grader: dict[str, Any] | None = None
    group: str = "task"
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. temperature 0 is greedy; `samples`: how many answers to each prompt, sample k drawn with seed + k."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int = 42
    samples: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """One full answer. `stop` is "end" (end-of-turn token or stop string), "length" (max_new_tokens reached: it was cut) or "error".

    `prompt_text` and `prompt_ids` are what the model was fed, template and all, where the runner can know it; `sample`: which of several
    answers to the same prompt, from 0.
    """

    prompt_id: str
    text: str
    stop: str
    prompt_text: str = ""
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    prompt_ids: tuple[int, ...] = ()
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Fed:
    """What a server fed its model for a prompt, as far as it tells."""

    text: str = ""
    ids: tuple[int, ...] = ()


class Runner(Protocol):
    """Who answers prompts."""

    @property
    def name(self) -> str:
        """What the side is called."""

    def facts(self) -> dict[str, Any]:
        """What identifies this side: model, template, precision, adapter; compared between the two sides."""

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        """Answer every prompt; answers come as they are ready, in any order. Raises RunnerError."""


def digest(template: str) -> str:
    """A template by its first words and a checksum: enough to see whether two are the same."""
    return f"{' '.join(template.split())[:40]} ({hashlib.sha256(template.encode('utf-8', 'replace')).hexdigest()[:12]})"
