"""What every export does: the result's tokenizer, the prompts that it is held against its run with, where it came from, and who is told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunelab import __version__
from tunelab.config import read_config
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer, tokenizer_for
from tunelab.errors import ModelError, TunelabError
from tunelab.export import side_files
from tunelab.export.probes import Probe, from_samples, shipped
from tunelab.export.side_files import Made
from tunelab.export.source import Source, Whole
from tunelab.facts.adapter import same_base
from tunelab.facts.model import ModelFolder
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import read_json
from tunelab.workflow.opening import load_data, open_config


class ExportWatch:
    """Told what happens, for a progress display; the default watches nothing."""

    def phase(self, text: str) -> None:
        """A new phase begins."""

    def written(self, done: int, total: int) -> None:
        """So many bytes of the weights are written."""


def tokenizer_of(source: Source | Whole) -> TextTokenizer:
    """The tokenizer as the run set it up, or the one that lies beside the adapter or the whole model, or the base's."""
    if isinstance(source, Whole):
        beside = source.run.path if source.run is not None and not (source.folder / "tokenizer.json").is_file() else source.folder
        return load_tokenizer(beside)
    if source.run is not None:
        return tokenizer_for(source.weights, read_config(source.run.config_path).config_or_raise().model)
    return load_tokenizer(source.adapter if (source.adapter / "tokenizer.json").is_file() else source.weights)


def check_rows(source: Source, tokenizer: TextTokenizer, rows: int) -> None:
    """Every token that training added has a row in the embedding. Raises ModelError."""
    if tokenizer.vocab_size > rows:
        raise ModelError(f"The tokenizer knows {tokenizer.vocab_size:,} tokens and the merged embedding has {rows:,} rows: those of the new tokens "
                         "are not in the adapter.", where=str(source.adapter),
                         next_step="Train the embedding too: lora_modules_to_save: [embed_tokens, lm_head]")


def probes_of(run: RunFolder | None, base: ModelFolder | None, tokenizer: TextTokenizer) -> tuple[tuple[Probe, ...], str]:
    """What the models are asked, and where it comes from: rows that the run held out, or else the prompts that tunelab ships."""
    if run is not None and base is not None:
        try:
            opened = open_config(str(run.config_path))
            held_out = from_samples(load_data(opened.readable_or_raise(), base).prepared.held_out)
        except TunelabError:  # the data is no longer there, or is not rows of text
            held_out = ()
        if held_out:
            return held_out, "rows that the run held out"
    return shipped(tokenizer), "the prompts that tunelab ships"


def source_notes(source: Source) -> list[str]:
    """What else there is to say of an adapter and its base."""
    notes = []
    if source.quantised is not None:
        notes.append(f"The adapter was trained against {source.quantised}; it was merged into the original ones, which differ from those by what "
                     "quantising lost.")
    named = str(source.settings.get("base_model_name_or_path") or "")
    if not same_base(named, source.base.name):
        notes.append(f"The adapter names {named} as its base; it was merged into {source.base.name}.")
    return notes


def made_from(source: Source | Whole, dtype: str) -> Made:
    """Where it came from; a base in a folder is called what its own record or the run's config calls it."""
    weights, base = (source.weights, source.base) if isinstance(source, Source) else (source.base.folder if source.base else source.folder, source.base)
    record = weights / "origin.json"
    told: Mapping[str, Any] = read_json(record) if record.is_file() else {}
    name = str(told.get("model") or (base.name if base is not None else weights))
    run = str(source.run.path.absolute()) if source.run is not None else None
    adapter = source.adapter if isinstance(source, Source) else source.folder
    quantised = source.quantised if isinstance(source, Source) else None
    return Made(name, told, side_files.licence_of(weights, name), str(adapter.absolute()), run, source.step, quantised, dtype, __version__)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
