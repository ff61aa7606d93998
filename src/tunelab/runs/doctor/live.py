"""`Doctor`: fed with what happens to a run, it says what is wrong, once for each ailment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tunelab.runs.doctor import divergence, generalising, learning, preferences, supply
from tunelab.runs.doctor.ailment import Case, Diagnosis, Evaluation, Watcher, case_of, number, step_of
from tunelab.runs.events import evaluations, read_events, steps
from tunelab.runs.folder import RunFolder

WATCHERS: tuple[type[Watcher], ...] = (
    divergence.NotANumber, divergence.Exploding, divergence.Spikes, divergence.GrowingGradient,
    learning.Flat, learning.NoRate, learning.NoGradient, learning.AlwaysClipped, learning.LateRate,
    generalising.Overfitting, generalising.Gap, generalising.Unjudged, generalising.NothingToLearn,
    supply.Supply, supply.Speed, preferences.CoinToss, preferences.BothFall)

_CONSEQUENCES = {"TD103": ("TD106", "TD201", "TD301", "TD302"), "TD104": ("TD106", "TD201", "TD301", "TD302"), "TD202": ("TD201",),
                 "TD203": ("TD201",), "TD301": ("TD302",), "TD304": ("TD201",)}
"""Ailment -> what it explains: that is not told as well."""


class Doctor:
    """Each call takes constant time and memory. `found` holds every diagnosis so far, an ailment once, in order of appearance."""

    def __init__(self, case: Case, run: Path = Path()) -> None:
        self.run = run
        self._watchers = [watcher(case) for watcher in WATCHERS]
        self.found: dict[str, Diagnosis] = {}

    @classmethod
    def of(cls, run: RunFolder, upto: int = 0) -> Doctor:
        """The doctor of a run that begins or, after step `upto`, goes on: what it had before is known again and not said again."""
        doctor = cls(case_of(run.manifest() if run.manifest_path.exists() else {}), run.path)
        if upto:
            past = [*steps(run.events_path), *evaluations(run.events_path), *(one for one in read_events(run.events_path) if one["event"] == "checkpoint")]
            for _ in doctor.replay(event for event in past if event["step"] <= upto):
                pass
        return doctor

    def step(self, event: Mapping[str, Any]) -> tuple[Diagnosis, ...]:
        """After a step, with the fields of its event: what is found now for the first time."""
        step = step_of(event)
        return self._new(lambda watcher: watcher.step(step))

    def evaluation(self, event: Mapping[str, Any]) -> tuple[Diagnosis, ...]:
        """After an evaluation, with the fields of its event."""
        looked = Evaluation(int(event["step"]), number(event.get("loss"), float("nan")))
        return self._new(lambda watcher: watcher.evaluation(looked))

    def saved(self, step: int) -> None:
        """A checkpoint was written."""
        for watcher in self._watchers:
            watcher.saved(step)

    def end(self) -> tuple[Diagnosis, ...]:
        """After the last step of a finished run. What was found before keeps its place in `found`, with its final numbers."""
        before = set(self.found)
        self.found.update((one.code, one) for watcher in self._watchers for one in watcher.end() if not self._explained(one.code))
        return tuple(one for code, one in self.found.items() if code not in before)

    def replay(self, events: Iterable[Mapping[str, Any]]) -> Iterator[Diagnosis]:
        """Take in events of a file, each step once; at one step in the order step, evaluation, checkpoint."""
        order = {"step": 0, "evaluation": 1, "checkpoint": 2}
        for event in sorted((one for one in events if one.get("event") in order), key=lambda one: (one["step"], order[one["event"]])):
            if event["event"] == "checkpoint":
                self.saved(event["step"])
            else:
                yield from self.step(event) if event["event"] == "step" else self.evaluation(event)

    def _new(self, ask: Callable[[Watcher], Iterator[Diagnosis]]) -> tuple[Diagnosis, ...]:
        new = []
        for watcher in self._watchers:
            for one in ask(watcher):
                if one.code not in self.found and not self._explained(one.code):
                    self.found[one.code] = one
                    new.append(one)
        return tuple(new)

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...]:
        """What was found, without what something found later explains."""
        return tuple(one for one in self.found.values() if not self._explained(one.code))

    def _explained(self, code: str) -> bool:
        return any(code in explained for cause, explained in _CONSEQUENCES.items() if cause in self.found)
