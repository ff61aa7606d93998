"""A run's model in Ollama: a Modelfile whose template and stop strings are those of training, and its creation through the API.

Ollama replaces a file's own Jinja by a built-in template when it looks like one that it knows, and a default system prompt is lost that way; an
explicit TEMPLATE wins. So the template that does what training's did is found by rendering the same conversations with both, and written out.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from tunelab.errors import ModelError, TunelabError
from tunelab.export.go_template import render
from tunelab.runners.ollama import open_ollama
from tunelab.runners.ollama_server import OllamaServer, Progress
from tunelab.runners.prompt import Prompt

Rendering = Callable[[Sequence[Mapping[str, str]]], str]
"""Messages -> the text that training put before the answer. It may raise a TunelabError for a conversation that its template does not take."""
ADAPTED = frozenset({"llama", "gemma2"})
"""Architectures whose adapters Ollama takes."""
_DEFAULT_CONTEXT = 4096
_SYSTEM = "Speak as a sailor does"
_TALKS: tuple[tuple[dict[str, str], ...], ...] = (
    ({"role": "user", "content": "Name a colour."},),
    ({"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Red."}, {"role": "user", "content": "And one more?"}),
    ({"role": "system", "content": _SYSTEM}, {"role": "user", "content": "Name a colour."}),
    ({"role": "system", "content": _SYSTEM}, {"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Red."},
     {"role": "user", "content": "And\none more?"}))


@dataclass(frozen=True, slots=True)
class Modelfile:
    """What an Ollama model is made of, beside the weights. `template` None: the file's own Jinja is left to Ollama; `known`: which template it is
    called here; `begin`: the token in front of all that training wrote as text and the server adds itself; `notes`: what else there is to say."""

    template: str | None = None
    known: str = ""
    system: str = ""
    stops: tuple[str, ...] = ()
    context: int | None = None
    begin: str = ""
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        """As the API takes them."""
        return {**({"stop": list(self.stops)} if self.stops else {}), **({"num_ctx": self.context} if self.context else {})}

    def text(self, gguf: str) -> str:
        """The Modelfile, for `ollama create NAME -f Modelfile`; `gguf` is the file that it starts from."""
        lines = [f"FROM {gguf}"]
        lines += [f"TEMPLATE {_quoted(self.template)}"] if self.template is not None else []
        lines += [f"SYSTEM {_quoted(self.system)}"] if self.system else []
        lines += [f"PARAMETER stop {_quoted(one)}" for one in self.stops]
        lines += [f"PARAMETER num_ctx {self.context}"] if self.context else []
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Created:
    """A model that a server has now. `differing`: prompts that reach it as other text than in training; `unproven`: the server does not tell."""

    name: str
    digest: str
    differing: tuple[str, ...] = ()
    unproven: bool = False


def modelfile(rendering: Rendering, *, bos: str = "", eos: str = "", context: int | None = None) -> Modelfile:
    """The Modelfile that does what training's template does: the known template that renders every probe conversation alike, a system prompt
    that training put in by default, and stop strings. None alike: no TEMPLATE, and that is said. `context`: what training read at most; it is
    written where Ollama's own default is less."""
    context = context if context and context > _DEFAULT_CONTEXT else None
    written = [(talk, text) for talk in _TALKS if (text := _tried(rendering, talk)) is not None]
    for begin in dict.fromkeys(("", bos)):
        trained = [(talk, text.removeprefix(begin)) for talk, text in written]
        found = _alike(trained, bos, eos)
        if found is not None:
            name, template, system = found
            stops = tuple(dict.fromkeys((*_known()[name]["stops"], *((eos,) if eos else ()))))
            return Modelfile(template, name, system, stops, context, begin, _said(system))
    note = ("No template that is known here does what training's does, so none is written: llama.cpp runs the file's own, unless Ollama takes it for "
            "one that it knows. Prove it: tunelab parity RUN ollama:NAME")
    return Modelfile(stops=(eos,) if eos else (), context=context, begin=bos, notes=(note,))


def create(server: OllamaServer, name: str, gguf: Path, made: Modelfile, *, rendering: Rendering | None = None,
           progress: Progress | None = None) -> Created:
    """Upload the file (once) and create the model; then ask the server what it feeds it, and hold that against training's rendering.

    Raises ModelError with the server's words, RunnerError when it goes away.
    """
    server.reach()
    digest = _checksum(gguf)
    server.upload(gguf, digest, progress)
    body: dict[str, Any] = {"model": name, "files": {gguf.name: digest}}
    body |= {"template": made.template} if made.template is not None else {}
    body |= {"system": made.system} if made.system else {}
    body |= {"parameters": made.parameters} if made.parameters else {}
    server.create(body, progress)
    return _proven(server, name, made, rendering)


def create_adapted(server: OllamaServer, name: str, base: str, adapter: Path, *, architecture: str, progress: Progress | None = None) -> Created:
    """A model of the server with a LoRA adapter in GGUF on it. Raises ModelError where this cannot be (then: the merged model)."""
    why = adapter_objection(architecture, adapter)
    if why is not None:
        raise ModelError(why, where=str(adapter), next_step="Create it from the merged model: tunelab export RUN --to ollama")
    server.reach()
    digest = _checksum(adapter)
    server.upload(adapter, digest, progress)
    server.create({"model": name, "from": base, "adapters": {adapter.name: digest}}, progress)
    return _proven(server, name, Modelfile(), None)


def adapter_objection(architecture: str, adapter: Path) -> str | None:
    """Why Ollama would not apply an adapter rightly, or None. PEFT's own files are converted wrongly there (the rows of q_proj and k_proj are
    put in another order in one of two factors), so only GGUF is given; newer servers may refuse that too, in their own words."""
    if architecture not in ADAPTED:
        return f"Ollama takes adapters for {' and '.join(sorted(ADAPTED))} only; this one is for {architecture}."
    with adapter.open("rb") as file:
        if file.read(4) != b"GGUF":
            return "Ollama converts PEFT adapters wrongly (q_proj and k_proj); give it as GGUF."
    return None


def _proven(server: OllamaServer, name: str, made: Modelfile, rendering: Rendering | None) -> Created:
    runner = open_ollama(name, server=server)
    differing, told = [], False
    for talk in _TALKS if rendering is not None else ():
        wanted = _tried(rendering, talk) if rendering is not None else None
        if wanted is None:
            continue
        text = runner.fed(Prompt("probe", talk)).text
        told = told or bool(text)
        alike = {wanted.removeprefix(made.begin), *((wanted,) if made.template is None else ())}
        if text and text not in alike:
            differing.append(f"a conversation of {len(talk)} messages: training has {wanted[:200]!r}, Ollama {text[:200]!r}")
    return Created(runner.model.name, runner.model.digest, tuple(differing), rendering is not None and not told)


def _alike(trained: Sequence[tuple[Sequence[Mapping[str, str]], str]], bos: str, eos: str) -> tuple[str, str, str] | None:
    """(name, template, default system prompt) of the first known template that renders every conversation as training did."""
    default = _default_system(trained)
    for name, known in _known().items():
        template = known["template"].replace("BOS", bos).replace("EOS", eos)
        for system in dict.fromkeys(("", default)):
            if trained and all(_with_system(template, talk, system) == text for talk, text in trained):
                return name, template, system
    return None


@lru_cache(maxsize=1)
def _known() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads((resources.files("tunelab.facts") / "known" / "ollama_templates.toml").read_text(encoding="utf-8"))


def _tried(rendering: Rendering, talk: Sequence[Mapping[str, str]]) -> str | None:
    try:
        return rendering(talk)
    except TunelabError:  # no system turn in this template, for example
        return None


def _with_system(template: str, talk: Sequence[Mapping[str, str]], system: str) -> str:
    """As a server does it: the model's own system prompt goes before a conversation that has none."""
    own = [{"role": "system", "content": system}] if system and talk[0]["role"] != "system" else []
    return render(template, [*own, *talk])


def _default_system(trained: Sequence[tuple[Sequence[Mapping[str, str]], str]]) -> str:
    """The system text that training's template puts in where a conversation has none, found by where a given one stands."""
    texts = {tuple(one["role"] for one in talk): text for talk, text in trained}
    given, bare = texts.get(("system", "user")), texts.get(("user",))
    if not given or not bare or _SYSTEM not in given:
        return ""
    before, _, after = given.partition(_SYSTEM)
    return bare[len(before):len(bare) - len(after)] if bare.startswith(before) and bare.endswith(after) and len(bare) > len(before) + len(after) else ""


def _said(system: str) -> tuple[str, ...]:
    return (f"Training's template puts in a system prompt where there is none; it is SYSTEM here: {system[:120]!r}.",) if system else ()


def _quoted(text: str) -> str:
    if '"""' in text:
        raise ModelError("Three quotation marks in a row cannot be written in a Modelfile.", where=text[:80],
                         next_step="Create the model through the API, with Ollama running: it has no such limit.")
    return f'"""{text}"""' if "\n" in text or '"' in text else f'"{text}"'


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
