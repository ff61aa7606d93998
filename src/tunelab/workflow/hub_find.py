"""hub find: models that were fine-tuned for a task, from the Hub, from what was seen of it before, or from a statistics dump."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.errors import HubError, TunelabError, UsageError
from tunelab.facts.machine import read_machine
from tunelab.facts.model import is_hub_id
from tunelab.hub.find import STEPS, Finds, Found, Wish, choose, queries, undecided
from tunelab.hub.fit import GGUF_BYTES, ROOM, WEIGHT_BYTES, parse_size
from tunelab.hub.record import ModelRecord
from tunelab.hub.tasks import find_task, tasks

if TYPE_CHECKING:  # a dump needs neither
    from tunelab.hub.client import HubClient

_AT_ONCE = 4
"""Questions to the Hub at the same time."""


class FindWatch:
    """Hears how far a search is; override what is of interest."""

    def note(self, text: str) -> None:
        """Something to say meanwhile: that the Hub asks to wait."""

    def asked(self, done: int, total: int) -> None:
        """So many of the questions to the Hub's list are answered."""

    def read(self, done: int, total: int) -> None:
        """So many of the cards that decide are read."""


def wish_of(task: str | None, base: str | None, max_params: str | None, **rest: Any) -> Wish:
    """A wish from what a person writes. Raises UsageError."""
    if not task and not base and not rest.get("text"):
        raise UsageError("What shall the models be for? Neither a task nor a base model nor words of a card are given.", where="--task",
                         next_step=f"tunelab hub find --task TASK; the tasks are {', '.join(tasks())}.")
    if base and not is_hub_id(base):
        raise UsageError(f"{base[:80]!r} is no Hub id; expected ORG/NAME.", where="--base")
    wish = Wish(find_task(task) if task else None, base or "", max_parameters=parse_size(max_params) if max_params else None, **rest)
    return wish if wish.runs_with != "cpu" else replace(wish, memory=read_machine().memory_bytes)


def find(wish: Wish, *, dump: Path | None = None, offline: bool | None = None, hub: HubClient | None = None, watch: FindWatch | None = None) -> Finds:
    """The models, ranked, with reasons. `offline` None: as HF_HUB_OFFLINE says. Raises UsageError, HubError, MissingPartError."""
    watch = watch or FindWatch()
    if dump is not None:
        from tunelab.hub.dump import in_dump

        answer = in_dump(dump, wish)
        return replace(answer, notes=(*answer.notes, *_assumed(wish)))
    from tunelab.hub.client import open_client

    hub = hub or open_client(offline, say=watch.note)
    notes = _assumed(wish)
    rows = _rows(hub, wish, notes, watch)
    if wish.base and not rows:
        notes.append(f"No model names {wish.base} as its base model; is it spelt as on the Hub? tunelab hub show {wish.base}")
    rows, read = _with_cards(hub, wish, rows, notes, watch)
    if wish.text:
        rows = _with_words(hub, wish, rows, notes)
    return choose(wish, rows, read=read, notes=(*notes, *hub.cache.notes))


def as_json(found: Finds) -> dict[str, Any]:
    """What was found, for machines."""
    return {"models": [_model(one) for one in found.models], "more": found.more, "seen": found.seen, "dropped": dict(found.dropped),
            "cards_read": found.read, "notes": list(found.notes)}


def _model(one: Found) -> dict[str, Any]:
    record = one.record
    return {"name": one.name, "link": record.link, "sure": one.sure, "step": STEPS[one.step][0] if one.step < len(STEPS) else None,
            "for_task": one.for_task, "why": list(one.why), "kind": one.kind.value, "base": list(one.base), "parameters": one.parameters,
            "licence": one.licence or None, "downloads": record.downloads, "likes": record.likes, "updated": record.updated or None,
            "gated": record.gated or None}


def _rows(hub: HubClient, wish: Wish, notes: list[str], watch: FindWatch) -> list[ModelRecord]:
    """The rows of all questions, each model once, as the lists order them. Raises HubError when none was answered."""
    asked = queries(wish)
    if hub.offline:
        known = hub.cache.names()
        if not known:
            raise HubError("Offline, and no model was seen here before: there is nothing to search.",
                           next_step="Search once with a connection (without --offline and HF_HUB_OFFLINE), or in a dump: --from models.parquet")
        notes.append(f"Offline: searched were the {_seen(known)}.")
        return _merged([hub.listing(query) for query in asked])
    answers: list[list[ModelRecord]] = []
    failures: list[TunelabError] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done, future in enumerate([pool.submit(hub.rows, query) for query in asked], 1):
            try:
                answers.append(future.result())
            except TunelabError as error:
                failures.append(error)
            watch.asked(done, len(asked))
    found = _merged(answers)
    hub.cache.keep(found, read=False)
    if failures and not answers:
        raise _with_what_is_known(failures[0], hub)
    if failures:
        notes.append(f"{len(failures)} of {len(asked)} questions were not answered: {failures[0].message}")
    return found


def _merged(lists: Sequence[Sequence[ModelRecord]]) -> list[ModelRecord]:
    """Each model once; those that stand high in some list first."""
    found: dict[str, tuple[int, ModelRecord]] = {}
    for rows in lists:
        for place, row in enumerate(rows):
            if row.name not in found or place < found[row.name][0]:
                found[row.name] = (place, row)
    return [row for _, row in sorted(found.values(), key=lambda one: one[0])]


def _with_cards(hub: HubClient, wish: Wish, rows: list[ModelRecord], notes: list[str], watch: FindWatch) -> tuple[list[ModelRecord], int]:
    """The rows with the cards of those that a card may decide, and how many were read for that: those that did not change are in the cache."""
    if hub.offline:
        return rows, 0
    cards: dict[str, ModelRecord] = {}
    for row in rows:
        seen = hub.cache.get(row.name)
        if seen is not None and seen.read is not None and seen.record.updated == row.updated and seen.record.card.text:
            cards[row.name] = seen.record
    rows = [cards.get(row.name, row) for row in rows]
    wanted = undecided(wish, rows)
    fetched: list[ModelRecord] = []
    failures: list[TunelabError] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done, future in enumerate([pool.submit(_card, hub, row, failures) for row in wanted], 1):
            one = future.result()
            fetched += [one] if one is not None else []
            watch.read(done, len(wanted))
    hub.cache.keep(fetched, read=True)
    if failures:
        notes.append(f"{len(wanted) - len(fetched)} cards that might have decided could not be read: {failures[0].message}")
    by_name = {one.name: one for one in fetched}
    return [by_name.get(row.name, row) for row in rows], len(fetched)


def _card(hub: HubClient, row: ModelRecord, failures: list[TunelabError]) -> ModelRecord | None:
    """A row with its card; None once the Hub has refused any, so that a rate limit or a lost network is met once."""
    if failures:
        return None
    try:
        return hub.files(row, only_card=True)
    except TunelabError as error:
        failures.append(error)
        return None


def _with_words(hub: HubClient, wish: Wish, rows: list[ModelRecord], notes: list[str]) -> list[ModelRecord]:
    """The models whose name, tags or card have the words: of the lists, and all others whose cards were ever seen."""
    matching = hub.cache.matching(wish.text)
    notes.append(f"Searched for {wish.text!r} in the cards that were ever read here, and in the names and tags of all models that were seen.")
    current = {row.name: row for row in rows}
    return [current.get(one.name, one) for one in matching]


def _assumed(wish: Wish) -> list[str]:
    if wish.runs_with != "cpu":
        return []
    return [f"cpu: fits in {ROOM:.0%} of {wish.memory / 1e9:.1f} GB of memory, at {WEIGHT_BYTES:g} bytes a parameter, {GGUF_BYTES:g} for GGUF."]


def _with_what_is_known(error: TunelabError, hub: HubClient) -> TunelabError:
    known = hub.cache.names() if isinstance(error, HubError) else []
    if known:
        error.message += f" The cache has {_seen(known)}."
    return error


def _seen(known: Sequence[tuple[str, float]]) -> str:
    from tunelab.hub.cache import age

    return f"{len(known):,} models that were seen before, the last of them {age(known[0][1])}"
