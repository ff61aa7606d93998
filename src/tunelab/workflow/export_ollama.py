"""export --to ollama: a GGUF made from a run becomes a model of an Ollama server, with the template, system prompt and stop strings of training."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelab.config import read_config
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import RunError
from tunelab.export.modelfile import Created, Modelfile, create, modelfile
from tunelab.export.target import check_free, filled
from tunelab.runners.ollama_errors import Gone
from tunelab.runners.ollama_server import OllamaServer, Progress
from tunelab.runs.store import write_text
from tunelab.workflow.export_gguf import ExportedGguf, checked, write_gguf
from tunelab.workflow.export_parts import ExportWatch, tokenizer_of


@dataclass(frozen=True, slots=True)
class InOllama:
    """`path`: the Modelfile, beside the GGUF; `created` None: no server was there, and `notes` say what to do."""

    path: Path
    made: Modelfile
    created: Created | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExportedOllama:
    """A GGUF as it was written and verified, and what became of it in Ollama."""

    gguf: ExportedGguf
    ollama: InOllama


def export_ollama(place: Path, name: str = "", *, out: Path | None = None, quantize: str = "f16", checkpoint: int | None = None,
                  base: str | None = None, watch: ExportWatch | None = None) -> ExportedOllama:
    """Write a run's result as GGUF, verified through llama.cpp, and its Modelfile into a folder (by default PLACE/ollama), and create the model
    where a server answers. `name`: by default made of the names of the run and the folder that it lies in.

    Raises what `to_gguf` and `to_ollama` raise; the folder stays when only Ollama was in the way.
    """
    out, watch = out or place / "ollama", watch or ExportWatch()
    check_free(out)
    file = f"model-{quantize}.gguf"
    source = checked(place, quantize, checkpoint, base)
    with filled(out, "GGUF file and Modelfile") as folder:
        made = write_gguf(source, folder / file, out / file, quantize, watch)
        shutil.rmtree(folder / "merged", ignore_errors=True)
    read = read_config(source.run.config_path).config_or_raise().data.sequence_len if source.run is not None else None
    watch.phase("looking for Ollama")
    served = to_ollama(tokenizer_of(source), out / file, name or _name(place), context=read,
                       progress=lambda _, done, total: watch.written(done, total))
    return ExportedOllama(made, served)


def to_ollama(tokenizer: TextTokenizer, gguf: Path, name: str, *, context: int | None = None, host: str | None = None,
              progress: Progress | None = None) -> InOllama:
    """Write the Modelfile, create the model where a server answers, and hold what it feeds the model against training's template. `context`:
    tokens that training read at most.

    Raises ModelError with the server's words, and RunError when the model would be fed other text than in training: it is removed again.
    """
    begin, end = tokenizer.bos_token or "", tokenizer.eos_token or ""

    def rendering(messages: Sequence[Mapping[str, str]]) -> str:
        return tokenizer.render([dict(one) for one in messages], add_generation_prompt=True)

    made = modelfile(rendering, bos=begin, eos=end, context=context)
    path = gguf.with_name("Modelfile")
    write_text(path, made.text(f"./{gguf.name}"))
    server = OllamaServer(host)
    try:
        server.reach()
    except Gone as error:
        return InOllama(path, made, None, (*made.notes, f"{error.message} The Modelfile is written: ollama create {name} -f {path}"))
    found = create(server, name, gguf, made, rendering=rendering, progress=progress)
    if found.differing:
        server.delete(name)
        raise RunError(f"Ollama would feed the model other text than training did: {found.differing[0]}. The model was removed again.",
                       where=f"ollama:{name}", next_step=f"Create it with a TEMPLATE of your own in {path}: ollama create {name} -f {path}")
    unproven = ("The server is too old to tell what it feeds its models: that the prompts are those of training is not proven.",) if found.unproven else ()
    return InOllama(path, made, found, (*made.notes, *unproven))


def _name(place: Path) -> str:
    """A name that Ollama takes: lab/run becomes lab-run."""
    where = place.resolve()
    return re.sub(r"[^a-z0-9._-]+", "-", f"{where.parent.name}-{where.name}".lower()).strip("-._") or "tuned"
