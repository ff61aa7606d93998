"""How long the Hub is waited for: what huggingface_hub sends inside `patient` is tried again while the Hub is busy, within bounds, and never hangs.

The library's own back-off waits as long as a rate limit's header says, up to six times, and its questions have no time limit; so every
request of its shared session goes through here. Outside `patient` that session does what it always did.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from tunelab.errors import HubError

WAIT = 40.0
"""Seconds that one question waits, in all, for a Hub that says that it is busy; a longer wait is left to the person."""
SILENCE = 15.0
"""Seconds without a byte after which the Hub counts as not answering."""
WHOLE = 60.0
"""Seconds for all of one answer, so that one that comes byte by byte ends too."""
MAX_BYTES = 64_000_000
TRIES = 4
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_RESET = re.compile(r"(?:\A|[\s;])t=(\d{1,9})(?:\Z|[\s;,])")
LATER = "Try again later; what was seen before is there with --offline."
_NEXT = "Look at your connection and at HF_ENDPOINT; what was seen before is there with --offline."


@dataclass
class Patience:
    """What is left of it for one question: `deadline` for all of it (time.monotonic), `waited`: seconds spent on waiting for a busy Hub."""

    deadline: float = field(default_factory=lambda: time.monotonic() + WHOLE)
    waited: float = 0.0
    say: Callable[[str], None] = lambda text: None


_WRAPPING = Lock()
_NOW: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def patient(say: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """One question to the Hub. `say` hears of a wait. Raises HubError when the Hub is busy, silent or not there."""
    from huggingface_hub import utils

    session: Any = utils.get_session()  # type: ignore[attr-defined]
    with _WRAPPING:
        if not hasattr(session, "_tunelab_patient"):
            session.send, session._tunelab_patient = _patient(session.send), True
    token = _NOW.set(Patience(say=say))
    try:
        yield
    finally:
        _NOW.reset(token)


class Meter:
    """What huggingface_hub takes for a progress bar: silent, and the end of a file that is too large or too slow."""

    def __init__(self, **_: Any) -> None:
        self._bytes = 0

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is shown, so nothing is to be cleared."""

    def update(self, count: float = 1) -> None:
        """Another chunk has come."""
        self._bytes += int(count)
        patience = _NOW.get()
        if patience is not None:
            _check(patience, self._bytes)


def _patient(send: Callable[..., Any]) -> Callable[..., Any]:
    """The session's `send`, with patience inside `patient`."""

    def sent(request: Any, *, stream: bool = False, **options: Any) -> Any:
        patience = _NOW.get()
        if patience is None:
            return send(request, stream=stream, **options)
        request.extensions = {**request.extensions, "timeout": dict.fromkeys(("connect", "read", "write", "pool"), SILENCE)}
        if not stream:  # of a file, which is asked for again where it broke off, all parts share the time
            patience.deadline = time.monotonic() + WHOLE
        tries = 0
        while True:
            tries += 1
            response = _once(send, request, stream, options, patience, last=tries > 1)
            if response is None:
                time.sleep(0.3)
            elif response.status_code not in _BUSY:
                return response
            else:
                response.close()
                _wait(response, patience, tries)

    return sent


def _once(send: Callable[..., Any], request: Any, stream: bool, options: Mapping[str, Any], patience: Patience, *, last: bool) -> Any:
    """The answer; None when the connection failed and that may have been an accident."""
    from huggingface_hub.errors import HfHubHTTPError

    failures: Any = HfHubHTTPError.__bases__[0]  # the base of its HTTP library's errors: httpx in huggingface_hub 1, httpx2 in 2
    try:
        response = send(request, stream=True, **options)
        return response if stream or response.status_code in _BUSY else _whole(response, patience)
    except failures as error:
        silent = "Timeout" in type(error).__name__
        if not last and not silent and time.monotonic() < patience.deadline:
            return None
        said = re.sub(r"\A\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
        reason = f"it did not answer within {SILENCE:g} seconds" if silent else said.splitlines()[0][:200]
        raise HubError(f"The Hub cannot be reached at {_address(request)}: {reason.rstrip('.')}.", next_step=_NEXT) from error


def _whole(response: Any, patience: Patience) -> Any:
    """The answer with its content read, within the bounds of time and size."""
    if response.request.method == "HEAD":  # its Content-Length is of a body that does not follow
        response.read()
        return response
    content = bytearray()
    try:
        for chunk in response.iter_bytes():
            content += chunk
            _check(patience, len(content))
    finally:
        response.close()
    kept = [(name, value) for name, value in response.headers.multi_items()
            if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")]
    return type(response)(response.status_code, headers=kept, content=bytes(content), request=response.request, history=response.history)


def _check(patience: Patience, size: int) -> None:
    if size > MAX_BYTES:
        raise HubError(f"The Hub's answer is larger than {MAX_BYTES // 10**6} MB; it was not read on.", next_step="Ask for less (--limit).")
    if time.monotonic() > patience.deadline:
        raise HubError(f"The Hub's answer did not end within {WHOLE:g} seconds.", next_step=LATER)


def _wait(response: Any, patience: Patience, tries: int) -> None:
    """Wait as long as a busy Hub asks, or twice as long as before. Raises HubError when that is too long."""
    limited = response.status_code == 429
    asked = _asked(response.headers)
    seconds = asked if asked is not None else 0.5 * 2**tries
    if tries >= TRIES or patience.waited + seconds > WAIT:
        if limited:
            when = f"; it answers again {_in_words(asked)}" if asked else ""
            raise HubError(f"The Hub says that you have asked too often (429, a rate limit){when}.",
                           next_step=f"{'Ask again then' if asked else 'Ask again in a few minutes'}, or log in for a higher limit: hf auth login")
        raise HubError(f"The Hub at {_address(response.request)} has trouble of its own: it answered {response.status_code} {tries} times.",
                       next_step=LATER)
    patience.say(f"The Hub is busy ({response.status_code}); waiting {seconds:.0f} s.")
    patience.waited += seconds
    patience.deadline += seconds
    time.sleep(seconds)


def _asked(headers: Mapping[str, str]) -> float | None:
    """Seconds that the headers ask to wait: RateLimit ("api";r=0;t=55), Retry-After in seconds or as a date."""
    found = _RESET.search(headers.get("ratelimit", ""))
    if found:
        return float(found.group(1)) + 1
    from email.utils import parsedate_to_datetime

    text = headers.get("retry-after", "").strip()
    if text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError):
        return None


def _in_words(seconds: float) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
    return f"in {seconds:.0f} seconds (at {when})" if seconds < 120 else f"in {seconds / 60:.0f} minutes (at {when[:5]})"


def _address(request: Any) -> str:
    url = request.url
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}" if url.host else str(url).partition("/api/")[0].lstrip("/")[:200]
