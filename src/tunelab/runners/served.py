"""Asking a model server over HTTP: retries with growing waits, the server's own words in errors, and no answer without an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import httpx

from tunelab.errors import RunnerError
from tunelab.runners.prompt import Answer, Prompt

CONNECT, READ = 10.0, 600.0
"""Seconds to wait for a connection, and for the next byte of an answer: a large model on a CPU reads a long prompt for minutes."""
TRIES = 5
_WAIT, _MOST = 0.5, 30.0
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class Server:
    """One server. `start` says how to start it, for the sentence when nobody answers."""

    def __init__(self, address: str, start: str, headers: Mapping[str, str] | None = None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.address, self._start, self._sleep = address.rstrip("/"), start, sleep
        self._client = httpx.Client(base_url=self.address, headers=dict(headers or {}), timeout=httpx.Timeout(READ, connect=CONNECT), trust_env=False)

    def get(self, path: str) -> Any:
        """A JSON answer, or None for a page that there is not. Raises RunnerError."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """A JSON answer, or None where the server knows no such path or model (404). Raises RunnerError."""
        return self._ask("POST", path, body)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        said = ""
        for attempt in range(TRIES):
            if attempt:
                self._sleep(min(_MOST, _WAIT * 2 ** (attempt - 1)))
            try:
                response = self._client.request(method, path, json=body)
            except httpx.ConnectError:
                said = "nobody answers there"
                continue
            except httpx.HTTPError as error:  # a connection that broke, a time that ran out, an answer that is not HTTP
                said = str(error) or type(error).__name__
                continue
            if response.status_code in (404, 405):
                return None
            if response.status_code in _AGAIN:
                said = f"it answers {response.status_code}: {_words(response)}"
                self._heed(response)
                continue
            if response.status_code >= 400:
                raise RunnerError(f"The server refuses with {response.status_code}: {_words(response)}.", where=f"{self.address}{path}",
                                  next_step=_REMEDY.get(response.status_code))
            with suppress(ValueError):
                return response.json()
            said = "its answer is not JSON"
        raise RunnerError(f"The server does not answer: {said}; tried {TRIES} times.", where=self.address, next_step=self._start)

    def _heed(self, response: httpx.Response) -> None:
        """Wait as long as the server asks for, within bounds."""
        with suppress(ValueError):
            self._sleep(min(_MOST, max(0.0, float(response.headers.get("retry-after", "0")))))


_REMEDY = {401: "Give the key in the environment: export OPENAI_API_KEY=...", 403: "Is the key allowed to use this model?"}


def many_at_once(prompts: Sequence[Prompt], ask: Callable[[Prompt], Answer], at_once: int) -> Iterator[Answer]:
    """Answers as they come, with at most `at_once` questions on the way; the first failure is raised after those on the way have ended."""
    waiting, rest = set[Future[Answer]](), iter(prompts)
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        for prompt in rest:
            waiting.add(pool.submit(ask, prompt))
            if len(waiting) >= at_once:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in done)


def _words(response: httpx.Response) -> str:
    """What the server says of an error, on one line."""
    said: Any = response.text
    with suppress(ValueError):
        body = response.json()
        said = body.get("error", body) if isinstance(body, dict) else body
        said = said.get("message", said) if isinstance(said, dict) else said
    return " ".join(str(said).split())[:300] or "nothing"
