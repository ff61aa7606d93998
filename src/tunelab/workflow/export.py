"""export --to merged: base and adapter as one model, and proof that it still says the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.data.tokenizer import TextTokenizer, tokenizer_files
from tunelab.errors import RunError, needs
from tunelab.export import side_files
from tunelab.export.side_files import Made
from tunelab.export.source import Source, find_source
from tunelab.export.target import check_free, check_room, filled
from tunelab.export.verification import Verification, fault
from tunelab.facts.adapter import WEIGHTS
from tunelab.runs.store import write_json, write_text
from tunelab.workflow.export_parts import ExportWatch, check_rows, checksum, made_from, probes_of, source_notes, tokenizer_of

if TYPE_CHECKING:
    from tunelab.export.merge import Merged

_FEW = 0.5
"""A smaller share of changed weights is told: much of the adapter was lost in rounding."""


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
    tokenizer = tokenizer_of(source)
    watch.phase("reading the adapter")
    job = Merge(source.weights, source.adapter, dtype)
    check_rows(source, tokenizer, job.rows)
    check_room(out, job.layout.size)
    with filled(out) as folder:
        watch.phase("merging")
        merged = job.write(folder, watch.written)
        made = made_from(source, merged.dtype)
        config = side_files.model_config(source.weights, dtype=merged.dtype, rows=merged.rows, untied=merged.untied)
        write_json(folder / "config.json", config)
        watch.phase("holding it against base + adapter")
        found = _verified(source, tokenizer, folder, merged)
        notes = _notes(source, merged, found)
        origin = _origin(made, merged, found, notes)
        _write_side_files(folder, source, tokenizer, made, found, notes)
        write_json(folder / "origin.json", origin)
    return Exported(out, origin, found, notes)


def _verified(source: Source, tokenizer: TextTokenizer, folder: Path, merged: Merged) -> Verification:
    """Raises RunError when the merged model is not near enough to base + adapter."""
    from tunelab.export.verify import verify

    probes, where = probes_of(source.run, source.base, tokenizer)
    found = verify(source.weights, source.adapter, folder, probes, dtype=merged.dtype, prompts_from=where, quantised=source.packing)
    wrong = fault(found)
    if wrong is not None:
        raise RunError(f"Verification failed: {wrong}. The merged model was removed.", where=str(source.adapter),
                         next_step="Keep more digits: --dtype fp32" if merged.dtype != "fp32" else "Use it as an adapter, and please report this.")
    return found


def _notes(source: Source, merged: Merged, found: Verification) -> tuple[str, ...]:
    share = merged.changed / merged.moved
    notes = [*found.notes]
    if share < _FEW:
        notes.append(f"Only {share:.1%} of the weights that the adapter moves are moved after rounding to {merged.dtype}: the rest of what was "
                     "learnt is smaller than a rounding step. --dtype fp32 keeps all of it.")
    if merged.untied:
        notes.append("Input embedding and output head were one weight in the base; the adapter makes them differ, so they are stored as two.")
    return (*notes, *source_notes(source))


def _origin(made: Made, merged: Merged, found: Verification, notes: tuple[str, ...]) -> dict[str, Any]:
    return {"kind": "merged", "model": made.sentence(), "license": made.licence, **asdict(made), "adapter_sha256": checksum(Path(made.adapter) / WEIGHTS),
            "parameters": merged.parameters, "moved": merged.moved, "changed": merged.changed, "untied": merged.untied,
            "embedding_rows": merged.rows, "sha256": dict(merged.checksums), "verification": asdict(found), "notes": list(notes)}


def _write_side_files(folder: Path, source: Source, tokenizer: TextTokenizer, made: Made, found: Verification, notes: tuple[str, ...]) -> None:
    for name, text in tokenizer_files(tokenizer).items():
        write_text(folder / name, text)
    write_json(folder / "generation_config.json", side_files.generation_config(source.weights, tokenizer.eos_id, tokenizer.pad_id))
    side_files.copy_legal(source.weights, folder)
    write_text(folder / "README.md", side_files.readme(made, found, notes))
    write_json(folder / "verification.json", asdict(found))
