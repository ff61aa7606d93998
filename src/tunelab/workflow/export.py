"""export: a run's result taken elsewhere, and proof that it still says the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab import __version__
from tunelab.config import read_config
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer, tokenizer_files, tokenizer_for
from tunelab.errors import ModelError, RunError, TunelabError, needs
from tunelab.export import side_files
from tunelab.export.probes import Probe, from_samples, shipped
from tunelab.export.side_files import Made
from tunelab.export.source import Source, find_source
from tunelab.export.target import check_free, check_room, filled
from tunelab.export.verification import Verification, fault
from tunelab.facts.adapter import WEIGHTS, same_base
from tunelab.runs.store import read_json, write_json, write_text
from tunelab.workflow.opening import load_data, open_config

if TYPE_CHECKING:
    from tunelab.export.merge import Merged

_FEW = 0.5
"""A smaller share of changed weights is told: much of the adapter was lost in rounding."""


class ExportWatch:
    """Told what happens, for a progress display; the default watches nothing."""

    def phase(self, text: str) -> None:
        """A new phase begins."""

    def written(self, done: int, total: int) -> None:
        """So many bytes of the weights are written."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A merged model's folder, what it was made from, how it was verified, and what else there is to say."""

    folder: Path
    origin: Mapping[str, Any]
    verification: Verification
    notes: tuple[str, ...]


def merge(place: Path, *, out: Path | None = None, dtype: str | None = None, checkpoint: int | None = None, base: str | None = None,
          watch: ExportWatch | None = None) -> Exported:
    """Merge a run's adapter (or a PEFT folder's) into its base's original weights, in a folder of its own.

    `out`: a new or empty folder, by default PLACE/merged; `dtype`: fp32, bf16 or fp16, by default each tensor's own in the base.
    Nothing is left in `out` unless the merged model was verified. Raises FolderError, ModelError, StorageError, MissingPartError, and
    RunError when the merged model does not say the same.
    """
    watch = watch or ExportWatch()
    out = out or place / "merged"
    check_free(out)
    source = find_source(place, checkpoint=checkpoint, base=base)
    with needs("train", "Merging"):
        from tunelab.export.merge import Merge
    tokenizer = _tokenizer(source)
    watch.phase("reading the adapter")
    job = Merge(source.weights, source.adapter, dtype)
    _check_rows(source, tokenizer, job.rows)
    check_room(out, job.layout.size)
    with filled(out) as folder:
        watch.phase("merging")
        merged = job.write(folder, watch.written)
        made = _made(source, merged)
        config = side_files.model_config(source.weights, dtype=merged.dtype, rows=merged.rows, untied=merged.untied)
        write_json(folder / "config.json", config)
        watch.phase("holding it against base + adapter")
        found = _verified(source, tokenizer, folder, merged)
        notes = _notes(source, merged, found)
        origin = _origin(made, merged, found, notes)
        _write_side_files(folder, source, tokenizer, made, found, notes)
        write_json(folder / "origin.json", origin)
    return Exported(out, origin, found, notes)


def _tokenizer(source: Source) -> TextTokenizer:
    """The tokenizer as the run set it up, or the one that lies beside the adapter, or the base's."""
    if source.run is not None:
        return tokenizer_for(source.weights, read_config(source.run.config_path).config_or_raise().model)
    return load_tokenizer(source.adapter if (source.adapter / "tokenizer.json").is_file() else source.weights)


def _check_rows(source: Source, tokenizer: TextTokenizer, rows: int) -> None:
    """Every token that training added has a row in the embedding. Raises ModelError."""
    if tokenizer.vocab_size > rows:
        raise ModelError(f"The tokenizer knows {tokenizer.vocab_size:,} tokens and the merged embedding has {rows:,} rows: those of the new tokens "
                         "are not in the adapter.", where=str(source.adapter),
                         next_step="Train the embedding too: lora_modules_to_save: [embed_tokens, lm_head]")


def _verified(source: Source, tokenizer: TextTokenizer, folder: Path, merged: Merged) -> Verification:
    """Raises RunError when the merged model is not near enough to base + adapter."""
    from tunelab.export.verify import verify

    probes, where = _probes(source, tokenizer)
    found = verify(source.weights, source.adapter, folder, probes, dtype=merged.dtype, prompts_from=where, quantised=source.packing)
    wrong = fault(found)
    if wrong is not None:
        raise RunError(f"Verification failed: {wrong}. The merged model was removed.", where=str(source.adapter),
                         next_step="Keep more digits: --dtype fp32" if merged.dtype != "fp32" else "Use it as an adapter, and please report this.")
    return found


def _probes(source: Source, tokenizer: TextTokenizer) -> tuple[tuple[Probe, ...], str]:
    """What both models are asked, and where it comes from: rows that the run held out, or else the prompts that tunelab ships."""
    if source.run is not None:
        try:
            opened = open_config(str(source.run.config_path))
            held_out = from_samples(load_data(opened.readable_or_raise(), source.base).prepared.held_out)
        except TunelabError:  # the data is no longer there, or is not rows of text
            held_out = ()
        if held_out:
            return held_out, "rows that the run held out"
    return shipped(tokenizer), "the prompts that tunelab ships"


def _notes(source: Source, merged: Merged, found: Verification) -> tuple[str, ...]:
    share = merged.changed / merged.moved
    notes = [*found.notes]
    if share < _FEW:
        notes.append(f"Only {share:.1%} of the weights that the adapter moves are moved after rounding to {merged.dtype}: the rest of what was "
                     "learnt is smaller than a rounding step. --dtype fp32 keeps all of it.")
    if source.quantised is not None:
        notes.append(f"The adapter was trained against {source.quantised}; it was merged into the original ones, which differ from those by what "
                     "quantising lost.")
    if merged.untied:
        notes.append("Input embedding and output head were one weight in the base; the adapter makes them differ, so they are stored as two.")
    named = str(source.settings.get("base_model_name_or_path") or "")
    if not same_base(named, source.base.name):
        notes.append(f"The adapter names {named} as its base; it was merged into {source.base.name}.")
    return tuple(notes)


def _made(source: Source, merged: Merged) -> Made:
    """Where it came from; a base in a folder is called what its own record or the run's config calls it."""
    origin = source.weights / "origin.json"
    told: Mapping[str, Any] = read_json(origin) if origin.is_file() else {}
    name = str(told.get("model") or source.base.name)
    run = str(source.run.path.absolute()) if source.run is not None else None
    return Made(name, told, side_files.licence_of(source.weights, name), str(source.adapter.absolute()), run, source.step, source.quantised,
                merged.dtype, __version__)


def _origin(made: Made, merged: Merged, found: Verification, notes: tuple[str, ...]) -> dict[str, Any]:
    adapter = Path(made.adapter) / WEIGHTS
    with adapter.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"kind": "merged", "model": made.sentence(), "license": made.licence, **asdict(made), "adapter_sha256": digest,
            "parameters": merged.parameters, "moved": merged.moved, "changed": merged.changed, "untied": merged.untied,
            "embedding_rows": merged.rows, "sha256": dict(merged.checksums), "verification": asdict(found), "notes": list(notes)}


def _write_side_files(folder: Path, source: Source, tokenizer: TextTokenizer, made: Made, found: Verification, notes: tuple[str, ...]) -> None:
    for name, text in tokenizer_files(tokenizer).items():
        write_text(folder / name, text)
    write_json(folder / "generation_config.json", side_files.generation_config(source.weights, tokenizer.eos_id, tokenizer.pad_id))
    side_files.copy_legal(source.weights, folder)
    write_text(folder / "README.md", side_files.readme(made, found, notes))
    write_json(folder / "verification.json", asdict(found))
