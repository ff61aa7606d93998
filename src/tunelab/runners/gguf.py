"""gguf:PATH, a GGUF file answered by llama.cpp (through the wheel xllamacpp), optionally with a LoRA adapter in GGUF: gguf:PATH+ADAPTER.

The prompt is what llama.cpp's own template engine makes of the messages; its text and token ids are recorded, and exactly those ids are fed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunelab.errors import ModelError, RunnerError
from tunelab.facts.gguf import GgufHeader, read_gguf
from tunelab.runners.llama_process import LlamaProcess
from tunelab.runners.prompt import Answer, Fed, Prompt, Sampling, digest
from tunelab.runners.served import Server

MOST_CONTEXT = 8192
"""Tokens of context that are asked for at most; the model's own limit may be lower. A prompt that does not fit is an error, never cut."""
_STOPS = {"eos": "end", "word": "end", "limit": "length", "none": "end"}


class GgufRunner:
    """One GGUF file (and adapter) in a llama.cpp server of its own, started at the first question. `exact`: see LlamaProcess."""

    def __init__(self, path: Path, adapter: Path | None = None, *, name: str = "", threads: int | None = None, exact: bool = False) -> None:
        self.path, self.adapter, self._threads, self._exact = path, adapter, threads, exact
        self.name = name or path.stem
        self._header = read_gguf(path)
        if adapter is not None:
            read_gguf(adapter)
        self.context = min(MOST_CONTEXT, _trained_context(self._header) or MOST_CONTEXT)
        self._process: LlamaProcess | None = None
        self._server: Server | None = None
        self._plain_token: int | None = None

    def facts(self) -> dict[str, Any]:
        """File, adapter, quantisation, template, context."""
        template = self._header.metadata.get("tokenizer.chat_template")
        return {"runner": "gguf", "model": str(self.path), "adapter": str(self.adapter) if self.adapter else None,
                "quantisation": _quantisation(self._header), "template": digest(template) if isinstance(template, str) else "none (ChatML is used)",
                "context": self.context, "device": "cpu"}

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        """Answer every prompt, one after the other. Raises ModelError, RunnerError (llama.cpp ended)."""
        for prompt in prompts:
            yield self._answer(prompt, sampling)

    def fed(self, prompt: Prompt) -> Fed:
        """The text and the token ids that the model is fed for a prompt."""
        text = prompt.raw or str(self._post("/apply-template", {"messages": list(prompt.messages)})["prompt"])
        found = self._post("/tokenize", {"content": text, "add_special": not prompt.raw, "parse_special": True})
        return Fed(text, tuple(found["tokens"]))

    def next_logprobs(self, ids: Sequence[int], count: int) -> dict[int, float]:
        """After these token ids, the natural log-probabilities of the `count` likeliest tokens."""
        if self._plain_token is None:
            self._plain_token = int(self._post("/tokenize", {"content": "a"})["tokens"][-1])
        # Nothing is told of a token that ends the text or is part of a character: a plain one is forced; that does not change what is told.
        forced = {"logit_bias": [[self._plain_token, 1000.0]]}
        said = self._post("/completion", {"prompt": list(ids), "n_probs": count, **forced, **_plain(Sampling(1)), "cache_prompt": True})
        listed = said.get("completion_probabilities") or [{}]
        return {int(one["id"]): float(one["logprob"]) for one in listed[0].get("top_logprobs", [])}

    def continued(self, ids: Sequence[int], tokens: int) -> list[int]:
        """The greedy continuation of token ids: at most so many, the token that ends a turn left out."""
        return [int(one) for one in self._post("/completion", {"prompt": list(ids), **_plain(Sampling(tokens))}).get("tokens") or []]

    def close(self) -> None:
        """End llama.cpp."""
        if self._server is not None:
            self._server.close()
        if self._process is not None:
            self._process.close()
        self._server = self._process = None

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Answer:
        fed = self.fed(prompt)
        room = self.context - len(fed.ids)
        if room < 1:
            why = f"the prompt has {len(fed.ids)} tokens and the context {self.context}"
            return Answer(prompt.id, "", "error", fed.text, len(fed.ids), details={"error": why}, prompt_ids=fed.ids)
        started = time.perf_counter()
        said = self._post("/completion", {"prompt": list(fed.ids), **_plain(sampling, room)})
        stop = _STOPS.get(str(said.get("stop_type")), "end")
        return Answer(prompt.id, str(said.get("content", "")), stop, fed.text, len(fed.ids), int(said.get("tokens_predicted") or 0),
                      round(time.perf_counter() - started, 4), {"truncated": True} if said.get("truncated") and stop != "length" else {}, fed.ids)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self._server is None:
            self._process = LlamaProcess(self.path, adapter=self.adapter, context=self.context, threads=self._threads, exact=self._exact)
            self._server = Server(self._process.address, "Run the same command again: only what is missing is asked for.", sleep=self._wait)
        said = self._server.post(path, body)
        if not isinstance(said, dict):
            raise RunnerError("llama.cpp gave no answer.", where=str(self.path))
        return said

    def _wait(self, seconds: float) -> None:
        """Between two tries: none is made when the process is gone."""
        if self._process is not None and not self._process.alive:
            raise RunnerError("llama.cpp ended in the middle of an answer.", where=str(self.path),
                              next_step="Run the same command again: only what is missing is asked for.")
        time.sleep(seconds)


def open_gguf(text: str, name: str = "") -> GgufRunner:
    """The runner for PATH or PATH+ADAPTER. Raises ModelError when a file is missing or damaged."""
    model, _, adapter = text.partition("+") if not Path(text).exists() else (text, "", "")
    for path in (model, adapter):
        if path and not Path(path).is_file():
            raise ModelError("There is no such GGUF file.", where=path,
                             next_step="gguf:PATH names a file; gguf:PATH+ADAPTER one with a LoRA adapter in GGUF.")
    return GgufRunner(Path(model), Path(adapter) if adapter else None, name=name)


def _plain(sampling: Sampling, room: int | None = None) -> dict[str, Any]:
    """llama.cpp's options for drawing from the model's own distribution, with nothing cut off or penalised."""
    return {"n_predict": sampling.max_new_tokens if room is None else min(sampling.max_new_tokens, room), "temperature": sampling.temperature,
            "seed": sampling.seed, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0, "cache_prompt": False, "return_tokens": True,
            "stream": False}


def _trained_context(header: GgufHeader) -> int | None:
    architecture = header.metadata.get("general.architecture")
    value = header.metadata.get(f"{architecture}.context_length")
    return value if isinstance(value, int) and value > 0 else None


def _quantisation(header: GgufHeader) -> str:
    """The kind of most of the weights: "Q4_1"."""
    sizes = Counter[str]()
    for one in header.tensors.values():
        sizes[one.kind] += one.bytes
    return sizes.most_common(1)[0][0] if sizes else "unknown"
