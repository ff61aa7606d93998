"""Which data it was trained on: metadata, tags, the Axolotl config, Trainer's sentence, and what the text says. Data of evaluation are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tunelab.hub.card import Card
from tunelab.hub.data_names import data_name, is_hub_id, same_data
from tunelab.hub.evidence import NOT_STATED, STATED, Answer, Candidate, Evidence, ranked
from tunelab.hub.fields.data_text import read_named
from tunelab.hub.fields.training import AxolotlConfig
from tunelab.hub.record import ModelRecord

_LISTED = 0.9
"""From this confidence on a name was an entry of a list: metadata, tags, a config."""
MAX_NAMES = 200
"""Names of data sets that are taken from one place."""


def read_datasets(record: ModelRecord, axolotl: AxolotlConfig | None, kind: Answer = NOT_STATED) -> Answer:
    """The data sets it was trained on, the surest first; those it was only evaluated on are left out."""
    formal = [*_of_metadata(record.card), *_of_tags(record), *_of_axolotl(record.card, axolotl)]
    text = list(_of_text(record, kind.value, formal=bool(formal)))
    return ranked(_joined([*formal, *text]), many=True)


def _of_metadata(card: Card) -> Iterator[Candidate]:
    value = card.front.get("datasets")
    for index, one in enumerate(value if isinstance(value, list) else [value]):
        path = ("datasets", index) if isinstance(value, list) else ("datasets",)
        line = card.line(*path) or card.line("datasets")
        for text in _texts(one):
            name = data_name(text)
            if name and index < MAX_NAMES:
                yield Candidate(name, 0.93, (Evidence("card metadata", card.quote(line) or f"datasets: {text}", card.file, line),))


def _texts(value: object) -> Iterator[str]:
    """The names in an entry of `datasets`: a text (also several with commas), a mapping with a name, a list of them."""
    if isinstance(value, str):
        parts = value.split(",") if value.count(",") and not any(sign in value for sign in "([{") else [value]
        yield from (part for part in parts if part.strip())
    elif isinstance(value, Mapping):
        names = [value[key] for key in ("path", "id", "dataset", "type", "name", "url", "link") if isinstance(value.get(key), str)]
        best = next((name for name in names if "/" in name), names[0] if names else None)
        if best is None and len(value) == 1:
            best = next((str(key) for key, one in value.items() if not isinstance(one, (dict, list))), None)
        if best is not None:
            yield best
    elif isinstance(value, list):
        for one in value[:MAX_NAMES]:
            if isinstance(one, (str, Mapping)):
                yield from _texts(one)


def _of_tags(record: ModelRecord) -> Iterator[Candidate]:
    tags = [(value, Evidence("card metadata", value, record.card.file, record.card.line(path[0], *path[1:]))) for value, path in record.card.strings("tags")]
    for tag, evidence in [*tags, *((tag, Evidence("tag", tag)) for tag in record.tags)]:
        if tag.startswith("dataset:"):
            name = data_name(tag.removeprefix("dataset:"))
            if name:
                yield Candidate(name, 0.9, (evidence,))


def _of_axolotl(card: Card, axolotl: AxolotlConfig | None) -> Iterator[Candidate]:
    for value, line in (axolotl.datasets if axolotl else ())[:MAX_NAMES]:
        name = data_name(value)
        if name:
            yield Candidate(name, 0.92, (Evidence("card text", card.quote(line), card.file, line),))


def _of_text(record: ModelRecord, kind: str | None, *, formal: bool) -> Iterator[Candidate]:
    """What the text names. A copy or a merge repeats what is said of others; beside a list in the metadata only what is named exactly counts."""
    for one in read_named(record.card, is_base=kind == "base", own_name=record.name):
        confidence = one.confidence * (0.55 if kind in ("quantized", "merge") else 1.0)
        if formal and not is_hub_id(one.name):
            confidence *= 0.62
        yield Candidate(one.name, round(min(confidence, 0.89), 3), (one.evidence,))


def _joined(candidates: list[Candidate]) -> list[Candidate]:
    """Different names of one set under one name: the id where there is one, else the surest's. Entries of a list are different sets unless
    they differ in the owner only."""
    names: list[tuple[str, bool]] = []
    chosen: dict[tuple[str, bool], str] = {}
    for one in sorted(candidates, key=lambda each: (not is_hub_id(each.value), -each.confidence)):
        listed = one.confidence >= _LISTED
        if (one.value, listed) not in chosen:
            same = next((name for name, other in names if same_data(name, one.value, loosely=not (listed and other))), None)
            if same is None:
                names.append((one.value, listed))
            chosen[one.value, listed] = same or one.value
    return [replace(one, value=chosen[one.value, one.confidence >= _LISTED]) for one in candidates if one.confidence >= STATED / 2]
