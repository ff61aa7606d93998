"""hub show: what models say of themselves, each value with where it is said; from the Hub, from folders, from cards alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tunelab.config.catalogue import FIRST
from tunelab.errors import TunelabError, UsageError
from tunelab.facts.model import is_hub_id
from tunelab.hub.fields.base_model import read_base_model
from tunelab.hub.fields.kind import read_kind
from tunelab.hub.fields.training import AxolotlConfig, read_axolotl
from tunelab.hub.record import ModelRecord, read_records
from tunelab.hub.sheet import ModelSheet, answer_json, as_json, read_sheet
from tunelab.hub.tree import Family
from tunelab.report.sheets import AboutBase, Shown, ShownConfig
from tunelab.runs.store import write_text

_ADDRESS = re.compile(r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com)/|hf:(?://)?)(?P<rest>[^?#\s]*)(?:[?#]\S*)?", re.IGNORECASE)
_LONGEST_ID = 200
_OTHER_PAGES = frozenset({"datasets", "spaces", "papers", "collections", "docs", "blog", "models"})


@dataclass
class HubOnDemand:
    """The Hub, which is opened when it is first asked: cards on disk are read without it. `offline`: only what was seen before (so too where
    HF_HUB_OFFLINE says it); `say` hears when the Hub asks to wait."""

    offline: bool = False
    say: Callable[[str], None] = lambda text: None

    @cached_property
    def client(self) -> Family:
        """The client."""
        from tunelab.hub.client import open_client

        return open_client(self.offline or None, say=self.say)

    def record(self, name: str) -> ModelRecord:
        """A model's record. Raises ModelError, HubError."""
        return self.client.record(name)

    def children(self, name: str, relation: str, limit: int) -> Sequence[ModelRecord]:
        """The most downloaded models made from one. Raises HubError."""
        return self.client.children(name, relation, limit)


@dataclass(frozen=True, slots=True)
class Sheets:
    """What was asked for, in that order. `failures`: models that could not be read, when others could. `many`: several may have been meant
    (two names, or a folder of cards), even where one was found."""

    models: tuple[Shown, ...]
    failures: tuple[TunelabError, ...] = ()
    many: bool = False


def show(names: Sequence[str], hub: Family | None = None, *, about_base: bool = True) -> Sheets:
    """Read the sheets of models: a Hub id, a README, a model's folder, or a folder of those.

    `hub`: who is asked for Hub models (default: the Hub). `about_base`: the base model of a Hub model is looked up too, where it can be. Of
    several names one that cannot be read is a failure beside the others; a single one raises UsageError, ModelError, RunError.
    """
    hub = hub or HubOnDemand()
    shown: list[Shown] = []
    failures: list[TunelabError] = []
    many = len(names) > 1
    for name in names:
        try:
            found = list(open_models(name, hub))
        except TunelabError as error:
            if len(names) == 1:
                raise
            failures.append(error)
            continue
        many = many or len(found) > 1
        for place, record in found:
            sheet = read_sheet(record)
            base = _about_base(sheet, hub) if about_base and record.is_hub_id else None
            shown.append(Shown(sheet, place, _config(sheet), base))
    return Sheets(tuple(shown), tuple(failures), many)


def open_models(name: str, hub: Family | None = None) -> Iterator[tuple[str, ModelRecord]]:
    """(place, record) of every model that a name means. A path that exists is a path; `hf:ORG/NAME` is always a Hub id.

    Raises UsageError, ModelError, RunError.
    """
    address = _ADDRESS.fullmatch(name.strip())
    if address is None and "://" in name:
        raise UsageError("This is no address of a model on the Hub.", where=name, next_step="Give its id, org/name, or a README.md.")
    if address is None and (_exists(name) or _is_path(name)):
        path = Path(name).expanduser()
        records = read_records(path)
        for record in records:
            whole = path.resolve()
            yield str(whole / record.name if len(records) > 1 else whole), record
        return
    wanted = _hub_id(address["rest"], name) if address else name.strip()
    if not is_hub_id(wanted) or len(wanted) > _LONGEST_ID:
        raise UsageError(f"`{wanted[:_LONGEST_ID]}` is no file or folder here, and a Hub id has the form org/name.", where=name if address else None,
                         next_step="Give a README.md, a model's folder, or an id; to look for one: tunelab hub find WORDS")
    record = (hub or HubOnDemand()).record(wanted)
    yield record.name, record


def write_page(sheets: Sheets, path: Path) -> None:
    """Write the sheets side by side as a one-file page. Raises StorageError."""
    from tunelab.report.sheets import render_sheets_html

    write_text(path, render_sheets_html(sheets.models, [str(one) for one in sheets.failures]))


def for_machines(shown: Shown) -> dict[str, Any]:
    """A sheet as `--json` prints it: `hub.sheet.as_json`, the config explained under `axolotl`, and what the base model is."""
    data = as_json(shown.sheet)
    config, written = shown.config, shown.sheet.axolotl
    if config is not None and written is not None:
        data["axolotl"] = {"line": config.line, "text": written.text, "settings": config.settings, "findings": config.findings,
                           "errors": config.errors, "problem": config.problem}
    base = shown.base
    data["about_base"] = {"name": base.name, "kind": answer_json(base.kind), "base_model": answer_json(base.base_model)} if base else None
    return {"place": shown.place, **data}


def _exists(name: str) -> bool:
    """Whether a name is that of a file or folder; a name that can be none is not."""
    try:
        return bool(name.strip()) and Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _is_path(name: str) -> bool:
    """Whether a name can only be meant as a path."""
    return name.startswith((".", "/", "~", "\\")) or name.lower().endswith((".md", ".markdown")) or name.rstrip("/").count("/") > 1 or "\\" in name


def _hub_id(rest: str, name: str) -> str:
    """The id in an address of the Hub. Raises UsageError for a page of something else."""
    parts = [part for part in rest.split("/") if part]
    if parts and parts[0] in _OTHER_PAGES:
        raise UsageError(f"This is the address of something else than a model ({parts[0]}).", where=name,
                         next_step="Give the model's page or its id, org/name.")
    return "/".join(parts[:2])


def _config(sheet: ModelSheet) -> ShownConfig | None:
    """The card's Axolotl config, explained; line feeds before it make its lines those of the card."""
    written: AxolotlConfig | None = sheet.axolotl
    if written is None:
        return None
    from tunelab.workflow.explain import explain_text

    try:
        explained = explain_text(sheet.record.card.file, "\n" * (written.line - 1) + written.text + "\n")
    except TunelabError as error:
        return ShownConfig(written.line, problem=f"{error.where}: {error.message}" if error.where else error.message)
    first = tuple(one for one in explained.explanations if one.written and one.name in FIRST)
    return ShownConfig(written.line, first, explained.findings)


def _about_base(sheet: ModelSheet, hub: Family) -> AboutBase | None:
    """One question about the base model; no answer is no failure."""
    name = sheet.base_model.value
    if name is None or len(sheet.base_model.stated) != 1 or not is_hub_id(name) or "/" not in name or name.casefold() == sheet.name.casefold():
        return None
    try:
        record = hub.record(name)
    except TunelabError:
        return None
    kind = read_kind(record)
    return AboutBase(record.name, kind, read_base_model(record, kind, read_axolotl(record)))
