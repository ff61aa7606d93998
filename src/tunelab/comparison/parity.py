"""Is what a server feeds the model what training fed it? Two prompts token by token, the first difference, and what most likely causes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tunelab.runners.prompt import Fed

Word = Literal["same", "same text", "differs", "not told"]
_AROUND = 3


@dataclass(frozen=True, slots=True)
class Gap:
    """The first place where two sequences differ: `index` of the token (or character, where a server tells only text), and a few pieces from
    there on, on both sides."""

    index: int
    trained: tuple[str, ...]
    served: tuple[str, ...]
    unit: Literal["token", "character"] = "token"


@dataclass(frozen=True, slots=True)
class PromptParity:
    """One prompt. `word`: "same" (token for token), "same text" (the server does not tell token ids), "differs", "not told" (it tells nothing).

    `cause` and `change`: what most likely makes the difference, and what to do; "" where nothing differs.
    """

    prompt_id: str
    word: Word
    trained: Fed
    served: Fed
    gap: Gap | None = None
    cause: str = ""
    change: str = ""


def parity(prompt_id: str, trained: Fed, served: Fed, pieces: Sequence[str], bos: str = "") -> PromptParity:
    """Hold one prompt against what the server was seen to feed. `pieces`: the text of each token of `trained`; `bos`: the text of the
    beginning-of-sequence token, "" when there is none."""
    if not served.text and not served.ids:
        return PromptParity(prompt_id, "not told", trained, served)
    if served.ids:
        if served.ids == trained.ids:
            return PromptParity(prompt_id, "same", trained, served)
        gap = _token_gap(trained, served, pieces)
    elif served.text == trained.text:
        return PromptParity(prompt_id, "same text", trained, served)
    else:
        gap = _text_gap(trained.text, served.text)
    return PromptParity(prompt_id, "differs", trained, served, gap, *_cause(trained, served, bos))


def _token_gap(trained: Fed, served: Fed, pieces: Sequence[str]) -> Gap:
    index = next((at for at, (one, other) in enumerate(zip(trained.ids, served.ids, strict=False)) if one != other),
                 min(len(trained.ids), len(served.ids)))
    known = dict(zip(trained.ids, pieces, strict=False))
    after = served.ids[index : index + _AROUND]
    return Gap(index, tuple(pieces[index : index + _AROUND]), tuple(known.get(one, f"#{one}") for one in after))


def _text_gap(trained: str, served: str) -> Gap:
    index = next((at for at, (one, other) in enumerate(zip(trained, served, strict=False)) if one != other), min(len(trained), len(served)))
    return Gap(index, (trained[index : index + 40],), (served[index : index + 40],), "character")


def _cause(trained: Fed, served: Fed, bos: str) -> tuple[str, str]:
    """(what most likely makes the difference, what to change), by what would make the two equal."""
    export = "Export the run with `tunelab export RUN --to gguf` or `--to ollama`: both carry the training's template."
    if trained.ids and served.ids and served.ids[1:] == trained.ids:
        return ("The server puts one more token before the prompt: a second beginning-of-sequence token.",
                "Set add_bos_token to false in the GGUF, or take BOS out of its template.")
    if trained.ids and served.ids and trained.ids[1:] == served.ids:
        return "The server leaves out the first token that training had.", "Let the server add it (add_bos_token: true in the GGUF)."
    if served.text == trained.text:
        return ("The text is the same and the tokens are not: the server's tokenizer splits it otherwise (another pre-tokenizer or vocabulary).",
                "Take the GGUF that tunelab writes: it names the tokenizer's own pre-tokenizer.")
    if bos and served.text.removeprefix(bos) == trained.text.removeprefix(bos):
        return "One side begins with the beginning-of-sequence token and the other does not.", export
    if "".join(served.text.split()) == "".join(trained.text.split()):
        return "Only spaces and line ends differ: the server's template is a copy that is not exact.", export
    if _contains(served.text, trained.text):
        return ("The server adds text that training did not have, such as a default system message.",
                f"Give the system message that was trained with (--system), or: {export}")
    if _contains(trained.text, served.text):
        return "The server leaves out text that training had: a default system message, or the start of the answer.", export
    return "The server puts the messages into another template.", export


def _contains(longer: str, shorter: str) -> bool:
    """Whether a text is another with one stretch put in."""
    if len(longer) <= len(shorter):
        return False
    front = next((at for at, (one, other) in enumerate(zip(longer, shorter, strict=False)) if one != other), len(shorter))
    return longer.endswith(shorter[front:])
