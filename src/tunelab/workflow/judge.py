"""judge and vote: which of the two answers is better, by a model asked twice or by a person who does not know which is which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunelab.comparison import read_comparison
from tunelab.comparison.preference import (
    CRITERIA,
    Choice,
    Preference,
    PreferenceVerdict,
    add_preference,
    ask_model,
    beside,
    open_pairs,
    read_preferences,
    seats,
    verdicts,
)
from tunelab.errors import UsageError
from tunelab.workflow.sides import open_judge

OnJudged = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Ballot:
    """A pair as a blind judge sees it: the request, and two answers of which nobody says whose they are."""

    prompt_id: str
    request: str
    first: str
    second: str

    def choice(self, said: str) -> Choice:
        """What a vote for "1", "2" or "tie" means."""
        order = seats(self.prompt_id)
        chosen = {"1": order[0], "2": order[1]}.get(said, "tie")
        return "base" if chosen == "base" else "tuned" if chosen == "tuned" else "tie"


def judge_by_model(comparison: Path, model: str, *, criteria: str = CRITERIA, on_judged: OnJudged | None = None) -> tuple[PreferenceVerdict, ...]:
    """Let a model judge every pair that it has not judged yet; stopped, it goes on. Raises FolderError, ModelError, RunnerError, StorageError."""
    records = read_comparison(comparison).records
    path = beside(comparison)
    left = open_pairs(records, read_preferences(path), model)
    if left:
        judge = open_judge(model)
        for done, one in enumerate(ask_model(left, judge, model, criteria), start=1):
            add_preference(path, one)
            if on_judged is not None:
                on_judged(done, len(left))
    return verdicts(read_preferences(path))


def ballots(comparison: Path, person: str) -> list[Ballot]:
    """The pairs that a person has not voted on yet. Raises UsageError for a name that is none."""
    if not person.strip() or len(person) > 60:
        raise UsageError("A vote needs a short name of the person who votes.", next_step="Give one: --by NAME")
    records = read_comparison(comparison).records
    found = []
    for record in open_pairs(records, read_preferences(beside(comparison)), person):
        texts = {"base": record.base.text if record.base else "", "tuned": record.tuned.text if record.tuned else ""}
        first, second = seats(record.prompt.id)
        request = "\n".join(turn["content"] for turn in record.prompt.messages if turn["role"] != "system")
        found.append(Ballot(record.prompt.id, request, texts[first], texts[second]))
    return found


def vote(comparison: Path, ballot: Ballot, said: str, person: str) -> None:
    """Store one vote ("1", "2" or "tie"). Raises StorageError."""
    add_preference(beside(comparison), Preference(ballot.prompt_id, person, "person", ballot.choice(said)))


def result(comparison: Path) -> tuple[PreferenceVerdict, ...]:
    """The verdicts of all judges so far."""
    return verdicts(read_preferences(beside(comparison)))
