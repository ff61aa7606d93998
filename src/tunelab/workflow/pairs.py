"""pairs: a base model and what was made from it, out of what is at hand: in Ollama, in the Hugging Face cache, in runs; and well-known ones.

Whether the one really derives from the other is said with its evidence; without evidence it is not known, however alike the names are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from tunelab.errors import RunnerError, TunelabError, UsageError
from tunelab.hub.fields.base_model import read_base_model
from tunelab.hub.fields.kind import read_kind
from tunelab.hub.fields.training import read_axolotl
from tunelab.hub.model_names import same_model
from tunelab.hub.record import ModelRecord, read_records
from tunelab.runs.doctor.remains import at
from tunelab.runs.folder import RunFolder
from tunelab.runs.listing import Listed, find_runs

Word = Literal["yes", "no", "not known"]
_TASKS = {"code": "set:code", "instructions": "set:instructions"}
_BLOB = re.compile(r"^(FROM|ADAPTER) \S*(sha256-[0-9a-f]{12,64})", re.MULTILINE)
_MOST = 40
"""Installed models that are looked at; each is one question to the server."""


@dataclass(frozen=True, slots=True)
class Pair:
    """`base` and `tuned` as compare takes them; `derives`: whether the second was made from the first, by what `evidence` says; `found`: where
    (Ollama, Hugging Face cache, runs, well known); `missing`: which of them have to be pulled first; `task`: what the second is for."""

    base: str
    tuned: str
    derives: Word
    evidence: str
    found: str
    task: str = ""
    missing: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The comparison to run."""
        prompts = self.tuned if self.tuned.startswith("run:") else _TASKS.get(self.task, "set:general")
        return f"tunelab compare {self.base} {self.tuned} -p {prompts}{' --pull' if any(one.startswith('ollama:') for one in self.missing) else ''}"


@dataclass(frozen=True, slots=True)
class Pairs:
    """The suggestions, those that really derive and are at hand first; `notes`: where nothing could be looked for."""

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Model:
    """An installed model: its weights' and adapter's blobs, and what its file says of its origin."""

    name: str
    parent: str
    blobs: Mapping[str, str]
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[Any, ...]:
        """What two models have in common when one can have been made from the other."""
        return (self.info.get("general.architecture"), self.info.get("general.parameter_count"))


def suggest_pairs(folder: Path = Path(), *, host: str | None = None, cache: Path | None = None) -> Pairs:
    """Look everywhere; what is not there is a note. `folder`: where runs are looked for; `cache`: the Hugging Face cache (default: its own)."""
    notes: list[str] = []
    installed = frozenset[str]()
    found: list[Pair] = list(_runs(folder))
    try:
        models = _installed(host)
        installed = frozenset(_full(one.name) for one in models)
        found += _in_ollama(models)
    except (RunnerError, UsageError) as error:
        notes.append(f"Ollama: {error.message}{f' {error.next_step}' if error.next_step else ''}")
    found += _in_cache(cache, notes)
    found += _well_known(installed)
    order = {"yes": 0, "not known": 1, "no": 2}
    said = {frozenset((pair.base, pair.tuned)) for pair in found if pair.derives != "not known"}
    once = {(pair.base, pair.tuned): pair for pair in reversed(found) if pair.derives != "not known" or {pair.base, pair.tuned} not in said}
    return Pairs(tuple(sorted(once.values(), key=lambda pair: (bool(pair.missing), order[pair.derives], pair.base, pair.tuned))), tuple(notes))


def _runs(folder: Path) -> Iterator[Pair]:
    for one in find_runs(folder):
        if one.status == "finished" and one.base_model:
            base = _base_of(one)
            yield Pair(base, f"run:{one.folder}", "yes", f"the run's own record: {one.method} on {one.base_model}", "runs")


def _base_of(run: Listed) -> str:
    """The run's base as compare takes it: the folder that it was read from, unless it lies in the Hugging Face cache."""
    folder = str(at(RunFolder(run.folder).manifest(), "base_model", "folder") or "")
    return folder if Path(folder).is_dir() and "snapshots" not in Path(folder).parts else f"hf:{run.base_model}"


def _installed(host: str | None) -> Sequence[_Model]:
    from tunelab.runners.ollama_server import OllamaServer

    server = OllamaServer(host)
    server.reach()
    models = []
    for one in server.installed()[:_MOST]:
        try:
            shown = server.show(one.name)
        except TunelabError:  # removed in between, or damaged
            continue
        info = shown.get("model_info")
        models.append(_Model(one.name, one.parent, dict(_BLOB.findall(str(shown.get("modelfile") or ""))), info if isinstance(info, dict) else {}))
    server.close()
    return models


def _in_ollama(models: Sequence[_Model]) -> Iterator[Pair]:
    """Pairs among installed models of one architecture and size."""
    for tuned in models:
        for base in models:
            alike = base.shape == tuned.shape and None not in base.shape
            if tuned is base or not (alike or _is_parent(base, tuned)):
                continue
            word, evidence = _derives(base, tuned)
            if word != "not known" or (base.name < tuned.name and base.blobs != tuned.blobs):
                yield Pair(f"ollama:{base.name}", f"ollama:{tuned.name}", word, evidence, "Ollama")


def _is_parent(base: _Model, tuned: _Model) -> bool:
    return bool(tuned.parent) and _full(base.name) == _full(tuned.parent)


def _derives(base: _Model, tuned: _Model) -> tuple[Word, str]:
    same = base.blobs.get("FROM") and base.blobs.get("FROM") == tuned.blobs.get("FROM")
    if same and tuned.blobs.get("ADAPTER") and tuned.blobs["ADAPTER"] != base.blobs.get("ADAPTER") and not base.blobs.get("ADAPTER"):
        return "yes", f"{tuned.name}'s Modelfile puts an adapter on the very file of {base.name}"
    if same and _is_parent(base, tuned):
        return "no", f"both have the same weights; {tuned.name} was made FROM {base.name} with other settings (template, system prompt, parameters)"
    if _is_parent(base, tuned):
        return "not known", f"{tuned.name} was made FROM {base.name}, but has other weights"
    for named in _named_bases(tuned.info):
        if same_model(named, str(base.info.get("general.name") or base.info.get("general.basename") or base.name)):
            return "yes", f"the file of {tuned.name} names {named} as its base"
    return "not known", "same architecture and number of parameters; nothing says that the one was made from the other"


def _named_bases(info: Mapping[str, Any]) -> Iterator[str]:
    """Base models as a GGUF's header names them."""
    for key, value in info.items():
        if key.startswith("general.base_model.") and key.endswith((".repo_url", ".name")) and isinstance(value, str):
            yield value.removeprefix("https://huggingface.co/")


def _in_cache(cache: Path | None, notes: list[str]) -> Iterator[Pair]:
    """Models of the Hugging Face cache whose card, adapter settings or config name another model; the base first where it is there too."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = [repo for repo in scan_cache_dir(cache).repos if repo.repo_type == "model"]
    except (CacheNotFound, OSError, ValueError) as error:
        notes.append(f"Hugging Face cache: {'there is none' if isinstance(error, CacheNotFound) else error}.")
        return
    there = {repo.repo_id for repo in repos}
    for repo in sorted(repos, key=lambda one: one.repo_id):
        newest = max(repo.revisions, key=lambda one: one.last_modified, default=None)
        record = _record(newest.snapshot_path, repo.repo_id) if newest is not None else None
        if record is None:
            continue
        answer = read_base_model(record, read_kind(record), read_axolotl(record))
        for one in answer.stated:
            base = next((name for name in there if same_model(name, one.value)), one.value)
            if base != repo.repo_id:
                yield Pair(f"hf:{base}", f"hf:{repo.repo_id}", "yes", f"{one.evidence[0].place}: {one.evidence[0].quote}", "Hugging Face cache",
                           missing=() if base in there else (f"hf:{base}",))


def _record(snapshot: Path, name: str) -> ModelRecord | None:
    from dataclasses import replace

    try:
        records = read_records(snapshot)
    except TunelabError:  # only weights of it are here, or what is here is damaged
        return None
    return replace(records[0], name=name, is_hub_id=True) if records else None


def _well_known(installed: frozenset[str]) -> Iterator[Pair]:
    text = (resources.files("tunelab.facts") / "known" / "pairs.tsv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        missing = tuple(f"ollama:{row[side]}" for side in ("base", "tuned") if _full(row[side]) not in installed)
        word: Word = "yes" if row["derives"] == "yes" else "no"
        yield Pair(f"ollama:{row['base']}", f"ollama:{row['tuned']}", word, row["evidence"], "well known", row["task"], missing)


def _full(name: str) -> str:
    from tunelab.runners.ollama_server import full_name

    return full_name(name)
