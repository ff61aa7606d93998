"""llama.cpp (the wheel xllamacpp) in a process of its own: a damaged file that brings it down does not take tunelab with it.

    python -m tunelab.runners.llama_process < order.json    prints {"address": "http://127.0.0.1:PORT"} or {"error": "..."}, and ends with its input
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunelab.errors import MissingPartError, ModelError


class LlamaProcess:
    """A llama.cpp server on loopback; `exact`: keys and values are kept in 32 bits, not in its default 16. Raises MissingPartError without
    xllamacpp, ModelError when it cannot load the file."""

    def __init__(self, model: Path, *, adapter: Path | None = None, context: int = 4096, threads: int | None = None, exact: bool = False) -> None:
        order = {"model": str(model), "adapter": str(adapter) if adapter else None, "context": context, "exact": exact,
                 "threads": threads or _threads()}
        self._process = subprocess.Popen([sys.executable, "-m", "tunelab.runners.llama_process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        said: dict[str, Any] = {}
        with suppress(ValueError):
            said = json.loads(self._process.stdout.readline() or "{}")
        if "address" not in said:
            self.close()
            if said.get("missing"):
                raise MissingPartError("xllamacpp", "gguf", "Running a GGUF file")
            raise ModelError(f"llama.cpp cannot load the file{': ' + said['error'] if said.get('error') else ''}.", where=str(model),
                             next_step="Is the file whole, and its architecture one that llama.cpp knows? tunelab hub show says what it is.")
        self.address = str(said["address"])

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the server."""
        with suppress(OSError, ValueError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()


def _threads() -> int:
    """As many as there are cores for this process, or what OMP_NUM_THREADS allows: where other work runs beside, more are slower by far."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(allowed) if allowed.isdigit() else cores))


def _serve(order: dict[str, Any]) -> None:
    try:
        import xllamacpp
    except ModuleNotFoundError:
        _say({"missing": True})
        return
    parameters = xllamacpp.CommonParams()
    parameters.model.path = order["model"]
    parameters.n_ctx, parameters.n_parallel = order["context"], 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = order["threads"]
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    parameters.use_jinja, parameters.warmup, parameters.verbosity, parameters.ui = True, False, -1, False
    parameters.ctx_shift = False  # past the context an answer ends; nothing of the prompt is dropped in silence
    if order["exact"]:
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it computes in 16 bits
    if order["adapter"]:
        info = xllamacpp.CommonAdapterLoraInfo()
        info.path, info.scale = order["adapter"], 1.0
        parameters.lora_adapters = [info]
    try:
        server = xllamacpp.Server(parameters)
    except Exception as error:
        _say({"error": " ".join(str(error).split())[:300]})
        return
    _say({"address": server.listening_address})
    sys.stdin.read()  # until whoever started this goes away


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve(json.loads(sys.stdin.readline()))
    os._exit(0)
