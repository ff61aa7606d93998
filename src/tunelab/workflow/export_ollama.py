"""export --to ollama: a GGUF made from a run becomes a model of an Ollama server, with the template, system prompt and stop strings of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelab.config import read_config
from tunelab.errors import RunError
from tunelab.export.modelfile import Created, Modelfile, create, modelfile
from tunelab.runners.ollama_errors import Gone
from tunelab.runners.ollama_server import OllamaServer, Progress
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import write_text
from tunelab.workflow.sides import run_tokenizer


@dataclass(frozen=True, slots=True)
class InOllama:
    """`path`: the Modelfile, beside the GGUF; `created` None: no server was there, and `notes` say what to do."""

    path: Path
    made: Modelfile
    created: Created | None
    notes: tuple[str, ...]


def to_ollama(run: Path, gguf: Path, name: str, *, host: str | None = None, progress: Progress | None = None) -> InOllama:
    """Write the Modelfile, create the model where a server answers, and hold what it feeds the model against the run's template.

    Raises ModelError with the server's words, and RunError when the model would be fed other text than in training: it is removed again.
    """
    tokenizer = run_tokenizer(run)
    begin, end = tokenizer.bos_token or "", tokenizer.eos_token or ""
    read = read_config(RunFolder(run).config_path).config_or_raise().data.sequence_len

    def rendering(messages: Sequence[Mapping[str, str]]) -> str:
        return tokenizer.render([dict(one) for one in messages], add_generation_prompt=True)

    made = modelfile(rendering, bos=begin, eos=end, context=read)
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
