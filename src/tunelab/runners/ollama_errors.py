"""What Ollama says when something is wrong, put in order: words out of bodies inside bodies, and what to do about them."""

from __future__ import annotations

import json
from typing import Any

from tunelab.errors import RunnerError


class Refused(RunnerError):
    """The server answered, and the answer is an error. `status`: HTTP's, or -1 for a line in a stream; `said`: its words."""

    def __init__(self, status: int, said: str, where: str) -> None:
        super().__init__(f"Ollama says: {said}." if said else f"Ollama refuses with status {status}.", where=where, next_step=remedy(status, said))
        self.status, self.said = status, said


class Gone(RunnerError):
    """Nobody answers, or not to the end. `waited`: a further try is of no use, there have been several."""

    waited = False


def words_of(said: Any) -> str:
    """An error's words on one line; a body inside a body is opened."""
    for _ in range(3):
        if isinstance(said, dict):
            said = said.get("error", said.get("message", said))
            if isinstance(said, dict) and "message" in said:
                said = said["message"]
        if isinstance(said, str) and said.lstrip().startswith("{"):
            try:
                said = json.loads(said)
                continue
            except ValueError:
                break
        break
    return one_line(str(said)).rstrip(".")


def one_line(text: str) -> str:
    """What a server said as one printable line, cut."""
    return "".join(one if one.isprintable() else " " for one in " ".join(text.split()))[:400]


def remedy(status: int, said: str) -> str | None:
    """What to do about an error, where that is known."""
    if "cloud" in said:
        return "It is a model in Ollama's cloud, not on this machine: pull one that runs here."
    if status == 403:
        return "The server turns away addresses that it does not know: set OLLAMA_HOST to 127.0.0.1, or OLLAMA_ORIGINS where it runs."
    if "system memory" in said or "out of memory" in said:
        return "The model does not fit here: take a smaller one, or a smaller quantisation."
    if "option" in said and "must be of type" in said:
        return "The model was created with a PARAMETER of the wrong kind: create it again with the right one."
    if "template" in said or "parser" in said.lower():
        return "The model's own template is broken: create it again with a TEMPLATE that works."
    return None
