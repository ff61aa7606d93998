"""A runner whose answers are written down beforehand: the double for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunelab.errors import RunnerError
from tunelab.runners.prompt import Answer, Prompt, Sampling


@dataclass(frozen=True, slots=True)
class ScriptedRunner:
    """Answers from a mapping {prompt id: text} or from a function of the prompt, in the order of the prompts.

    A text is one "token" per word; an answer with more words than `sampling.max_new_tokens` is cut there, as a model's would be.
    """

    name: str
    answers: Mapping[str, str] | Callable[[Prompt], str]

    def facts(self) -> dict[str, Any]:
        """The runner's kind and name; there is no model behind it."""
        return {"runner": "scripted", "model": self.name}

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        """Answer every prompt. Raises RunnerError at a prompt for which nothing is written."""
        for prompt in prompts:
            text, cut = _first_words(self._text(prompt), sampling.max_new_tokens)
            shown = "\n".join(f"{message['role']}: {message['content']}" for message in prompt.messages)
            yield Answer(prompt.id, text, "length" if cut else "end", prompt_text=shown, prompt_tokens=len(shown.split()),
                         new_tokens=len(text.split()))

    def _text(self, prompt: Prompt) -> str:
        if callable(self.answers):
            return self.answers(prompt)
        if prompt.id not in self.answers:
            raise RunnerError(f"No answer is written for the prompt {prompt.id!r}.", where=f"scripted runner {self.name!r}",
                              next_step="Add the prompt's id to its answers.")
        return self.answers[prompt.id]


def _first_words(text: str, limit: int) -> tuple[str, bool]:
    """The text, or its first `limit` words; and whether it was cut."""
    words = text.split()
    return (text, False) if len(words) <= limit else (" ".join(words[:limit]), True)
