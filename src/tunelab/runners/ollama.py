"""ollama:NAME, a model of an Ollama server, asked one question at a time; OLLAMA_HOST says where the server is.

What silently distorts a comparison there is taken out: the default sampling, the default context (a prompt is never cut), a shifted context,
an unlimited answer; what a model has baked in (stop strings, a system prompt, example messages) is told in the facts.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from tunelab.errors import ModelError, RunnerError
from tunelab.runners.ollama_errors import Gone, Refused
from tunelab.runners.ollama_model import OllamaModel, find_model, mapping
from tunelab.runners.ollama_server import WAITS, OllamaServer, Progress, same_name
from tunelab.runners.prompt import Answer, Fed, Prompt, Sampling, digest

ANSWER_SECONDS = 1800.0
"""An answer that is still being written after so long is cut, and that is said."""
KEEP_ALIVE = "30m"
_LEAST_CONTEXT, _MOST_CONTEXT = 2048, 131_072
"""Tokens; the second for a model that does not say how much it can read."""
_CRASHES = 3
"""So many times may the model crash on one prompt, and so many prompts in a row may fail, before it is given up."""
_STOPS = {"stop": "end", "length": "length"}
_OVERRULED = frozenset({"temperature", "seed", "num_ctx", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n",
                        "presence_penalty", "frequency_penalty", "mirostat", "mirostat_eta", "mirostat_tau", "tfs_z"})
_AS_IT_IS = "{{- .Prompt -}}"
"""A template that adds nothing, and is not letter for letter the one that means "none given"."""
_TOO_LONG = re.compile(r"(?:request|prompt|input)[^.]{0,80}(?:exceeds|longer than|too long)", re.IGNORECASE)
_TOKENS = re.compile(r"\((\d+) tokens\)")


@dataclass(slots=True)
class _Heard:
    """An answer as far as it has come."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    cut: str = ""


class OllamaRunner:
    """One model of one server. `options` are put beside tunelab's own (num_thread, num_gpu)."""

    def __init__(self, server: OllamaServer, model: OllamaModel, *, name: str = "", options: Mapping[str, Any] | None = None,
                 seconds: float = ANSWER_SECONDS) -> None:
        self.server, self.model, self.name = server, model, name or model.name
        self._more, self._seconds = dict(options or {}), seconds
        self._context = 0
        self._renders, self._counts = True, True

    def facts(self) -> dict[str, Any]:
        """Model, digest, quantisation, template, context; and what is baked into the model that stays in force. `overruled`: what does not."""
        model = self.model
        bare = model.template.replace(" ", "") in ("", "{{.Prompt}}")
        facts: dict[str, Any] = {
            "runner": "ollama", "model": model.name, "digest": model.digest[:12], "quantisation": model.quantisation or "unknown",
            "template": "none shown (ChatML is used, or the file's own)" if bare else digest(model.template), "context": model.context,
            "version": self.server.version, "system": model.system, "stop": [str(one) for one in model.parameters.get("stop", [])],
            "overruled": {name: values[-1] for name, values in model.parameters.items() if name in _OVERRULED}}
        kept = {name: values[-1] for name, values in model.parameters.items() if name not in _OVERRULED and name != "stop"}
        if kept:
            facts["parameters"] = kept
        if model.messages:
            facts["messages"] = digest(json.dumps(list(model.messages), ensure_ascii=False))
        return facts

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Answer]:
        """Answer every prompt, one after the other. Raises ModelError (the model was removed), RunnerError (the server stays away).

        A prompt on which the model crashes is an answer with an error only when another one is answered: where none is, the fault is not the
        prompts', nothing is recorded, and the same command may be run again.
        """
        self._make_room(max((self._guess(prompt) for prompt in prompts), default=0) + sampling.max_new_tokens)
        held: list[Answer] = []
        works = False
        for prompt in prompts:
            answer = self._answer(prompt, sampling)
            if answer.stop == "error" and "refused" in answer.details:
                held.append(answer)
                if len(held) >= _CRASHES:
                    raise self._cannot_run(answer)
                continue
            works = True
            yield from (*held, answer)
            held.clear()
        if held and not works:
            raise self._cannot_run(held[-1])
        yield from held

    def fed(self, prompt: Prompt) -> Fed:
        """The text that the model is fed, and its token ids; either is empty where the server does not tell."""
        text = self._text(prompt)
        return Fed(text, self._ids(text))

    def close(self) -> None:
        """Let go of the connections."""
        self.server.close()

    def _cannot_run(self, answer: Answer) -> RunnerError:
        return RunnerError(f"Ollama cannot run the model: {answer.details['error']}.", where=f"ollama:{self.model.name}",
                           next_step=answer.details["refused"] or "Look into the server's log; then run the same command again.")

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Answer:
        text, crashes, attempt = "", 0, 0
        if not prompt.raw and not any(str(one.get("content") or "") for one in prompt.messages):
            return Answer(prompt.id, "", "error", details={"error": "the prompt is empty"})
        while True:
            try:
                text = text or self._text(prompt)
                return self._read(prompt, sampling, text, self._heard(prompt, sampling))
            except Gone as error:
                if error.waited or attempt >= len(WAITS):
                    raise
                self.server.wait(attempt)
                attempt += 1
            except Refused as error:
                if error.status == 404:
                    raise self.server.missing(self.model.name) from None
                if error.status == 403:
                    raise
                if _TOO_LONG.search(error.said):
                    if not self._grow(error.said, sampling.max_new_tokens):
                        return Answer(prompt.id, "", "error", text, details={"error": self._too_long(error.said)})
                    continue
                busy = error.status in (429, 502, 503, 504)
                crashes += 0 if busy else 1
                if error.status == 400 or crashes >= _CRASHES or attempt >= len(WAITS):
                    return Answer(prompt.id, "", "error", text, details={"error": error.said, "refused": error.next_step or ""})
                self.server.wait(attempt)
                attempt += 1

    def _heard(self, prompt: Prompt, sampling: Sampling) -> _Heard:
        """Ask and listen to the end. Raises Refused, Gone (also for a stream that just ends)."""
        heard, started, size = _Heard(), time.monotonic(), 0
        limit = sampling.max_new_tokens
        with closing(self.server.stream(*self._question(prompt, sampling))) as parts:  # a hang-up ends what the model still writes
            for count, part in enumerate(parts):
                message = mapping(part.get("message"))
                piece, thought = _text(part.get("response") or message.get("content")), _text(part.get("thinking") or message.get("thinking"))
                heard.texts.append(piece)
                heard.thoughts.append(thought)
                size += len(piece) + len(thought)
                heard.last = part
                if part.get("done"):
                    return heard
                if time.monotonic() - started > self._seconds:
                    heard.cut = f"cut after {self._seconds:.0f} seconds"
                elif count > 2 * limit + 64 or size > 64 * limit + 4096:
                    heard.cut = f"cut: the server went on past {limit} tokens"
                if heard.cut:
                    return heard
        raise Gone("Ollama's answer broke off in the middle.", where=self.server.address,
                   next_step="Run the same command again: only what is missing is asked for.")

    def _question(self, prompt: Prompt, sampling: Sampling) -> tuple[str, dict[str, Any]]:
        body = {**self._common(), "options": self._options(sampling.max_new_tokens, sampling.temperature, sampling.seed)}
        if prompt.raw:
            return "/api/generate", {**body, "prompt": prompt.raw, "raw": True}
        return "/api/chat", {**body, "messages": [dict(one) for one in prompt.messages]}

    def _common(self) -> dict[str, Any]:
        return {"model": self.model.name, "keep_alive": KEEP_ALIVE, "truncate": False, "shift": False}

    def _options(self, tokens: int, temperature: float = 0.0, seed: int = 0) -> dict[str, Any]:
        """Drawing from the model's own distribution, nothing cut off or penalised. num_predict is never 0, which means "without end", nor the
        seed negative, which means "another each time"; the context is always the same, for another one loads the model anew."""
        return {"temperature": temperature, "seed": abs(seed), "num_predict": max(1, tokens), "num_ctx": self._context or self._make_room(_LEAST_CONTEXT),
                "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
                **self._more}

    def _read(self, prompt: Prompt, sampling: Sampling, text: str, heard: _Heard) -> Answer:
        """The answer, and whatever is odd about it in `details`."""
        last, details = heard.last, dict[str, Any]()
        answer, thoughts = _sound("".join(heard.texts)), _sound("".join(heard.thoughts))
        tokens, seen = _count(last, "eval_count"), _count(last, "prompt_eval_count")
        reason = str(last.get("done_reason") or ("length" if tokens >= sampling.max_new_tokens else "stop"))
        stop = "length" if heard.cut else _STOPS.get(reason, "error")
        ids = self._begun(self._ids(text), seen)
        if ids and seen and len(ids) != seen:
            details["prompt_tokens_elsewhere"] = len(ids)
            ids = ()
        details |= {"reasoning": thoughts} if thoughts else {}
        details |= {"cut": heard.cut} if heard.cut else {}
        if stop == "error":
            details["error"] = f"the server ended with {reason!r}"
        elif stop == "length" and not heard.cut and 0 < tokens < sampling.max_new_tokens:
            details["cut"] = "the context was full"
        if not answer and stop != "error":
            details["empty"] = True
        if "\ufffd" in answer:
            details["invalid_utf8"] = True
        lost = self._lost(prompt, text, seen, details.get("prompt_tokens_elsewhere", 0))
        details |= {"truncated": lost} if lost else {}
        spent = sum(_count(last, key) for key in ("prompt_eval_duration", "eval_duration")) / 1e9
        return Answer(prompt.id, answer, stop, text, seen or len(ids), tokens or sum(1 for one in heard.texts if one), round(spent, 4), details, ids)

    def _lost(self, prompt: Prompt, text: str, seen: int, known: int) -> str:
        """What of the prompt did not reach the model, in words: messages that the rendered text lacks, or fewer tokens than it must have."""
        if text and not prompt.raw:
            gone = [one for one in prompt.messages if str(one.get("content") or "").strip() not in text]
            if gone:
                return f"the text that the model was fed lacks {len(gone)} of {len(prompt.messages)} messages ({gone[0].get('role')} first)"
        words = len((text or " ".join(str(one.get("content") or "") for one in prompt.messages)).split())
        if seen and (known > seen + 1 or seen * 2 < words or seen >= self._context):
            return f"the model was fed {seen} tokens of a prompt with {known or words} {'tokens' if known else 'words'}"
        return ""

    def _text(self, prompt: Prompt) -> str:
        """The rendered prompt; "" where the server does not tell. Raises Refused, Gone."""
        if prompt.raw or not self._renders:
            return prompt.raw
        body = {**self._common(), "messages": [dict(one) for one in prompt.messages], "options": self._options(1), "_debug_render_only": True}
        text = mapping(self.server.ask("/api/chat", {**body, "stream": False}).get("_debug_info")).get("rendered_template")
        self._renders = isinstance(text, str)
        return _sound(_text(text))

    def _ids(self, text: str) -> tuple[int, ...]:
        """The token ids of a text as this server splits it, from the context that it returns after one more token; () where that is not sure."""
        if not text or not self._counts:
            return ()
        body = {**self._common(), "prompt": text, "template": _AS_IT_IS, "system": "", "options": self._options(1), "stream": False}
        try:
            said = self.server.ask("/api/generate", body)
        except (Refused, Gone):  # what the prompt's tokens are is no reason to lose its answer
            return ()
        ids, fed, new = said.get("context"), _count(said, "prompt_eval_count"), _count(said, "eval_count")
        if not isinstance(ids, list) or not all(isinstance(one, int) for one in ids):
            self._counts = False
            return ()
        whole = self._begun(tuple(ids), fed + new)
        return whole[:fed] if len(whole) == fed + new or (not said.get("response") and len(whole) == fed) else ()

    def _begun(self, ids: tuple[int, ...], wanted: int) -> tuple[int, ...]:
        """The ids with the token in front that the server adds when it feeds the model (to a conversation, not to a bare text) but does not tell."""
        begin = self.model.info.get("tokenizer.ggml.bos_token_id")
        added = isinstance(begin, int) and self.model.info.get("tokenizer.ggml.add_bos_token", True) and ids[:1] != (begin,)
        return (begin, *ids) if added and ids and len(ids) == wanted - 1 and isinstance(begin, int) else ids

    def _guess(self, prompt: Prompt) -> int:
        """Tokens that a prompt may have: where the server would cut it in silence, as many as bytes."""
        messages = [*self.model.messages, {"content": self.model.system}, *prompt.messages]
        size = len(prompt.raw.encode("utf-8", "replace")) or sum(len(str(one.get("content") or "").encode("utf-8", "replace")) for one in messages)
        return (size // 3 if self.server.takes_truncate else size) + 16 * len(messages) + 64

    def _make_room(self, tokens: int) -> int:
        """A context for so many tokens, in steps so that it seldom changes, and not beyond the model's own."""
        room = _LEAST_CONTEXT
        while room < tokens:
            room += max(1024, room // 2)
        self._context = max(self._context, min(room, self.model.context or _MOST_CONTEXT))
        return self._context

    def _grow(self, said: str, new_tokens: int) -> bool:
        """More context after a refusal that may say how many tokens there are; False when the model has no more."""
        found, before = _TOKENS.search(said), self._context
        if found and self.model.context and int(found[1]) >= self.model.context:
            return False
        return self._make_room(int(found[1]) + new_tokens if found else before + 1) > before

    def _too_long(self, said: str) -> str:
        found = _TOKENS.search(said)
        return f"the prompt has {found[1] if found else 'more'} tokens{'' if found else ' than'} {'and ' if found else ''}the context {self._context}"


def open_ollama(name: str, side_name: str = "", *, server: OllamaServer | None = None, options: Mapping[str, Any] | None = None) -> OllamaRunner:
    """The runner for a model's name. Raises ModelError when the server does not have it, RunnerError when it is not running."""
    server = server or OllamaServer()
    server.reach()
    model = find_model(server, name)
    if model.capabilities and "completion" not in model.capabilities:
        raise ModelError(f"{name} does not answer prompts; it is for {', '.join(model.capabilities)}.", where=server.address,
                         next_step="Give a model that generates text.")
    return OllamaRunner(server, model, name=side_name, options=options)


def pull(name: str, progress: Progress | None = None, *, server: OllamaServer | None = None) -> None:
    """Have the server download a model, unless it has it. Raises ModelError, RunnerError."""
    server = server or OllamaServer()
    server.reach()
    if not any(same_name(one.name, name) for one in server.installed()):
        server.pull(name, progress)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _sound(text: str) -> str:
    """The text with half characters (lone surrogates) replaced, so that it can be stored."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(part: Mapping[str, Any], name: str) -> int:
    value = part.get(name)
    return value if isinstance(value, int) and value > 0 else 0
