"""export --to gguf and adapter-gguf: one file for llama.cpp, asked through llama.cpp whether it says the same as the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import MissingPartError, ModelError, RunError, UsageError
from tunelab.export import side_files
from tunelab.export.gguf_check import KINDS, GgufCheck, fault, remarks
from tunelab.export.source import Source, Whole, find_result
from tunelab.export.target import check_new, check_room, written
from tunelab.facts.gguf import read_gguf
from tunelab.runs.store import write_json
from tunelab.workflow.export_parts import ExportWatch, check_rows, checksum, made_from, probes_of, source_notes, tokenizer_of

if TYPE_CHECKING:
    from tunelab.export.gguf_write import Written


@dataclass(frozen=True, slots=True)
class ExportedGguf:
    """A GGUF file, what it holds (how many bytes, how many tensors of which format) and was made from, how it was verified, and what else there
    is to say."""

    path: Path
    bytes: int
    kinds: Mapping[str, int]
    origin: Mapping[str, Any]
    verification: GgufCheck
    notes: tuple[str, ...]


def to_gguf(place: Path, *, out: Path | None = None, quantize: str = "f16", checkpoint: int | None = None, base: str | None = None,
            watch: ExportWatch | None = None) -> ExportedGguf:
    """Write the result of a run (or a PEFT adapter, or a whole model) as one GGUF file, by default PLACE/model-QUANTIZE.gguf.

    An adapter is merged first, in 32 bits, so that the weights are rounded once. There is no file unless it was verified: FILE.json beside it
    says how. Raises FolderError, ModelError, StorageError, MissingPartError, and RunError when the file does not say the same as the run.
    """
    out = out or place / f"model-{quantize}.gguf"
    _check_name(out)
    source = checked(place, quantize, checkpoint, base)
    with written(out) as folder:
        return write_gguf(source, folder / out.name, out, quantize, watch or ExportWatch())


def to_adapter_gguf(place: Path, *, out: Path | None = None, base_gguf: Path | None = None, checkpoint: int | None = None,
                    base: str | None = None, watch: ExportWatch | None = None) -> ExportedGguf:
    """Write an adapter alone, for use with its base's GGUF; by default PLACE/adapter.gguf.

    It is verified on the base's GGUF: on `base_gguf`, or else on one that is written for this and removed again (f16). Raises what `to_gguf`
    raises.
    """
    out, watch = out or place / "adapter.gguf", watch or ExportWatch()
    if base_gguf is not None and not base_gguf.is_file():
        raise ModelError("There is no such GGUF file.", where=str(base_gguf), next_step="Give the base model's, or leave --base-gguf out.")
    kind = _kind_of(base_gguf) if base_gguf is not None else "f16"
    _check_name(out)
    source = checked(place, kind, checkpoint, base)
    if isinstance(source, Whole):
        raise UsageError("This is a whole model and no adapter.", where=str(place), next_step="Export it whole: --to gguf")
    from tunelab.export.gguf_write import size_of, write_adapter, write_model

    tokenizer = tokenizer_of(source)
    if base_gguf is None:
        check_room(out, size_of(source.weights, kind), "GGUF file")
    with written(out) as folder:
        watch.phase("writing the adapter")
        done = write_adapter(source.weights, source.adapter, folder / out.name, source.settings)
        if base_gguf is None:
            watch.phase("writing the base model, to ask it with the adapter")
            write_model(source.weights, folder / "base.gguf", tokenizer, quantize=kind, said=watch.written)
        found = _verified(source, tokenizer, base_gguf or folder / "base.gguf", kind, watch, adapter=folder / out.name)
        return _finished(source, done, out, "adapter-gguf", found)


def _check_name(out: Path) -> None:
    if out.suffix != ".gguf":
        raise UsageError("The file's name has to end in .gguf.", where=f"--out {out}", next_step=f"Call it {out.name}.gguf.")
    check_new(out)


def write_gguf(source: Source | Whole, path: Path, out: Path, quantize: str, watch: ExportWatch) -> ExportedGguf:
    """Write and verify `path`, which will be called `out`; what else is needed for it lies beside it."""
    from tunelab.export.gguf_write import size_of, write_model

    tokenizer = tokenizer_of(source)
    weights = source.folder if isinstance(source, Whole) else source.weights
    check_room(out, size_of(weights, quantize) + (size_of(weights, "f32") if isinstance(source, Source) else 0), "GGUF file")
    name = made_from(source, quantize).title()
    if isinstance(source, Source):
        weights = _merged(source, tokenizer, path.parent / "merged", watch)
    watch.phase(f"writing GGUF ({quantize})")
    done = write_model(weights, path, tokenizer, quantize=quantize, name=f"{name}, fine-tuned" if source.run is not None else name, said=watch.written)
    found = _verified(source, tokenizer, path, quantize, watch)
    return _finished(source, done, out, "gguf", found)


def checked(place: Path, quantize: str, checkpoint: int | None, base: str | None) -> Source | Whole:
    """What is exported, when everything that is needed is there."""
    if quantize not in KINDS:
        raise UsageError(f"GGUF is not written as {quantize!r}; expected {', '.join(KINDS)}.", where="--quantize")
    source = find_result(place, checkpoint=checkpoint, base=base)
    for package, extra in (("torch", "train"), ("gguf", "gguf"), ("xllamacpp", "gguf")):
        if util.find_spec(package) is None:
            raise MissingPartError(package, extra, "Exporting GGUF")
    return source


def _kind_of(path: Path) -> str:
    """The format of most of a file's weights, as --quantize calls it. Raises ModelError for one that is not known here."""
    sizes = Counter[str]()
    for one in read_gguf(path).tensors.values():
        sizes[one.kind] += one.bytes
    kind = sizes.most_common(1)[0][0] if sizes else "nothing"
    found = {"Q4_K": "q4_k_m"}.get(kind, kind.lower())
    if found not in KINDS:
        raise ModelError(f"The file holds mostly {kind}; expected one of {', '.join(KINDS)}.", where=str(path), next_step="Leave --base-gguf out.")
    return found


def _merged(source: Source, tokenizer: TextTokenizer, folder: Path, watch: ExportWatch) -> Path:
    """Base and adapter as one model in 32 bits. It is not verified itself: the file that is made of it is, against base + adapter."""
    from tunelab.export.merge import Merge

    watch.phase("merging")
    job = Merge(source.weights, source.adapter, "fp32")
    check_rows(source, tokenizer, job.rows)
    folder.mkdir()
    merged = job.write(folder, watch.written)
    write_json(folder / "config.json", side_files.model_config(source.weights, dtype="fp32", rows=merged.rows, untied=merged.untied))
    return folder


def _verified(source: Source | Whole, tokenizer: TextTokenizer, path: Path, kind: str, watch: ExportWatch, adapter: Path | None = None) -> GgufCheck:
    """Raises RunError when the file does not say the same as the run."""
    from tunelab.export.gguf_verify import ask, check_gguf, ends_of

    probes, where = probes_of(source.run, source.base, tokenizer)
    watch.phase("asking the run")
    if isinstance(source, Source):
        reference = ask(source.weights, source.adapter, None, probes, ends_of(tokenizer))
    else:
        reference = ask(source.folder, None, source.base.folder if source.base is not None else None, probes, ends_of(tokenizer))
    watch.phase("asking the file, through llama.cpp")
    found = check_gguf(path, reference, probes, tokenizer, kind=kind, prompts_from=where, adapter=adapter)
    wrong = fault(found)
    if wrong is not None:
        finer = kind not in ("f32", "f16", "bf16") and adapter is None
        raise RunError(f"Verification failed: {wrong}. The file was removed.", where=str(source.folder if isinstance(source, Whole) else source.adapter),
                       next_step="Keep more digits: --quantize q8_0, or f16" if finer else "Use the model with transformers, and please report this.")
    return found


def _finished(source: Source | Whole, done: Written, out: Path, kind: str, found: GgufCheck) -> ExportedGguf:
    """The report, also written beside the file."""
    made = made_from(source, found.kind)
    notes = (*remarks(found), *(source_notes(source) if isinstance(source, Source) else ()))
    origin = {"kind": kind, "license": made.licence, **asdict(made), "sha256": checksum(done.path)}
    write_json(done.path.with_name(f"{out.name}.json"), {**origin, "bytes": done.bytes, "tensors": dict(done.kinds), "verification": asdict(found),
                                                         "notes": list(notes)})
    return ExportedGguf(out, done.bytes, done.kinds, origin, found, notes)
