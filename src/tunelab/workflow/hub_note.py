"""hub note: file models in the lab notebook as the course lab's note; what a person has edited there stays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tunelab.errors import FolderError, LockedError, TunelabError, storage_errors
from tunelab.hub.tree import Family
from tunelab.report import notebook as book
from tunelab.report.sheets import Shown
from tunelab.runs.store import write_json, write_text
from tunelab.workflow.hub_show import for_machines, show

_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a field. `kept`: the person has edited it, and it stays; `now`: what the model's sources say, where that differs."""

    label: str
    what: Literal["new", "updated", "same", "kept", "removed"]
    now: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """A model's note: whether it is new on the page, and what became of its fields."""

    name: str
    is_new: bool
    changes: tuple[Change, ...]
    json: Path


@dataclass(frozen=True, slots=True)
class Notes:
    """What was noted. `failures`: models that could not be read, when others could."""

    page: Path
    models: tuple[Noted, ...]
    failures: tuple[TunelabError, ...] = ()


def note(names: Sequence[str], notebook: Path | None = None, hub: Family | None = None) -> Notes:
    """File models in a notebook (default: NOTEBOOK), each in a part of its page; noting one again updates what nobody has edited.

    Raises what `show` raises, FolderError when the notebook is no folder, StorageError when its page cannot be read or written: it is then
    as it was.
    """
    folder = notebook or book.NOTEBOOK
    if folder.exists() and not folder.is_dir():
        raise FolderError("The notebook is a file; expected a folder.", where=str(folder), next_step="Give another one: --notebook FOLDER")
    sheets = show(names, hub, about_base=False)
    page = folder / book.PAGE
    with _alone(folder):
        text = before = book.read_page(folder)
        noted = []
        for one in sheets.models:
            text, done = _filed(folder, text, one)
            noted.append(done)
        if text != before:
            write_text(page, text)
    return Notes(page, tuple(noted), sheets.failures)


def _filed(folder: Path, page: str, shown: Shown) -> tuple[str, Noted]:
    """The page with a model's note; the JSON beside it is written first, so that a kill between the two leaves nothing that looks edited."""
    sheet = shown.sheet
    place = _seen_from_here(shown.place) if not sheet.record.is_hub_id else sheet.name
    key = book.key_of(sheet.name, shown.place, is_hub_id=sheet.record.is_hub_id)
    found, kept = book.entries(sheet, place), book.read_kept(folder, key)
    lines = page.split("\n")
    section = next((one for one in book.sections(lines) if one.key == key), None)
    path = folder / book.FOLDER / f"{key}.json"
    data = {"schema": 1, "name": sheet.name, "link": sheet.record.link, "noted": datetime.now(UTC).isoformat(timespec="seconds"),
            "fields": book.kept_fields(found, kept), "sheet": _for_json(shown)}
    write_json(path, data)
    if section is None:
        changes = tuple(Change(book.LABELS[name], "new") for name in found)
        return book.new_section(page, key, sheet.name, found), Noted(sheet.name, True, changes, path)
    changes = tuple(_change(section, lines, name, one, book.written(kept, name)) for name, one in found.items())
    updated = {change.label for change in changes if change.what == "updated"}
    # From the last line to the first, so that places stay right.
    todo = sorted(((section.fields[label], one) for name, one in found.items() if (label := book.LABELS[name]) in updated), key=lambda one: -one[0][0])
    for (start, end), entry in todo:
        label = next(label for label, place in section.fields.items() if place[0] == start)
        lines[start:end] = [*book.behind_label(label, entry.markdown).split("\n"), ""]
    return "\n".join(lines), Noted(sheet.name, False, changes, path)


def _change(section: book.Section, lines: Sequence[str], name: str, entry: book.Entry, written: Sequence[str]) -> Change:
    label = book.LABELS[name]
    text, new = section.text(lines, label), book.tidy(entry.markdown)
    if text is None:
        return Change(label, "removed")
    if text == new:
        return Change(label, "same")
    if text in written:
        return Change(label, "updated")
    return Change(label, "kept", entry.text if written[:1] != [new] else "")


def _for_json(shown: Shown) -> object:
    """The sheet as plain JSON values."""
    from tunelab.report.content import as_json

    data = for_machines(shown)
    return as_json({**data, "axolotl": data["axolotl"] and {key: data["axolotl"][key] for key in ("line", "text", "errors", "problem")}})


def _seen_from_here(place: str) -> str:
    """A path as a person would write it: relative where it lies here or below."""
    try:
        relative = os.path.relpath(place)
    except ValueError:
        return place
    return place if relative.startswith("..") else Path(relative).as_posix()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the notebook, so that two commands at once do not overwrite each other's notes."""
    from filelock import FileLock, Timeout

    with storage_errors(folder, "Writing the notebook", "Choose a folder that can be written to: --notebook FOLDER"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise LockedError("Another tunelab process is writing to this notebook.", where=str(folder),
                              next_step="Wait for it, then run again.") from None
    try:
        yield
    finally:
        lock.release()
