"""openai:URL#MODEL, any server that speaks OpenAI's API (vLLM, llama.cpp, LM Studio, ...): several questions at once, the key from the environment.

What the model was fed is recorded where the server tells: llama.cpp by /apply-template and /tokenize, vLLM by /tokenize. API as documented at
https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tunelab.errors import ModelError, UsageError
from tunelab.runners.prompt import Answer, Fed, Prompt, Sampling, digest
from tunelab.runners.served import Server, many_at_once

KEYS = ("TUNELAB_OPENAI_KEY", "OPENAI_API_KEY")
AT_ONCE = 4
_STOPS = {"stop": "end", "eos": "end", "length": "length", "tool_calls": "end"}


class OpenAiRunner:
    """One model of one server. Raises ModelError when the server does not have it, RunnerError when nobody answers."""

    def __init__(self, server: Server, model: str, *, name: str = "", at_once: int = AT_ONCE) -> None:
        self.server, self.name, self._at_once = server, name or model, at_once
        self.model = _known(server, model)
        self._props = server.get("/props")
        self._props = self._props if isinstance(self._props, dict) and "chat_template" in self._props else None

    def facts(self) -> dict[str, Any]:
        """The server, the model, and of llama.cpp its template and context too."""
        facts: dict[str, Any] = {"runner": "openai", "model": self.model, "server": self.server.address}
        if self._props is not None:
            facts |= {"template": digest(str(self._props["chat_template"])),
                      "context": (self._props.get("default_generation_settings") or {}).get("n_ctx")}
        return facts

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        """Answer every prompt, several at once."""
        return many_at_once(prompts, lambda prompt: self._answer(prompt, sampling), self._at_once)

    def fed(self, prompt: Prompt) -> Fed:
        """What the server feeds the model for a prompt; empty where it does not tell."""
        messages = list(prompt.messages)
        if self._props is not None:
            text = prompt.raw or str(_field(self.server.post("/apply-template", {"messages": messages}), "prompt", ""))
            found = self.server.post("/tokenize", {"content": text, "add_special": not prompt.raw, "parse_special": True})
            return Fed(text, tuple(_field(found, "tokens", ())))
        if prompt.raw:
            return Fed(prompt.raw)
        found = self.server.post("/tokenize", {"model": self.model, "messages": messages, "add_generation_prompt": True})
        ids = tuple(_field(found, "tokens", ()))
        text = _field(self.server.post("/detokenize", {"model": self.model, "tokens": list(ids)}), "prompt", "") if ids else ""
        return Fed(str(text), ids)

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Answer:
        started = time.perf_counter()
        body: dict[str, Any] = {"model": self.model, "temperature": sampling.temperature, "seed": sampling.seed, "max_tokens": sampling.max_new_tokens,
                                "top_p": 1.0, "stream": False}
        if self._props is not None:
            body |= {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "cache_prompt": False}
        if prompt.raw:
            said = self.server.post("/v1/completions", {**body, "prompt": prompt.raw})
        else:
            said = self.server.post("/v1/chat/completions", {**body, "messages": list(prompt.messages)})
        seconds = round(time.perf_counter() - started, 4)
        choice = next(iter(_field(said, "choices", ())), None)
        fed = self.fed(prompt)
        if not isinstance(choice, dict):
            return Answer(prompt.id, "", "error", fed.text, len(fed.ids), seconds=seconds, details={"error": "the server gave no answer"},
                          prompt_ids=fed.ids)
        usage = _field(said, "usage", {}) or {}
        text = choice.get("text") if prompt.raw else _field(choice.get("message"), "content", "")
        reasoning = None if prompt.raw else _field(choice.get("message"), "reasoning_content", None)
        stop = _STOPS.get(str(choice.get("finish_reason")), "end")
        return Answer(prompt.id, str(text or ""), stop, fed.text, _count(usage, "prompt_tokens", len(fed.ids)),
                      _count(usage, "completion_tokens", 0), seconds, {"reasoning": reasoning} if reasoning else {}, fed.ids)


def open_openai(text: str, name: str = "") -> OpenAiRunner:
    """The runner for URL#MODEL; the address may end in /v1. Raises UsageError for another form."""
    address, _, model = text.partition("#")
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise UsageError("Expected the address of a server and a model: openai:http://127.0.0.1:8000#MODEL", where=f"openai:{text}",
                         next_step="A key is never part of it: it is read from the environment (OPENAI_API_KEY).")
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
    return OpenAiRunner(Server(base, "Start the server, or check the address and the port.", _headers(parts.scheme, parts.hostname)), model, name=name)


def _headers(scheme: str, host: str) -> dict[str, str]:
    """The key from the environment; it goes to an encrypted or a local server only."""
    key = next((os.environ[name] for name in KEYS if os.environ.get(name)), "")
    return {"Authorization": f"Bearer {key}"} if key and (scheme == "https" or host in ("localhost", "127.0.0.1", "::1")) else {}


def _known(server: Server, model: str) -> str:
    """The model's name, or the only one that the server has when none is asked for."""
    listed = [str(one.get("id")) for one in _field(server.get("/v1/models"), "data", ()) if isinstance(one, dict)]
    if model and (not listed or model in listed):
        return model
    if not model and len(listed) == 1:
        return listed[0]
    has = f"it has {', '.join(sorted(listed)[:8])}" if listed else "it lists none"
    raise ModelError(f"The server has no model {model!r}; {has}." if model else f"Which of the server's models? {has[0].upper()}{has[1:]}.",
                     where=server.address, next_step=f"openai:{server.address}#{(listed or ['MODEL'])[0]}")


def _field(value: Any, name: str, default: Any) -> Any:
    return value.get(name, default) if isinstance(value, Mapping) else default


def _count(usage: Any, name: str, default: int) -> int:
    value = _field(usage, name, default)
    return value if isinstance(value, int) and value >= 0 else default
