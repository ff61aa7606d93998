"""What a report says, as plain frozen values without any markup: the HTML page, the Markdown and report.json are three skins of it.

All times are in seconds, sizes in bytes, losses in nats per supervised token, rates and scores shares between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from tunelab.config.catalogue import FIRST

State = Literal["context", "trained", "end_of_turn_trained", "end_of_turn_untrained", "truncated", "padding", "pack_border"]
Outcome = Literal["won", "lost", "both", "neither", "not graded"]
Unit = Literal["count", "tokens", "bytes", "seconds"]
Tone = Literal["gain", "loss", "unsure"]


@dataclass(frozen=True, slots=True)
class Source:
    """A file that numbers of the report came from. `key` is what the parts name it by ("events"); `path` is relative to the report."""

    key: str
    label: str
    path: str
    says: str = ""


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting explained. `here`: what it does in this run; `line`: 1-based line in the YAML, None when it is a default."""

    name: str
    value: str
    says: str
    here: str = ""
    line: int | None = None
    written: bool = False
    effect: str = ""
    typical: str = ""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding about the config. `severity` is "error", "warning" or "note"; `fix` is the edit, in YAML."""

    severity: str
    code: str
    message: str
    line: int | None = None
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ConfigPart:
    """The config: its name, its text as it was written, and what there is to say about it."""

    file: str
    text: str
    settings: tuple[SettingRow, ...] = ()
    findings: tuple[FindingRow, ...] = ()

    def in_order(self) -> tuple[tuple[str, tuple[SettingRow, ...]], ...]:
        """(heading, settings): the fifteen of the course lab (with what is in `datasets`), then others that are written, then defaults."""
        place = {name: index for index, name in enumerate(FIRST)}

        def root(one: SettingRow) -> str:
            return one.name.split(".")[0].split("[")[0]

        first = sorted((one for one in self.settings if root(one) in place), key=lambda one: place[root(one)])
        others = [one for one in self.settings if root(one) not in place]
        return (("The settings to know first", tuple(first)),
                ("Also written in this config", tuple(one for one in others if one.written)),
                ("Left at their defaults", tuple(one for one in others if not one.written)))


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One promise and what came of it. None: not predicted, or not measured. `source`: key of the Source of both numbers."""

    what: str
    predicted: float | None
    measured: float | None
    unit: Unit = "count"
    source: str = "manifest"

    @property
    def ratio(self) -> float | None:
        """Measured over predicted; None where one of them is missing or zero."""
        if not self.predicted or not self.measured:
            return None
        ratio = self.measured / self.predicted
        return ratio if math.isfinite(ratio) else None


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """One component of the predicted memory."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class PlanPart:
    """The plan against what happened. `memory` are the parts of the predicted peak; `assumptions` what the plan took for granted."""

    rows: tuple[PlanRow, ...]
    memory: tuple[MemoryPart, ...] = ()
    measured_peak: int | None = None
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepPoint:
    """One optimizer step."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class EvaluationPoint:
    """The loss on the held-out rows after a step."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class TrainingPart:
    """What the run did. `status` is "finished", "interrupted", "failed" or "running", `reason` why when it did not finish."""

    status: str
    steps: tuple[StepPoint, ...]
    evaluations: tuple[EvaluationPoint, ...] = ()
    reason: str = ""
    base_model: str = ""
    precision: str = ""
    tokens: int = 0
    supervised: int = 0
    seconds: float = 0.0
    tokens_per_second: float | None = None
    machine: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, usually one token, and what training does with it.

    `ids`: its tokens, several where they make up one character or are all padding. `special`: it is a special token. `origin`: for the
    first token of another row in a pack, where that row stands.
    """

    text: str
    state: State
    ids: tuple[int, ...] = ()
    special: bool = False
    origin: str = ""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One row of the training data as the model sees it. `trained` of its `tokens` tokens carry loss.

    `number`: its place among the rows to train on, where that is known. `why`: for what it was chosen. `side`: of a pair of answers, which.
    """

    origin: str
    pieces: tuple[Piece, ...]
    tokens: int = 0
    trained: int = 0
    number: int | None = None
    why: tuple[str, ...] = ()
    side: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class GroupPart:
    """The verdict on one group of prompts ("task": what was trained for; "general": everything else).

    `verdict` is "helped", "hurt", "no difference seen" or "cannot tell"; `n` prompts are graded on both sides.
    `base`, `tuned` and `difference` (tuned minus base) are means of what `measure` names; `level` is the level of their intervals.
    `examples` are ids of the prompts to show first.
    """

    group: str
    verdict: str
    sentence: str
    n: int
    base: Estimate | None
    tuned: Estimate | None
    difference: Estimate | None
    p_value: float | None
    won: int
    lost: int
    both: int
    neither: int
    not_graded: int = 0
    examples: tuple[str, ...] = ()
    measure: str = "pass rate"
    level: float = 0.95

    @property
    def tone(self) -> Tone:
        """The verdict's word as a tone; every word but "helped" and "hurt" is "unsure"."""
        return "gain" if self.verdict == "helped" else "loss" if self.verdict == "hurt" else "unsure"

    @property
    def short(self) -> str:
        """The verdict in a few words with the counts behind it; the whole sentence where nothing was graded."""
        words = {"helped": "Fine-tuning helped", "hurt": "Fine-tuning hurt", "no difference seen": "No difference seen",
                 "cannot tell": f"Cannot tell whether {'fine-tuning helped' if self.group == 'task' else 'anything changed'}"}
        if self.n == 0 or self.verdict not in words:
            return self.sentence
        if self.won == self.lost:
            return f"{words[self.verdict]}: {self.both + self.won} of {self.n} passed, as many as before."
        return f"{words[self.verdict]}: {self.both + self.won} of {self.n} passed, {self.both + self.lost} before."


@dataclass(frozen=True, slots=True)
class OtherAnswer:
    """A further sample, or the answer of a further column, named so ("tuned, sample 2", "few-shot")."""

    name: str
    text: str
    passed: bool | None = None
    reason: str = ""
    stop: str = "end"


@dataclass(frozen=True, slots=True)
class PairPart:
    """One prompt and both answers, in full. `before` is what stood before the prompt (system text, earlier turns).

    `*_passed` None: not judged. `*_stop` is "end", "length" (the answer was cut) or "error".
    """

    id: str
    group: str
    prompt: str
    base: str
    tuned: str
    outcome: Outcome
    before: str = ""
    expected: str | None = None
    base_passed: bool | None = None
    tuned_passed: bool | None = None
    base_reason: str = ""
    tuned_reason: str = ""
    base_stop: str = "end"
    tuned_stop: str = "end"
    more: tuple[OtherAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """Something seen across several answers, with the prompts that show it."""

    text: str
    prompt_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class SideBySide:
    """A page of a comparison alone."""

    title: str
    comparison: ComparisonPart
    sources: tuple[Source, ...] = ()

    @property
    def headline(self) -> str:
        """The verdict on the first group."""
        return self.comparison.groups[0].short if self.comparison.groups else self.title

    @property
    def tone(self) -> Tone:
        """The tone of the headline."""
        return self.comparison.groups[0].tone if self.comparison.groups else "unsure"


@dataclass(frozen=True, slots=True)
class ComparisonPart:
    """The same prompts to both models. `settings` are (name, value) of how it was done: sampling, template, precision."""

    base: str
    tuned: str
    groups: tuple[GroupPart, ...]
    pairs: tuple[PairPart, ...]
    observations: tuple[Observation, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    source: str = "comparison"

    def of(self, group: GroupPart) -> tuple[PairPart, ...]:
        """The pairs of a group: its examples first, then the others in their order."""
        pairs = [pair for pair in self.pairs if pair.group == group.group]
        place = {prompt_id: index for index, prompt_id in enumerate(group.examples)}
        return tuple(sorted(pairs, key=lambda pair: place.get(pair.id, len(place))))


@dataclass(frozen=True, slots=True)
class NoteField:
    """A field of a model's note. `edited`: the text is the person's, as Markdown source; otherwise it is plain, and `evidence` says where it stands."""

    label: str
    text: str
    evidence: tuple[str, ...] = ()
    edited: bool = False


@dataclass(frozen=True, slots=True)
class NotePart:
    """A model of the lab notebook. `link`: its address, "" where it has none; `notes`: what the person noted below the fields."""

    name: str
    link: str
    fields: tuple[NoteField, ...]
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Notebook:
    """A lab notebook alone. `made`: ISO date."""

    title: str
    made: str
    tunelab: str
    notes: tuple[NotePart, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """A whole report. `summary`: two to four plain sentences; `made`: ISO date; `origin`: where the base weights came from."""

    title: str
    made: str
    tunelab: str
    summary: tuple[str, ...]
    config: ConfigPart
    training: TrainingPart
    plan: PlanPart | None = None
    rows: tuple[TokenRow, ...] = ()
    comparison: ComparisonPart | None = None
    origin: Mapping[str, str] | None = None
    sources: tuple[Source, ...] = field(default=())
    notes: tuple[NotePart, ...] = ()

    @property
    def headline(self) -> str:
        """The sentence that matters most: the verdict on the task where there is one."""
        if self.comparison and self.comparison.groups:
            return self.comparison.groups[0].short
        return self.summary[0] if self.summary else self.title

    @property
    def tone(self) -> Tone:
        """The tone of the headline."""
        return self.comparison.groups[0].tone if self.comparison and self.comparison.groups else "unsure"


def as_json(value: Any) -> Any:
    """A part of a report as JSON-able values; numbers that JSON cannot hold (NaN, infinities) become their names."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: as_json(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
