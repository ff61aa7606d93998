"""Models that were fine-tuned for a task: asked for by several filters, merged, judged by what speaks for it, and ranked by how sure that is.

`sure` is the confidence that it is for the task times the confidence that it is a fine-tune at all. Models are ordered by its three steps
(sure, likely, perhaps), within a step by what was asked for (downloads, ...). Nothing is left out silently: `dropped` counts why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tunelab.hub.evidence import Answer, Candidate
from tunelab.hub.fields.base_model import read_base_model
from tunelab.hub.fields.facts import read_licence
from tunelab.hub.fields.kind import read_kind
from tunelab.hub.fields.task import task_candidates
from tunelab.hub.fields.training import read_axolotl
from tunelab.hub.fit import RunsWith, has_gguf, parameters_of, runs_with
from tunelab.hub.query import Query, Sort
from tunelab.hub.record import ModelRecord
from tunelab.hub.tasks import Task, broader_than

KindName = Literal["finetune", "adapter", "merge", "quantized", "base"]
WORDS: Mapping[str, str] = {"finetune": "fine-tune", "adapter": "adapter", "merge": "merge", "quantized": "quantised", "base": "base"}
"""The kinds as people call them."""
STEPS: tuple[tuple[str, float], ...] = (("sure", 0.65), ("likely", 0.4), ("perhaps", 0.15))
"""The steps of certainty and where each begins. What is below says nothing of the task."""
MOST_READ = 30
"""Cards that are read for one answer."""
_TAGS, _HINTS, _MOST_ROWS = 4, 3, 200
_TUNED: Mapping[str | None, float] = {"finetune": 1.0, "adapter": 1.0, "merge": 0.7, None: 0.5}
"""How much of a model of each kind is a fine-tune; of one that does not say what it is, half."""
_LICENCES = {"apache": "apache-2.0", "apache2": "apache-2.0", "apache-2": "apache-2.0", "gpl": "gpl-3.0", "bsd": "bsd-3-clause", "cc-by": "cc-by-4.0"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is looked for. `task` None: any; `base`: made from this model, in whatever way; `kinds`: those that are shown, () for fine-tunes,
    adapters and merges (with --runs-with gguf or ollama their quantised copies too); `text`: words of the card; `memory`: bytes for "cpu"."""

    task: Task | None = None
    base: str = ""
    licence: str = ""
    max_parameters: int | None = None
    runs_with: RunsWith | None = None
    sort: Sort = "downloads"
    limit: int = 20
    text: str = ""
    kinds: tuple[KindName, ...] = ()
    memory: int = 0

    @property
    def shown(self) -> tuple[str | None, ...]:
        """The kinds that are shown; None stands for models that do not say what they are."""
        if self.kinds:
            return self.kinds
        return ("finetune", "adapter", "merge", None, *(("quantized",) if self.runs_with in ("gguf", "ollama") else ()))


@dataclass(frozen=True, slots=True)
class Found:
    """One model. `for_task`: how sure it is that it is for the task; `sure`: that it was fine-tuned for it; `why`: what speaks for that."""

    record: ModelRecord
    kind: Answer
    for_task: float
    sure: float
    parameters: int | None = None
    base: tuple[str, ...] = ()
    licence: str = ""
    why: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The Hub id."""
        return self.record.name

    @property
    def step(self) -> int:
        """Which of STEPS it is on; one more than there are for what says nothing of the task."""
        return next((index for index, (_, least) in enumerate(STEPS) if self.sure >= least), len(STEPS))


@dataclass(frozen=True, slots=True)
class Finds:
    """What was found, ranked. `seen`: models that were looked at; `dropped`: reason -> how many were left out for it; `more`: others that fit
    and are beyond the limit; `read`: cards that were read for this; `notes`: what else a reader should know."""

    models: tuple[Found, ...]
    seen: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    more: int = 0
    read: int = 0
    notes: tuple[str, ...] = ()


def queries(wish: Wish) -> tuple[Query, ...]:
    """The questions to the Hub for a wish: by the task's pipeline tags, its tags and words of names, each with the filters that the Hub has."""
    limit = min(_MOST_ROWS, max(50, 5 * wish.limit))
    filters = (*((f"base_model:{wish.base}",) if wish.base else ()), *(("gguf",) if wish.runs_with == "gguf" else ()))
    whole = Query(filters, sort=wish.sort, limit=limit)
    if wish.task is None:
        found = [whole]
    else:
        found = [replace(whole, pipeline_tag=tag) for tag in wish.task.means]
        found += [replace(whole, filters=(*filters, tag)) for tag in wish.task.tags[:_TAGS]]
        hints = [hint.strip("*") for hint in wish.task.name_hints if len(hint.strip("*")) > 2]
        words = tuple(dict.fromkeys(hints))[:_HINTS]
        found += [whole] if wish.base else [replace(whole, pipeline_tag=tag, search=hint) for tag in wish.task.pipeline_tags[:1] for hint in words]
    if wish.licence:  # the first question is asked without it too, so that it can be said how many have another or none
        found = [found[0], *(replace(one, filters=(*one.filters, f"license:{licence_tag(wish.licence)}")) for one in found)]
    return tuple(dict.fromkeys(found))


def licence_tag(name: str) -> str:
    """A licence by the Hub's identifier."""
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    return _LICENCES.get(plain, plain)


def undecided(wish: Wish, rows: Sequence[ModelRecord]) -> list[ModelRecord]:
    """Of the rows of lists those whose card may decide their place: the first MOST_READ that are not out already and not sure already."""
    judged = [judge(wish, row) for row in rows if _out(wish, row) in (None, *_UNKNOWN)]
    ranked = _ranked(wish, [one for one in judged if one.kind.value in wish.shown], {row.name: index for index, row in enumerate(rows)})
    first = ranked[: max(MOST_READ, 2 * wish.limit)]
    return [one.record for one in first if not one.record.card.text and (wish.text or one.step > 0 or one.kind.value is None)][:MOST_READ]


def choose(wish: Wish, rows: Sequence[ModelRecord], *, read: int = 0, notes: Iterable[str] = ()) -> Finds:
    """The answer from all that was gathered, in the order in which lists gave it."""
    dropped = Counter[str]()
    kept: list[Found] = []
    for row in rows:
        reason = _out(wish, row)
        found = judge(wish, row) if reason is None else None
        if found is not None and found.kind.value not in wish.shown:
            reason = f"of kind {found.kind.value} (--kind {found.kind.value})" if found.kind.value else "of unknown kind"
        elif found is not None and found.step == len(STEPS):
            reason = f"with too little that speaks for {wish.task.name}" if wish.task else "that hardly look like fine-tunes"
        if reason is not None:
            dropped[reason] += 1
        elif found is not None:
            kept.append(found)
    ranked = _ranked(wish, kept, {row.name: index for index, row in enumerate(rows)})
    shown = tuple(_complete(wish, one) for one in ranked[: wish.limit])
    return Finds(shown, len(rows), dict(dropped.most_common()), len(ranked) - len(shown), read, tuple(notes))


def judge(wish: Wish, record: ModelRecord) -> Found:
    """How sure it is that a model was fine-tuned for the task."""
    kind = read_kind(record)
    own = 1.0
    if wish.task is not None:
        task = _of_task(wish.task, task_candidates(record, kind))
        own = task.confidence if task else 0.0
    tuned = 1.0 if kind.value in wish.kinds else _TUNED.get(kind.value, 1.0 if kind.value == "quantized" else 0.0)
    trust = kind.stated[0].confidence if kind.stated and tuned else 1.0
    return Found(record, kind, own, round(own * tuned * trust, 3))


def _of_task(task: Task, answer: Answer) -> Candidate | None:
    """What speaks for a task, or for a sort of it; less where another task, of which it is no sort, has more to say for itself."""
    own = [one for one in answer.candidates if one.value == task.name] or [
        replace(one, confidence=0.9 * one.confidence) for one in answer.candidates if task.name in broader_than(one.value)]
    if not own:
        return None
    kin = {task.name, *broader_than(task.name)}
    rival = max((one.confidence for one in answer.candidates if one.value not in kin and task.name not in broader_than(one.value)), default=0.0)
    return replace(own[0], confidence=round(own[0].confidence * min(1.0, own[0].confidence / rival if rival else 1.0), 3))


_NO_LICENCE, _NO_SIZE, _NO_RUN = "without a stated licence", "of unknown size", "not known to run with {}"
_UNKNOWN = (_NO_LICENCE, _NO_SIZE, *(_NO_RUN.format(how) for how in ("ollama", "cpu", "gguf")))


def _out(wish: Wish, record: ModelRecord) -> str | None:
    """Why a model is not what was wished for, apart from its task and kind; None when it is."""
    if wish.base and not any(name.lower() == wish.base.lower() for _, name in record.parents):
        return f"made from something else than {wish.base}"
    if wish.licence:
        licence = _licence(record)
        if not licence:
            return _NO_LICENCE
        if licence != licence_tag(wish.licence):
            return "under another licence"
    if wish.max_parameters is not None:
        count = parameters_of(record)
        if count is None:
            return _NO_SIZE
        if count > wish.max_parameters * 1.05:  # a "7B" has 7.24 billion
            return "larger than that"
    if wish.runs_with is not None:
        runs = runs_with(record, wish.runs_with, wish.memory)
        if runs is not True:
            return _NO_RUN.format(wish.runs_with) if runs is None else f"that cannot be run with {wish.runs_with}"
    return None


def _licence(record: ModelRecord) -> str:
    tag = next((one.removeprefix("license:") for one in record.tags if one.startswith("license:")), "")
    return tag or (read_licence(record).value or "").lower()


def _ranked(wish: Wish, found: list[Found], places: Mapping[str, int]) -> list[Found]:
    value: Callable[[Found], float] = {
        "downloads": lambda one: -(one.record.downloads or 0), "likes": lambda one: -(one.record.likes or 0),
        "trending": lambda one: places[one.name], "updated": lambda one: 0}[wish.sort]
    ordered = sorted(found, key=lambda one: (value(one), places[one.name]))
    if wish.sort == "updated":
        ordered.sort(key=lambda one: one.record.updated, reverse=True)
    return sorted(ordered, key=lambda one: one.step)


def _complete(wish: Wish, found: Found) -> Found:
    """With the columns that only what is shown needs."""
    record = found.record
    base = read_base_model(record, found.kind, read_axolotl(record))
    task = _of_task(wish.task, task_candidates(record, found.kind)) if wish.task else None
    why = [f"{one.place}: {one.quote}" for one in (task.evidence[:3] if task else ())]
    why += [f"{found.kind.value}, says {one.place}: {one.quote}" for one in (found.kind.stated[0].evidence[:1] if found.kind.stated else ())]
    if not found.kind.stated:
        why.append("nothing says that it is a fine-tune")
    if wish.runs_with in ("gguf", "ollama") and has_gguf(record):
        why.append("has GGUF files")
    return replace(found, parameters=parameters_of(record), base=base.values, licence=_licence(record), why=tuple(why))
