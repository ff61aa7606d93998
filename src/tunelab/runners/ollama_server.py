"""Talking to Ollama through its official client: patience while it restarts, and every failure as a sentence with what to do.

How a real server behaves is in the tests' `test_ollama*.py`: errors arrive as statuses, as lines in a stream under status 200, and as bodies
inside bodies; the client raises two kinds of error for a server that is down, and adds status -1 to what a stream says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tunelab.errors import ModelError, RunnerError, UsageError
from tunelab.runners.ollama_errors import Gone, Refused, one_line, remedy, words_of

CONNECT, READ = 10.0, 600.0
"""Seconds to wait for a connection, and for the next byte of an answer: a large model on a CPU reads a long prompt for minutes."""
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between tries when the server has gone: long enough for it to be started again."""
_TRUNCATE_SINCE = (0, 12, 6)
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_Made = TypeVar("_Made")

Progress = Callable[[str, int, int], None]
"""(what is done now, bytes done, bytes in all or 0)."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A model that the server has, as /api/tags lists it."""

    name: str
    digest: str
    size: int
    parent: str
    family: str
    quantisation: str
    parameters: str


class OllamaServer:
    """One server. Raises UsageError for an address that is none; nothing is asked before it is needed."""

    def __init__(self, host: str | None = None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        host = host or os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434"
        self.address, local = _address(host)
        self._sleep = sleep
        self._client = _client(self.address, local)
        self._version: str | None = None

    @property
    def version(self) -> str:
        """The server's version. Raises RunnerError when nobody answers, or something that is not Ollama."""
        if self._version is None:
            said = self._once(lambda: self._client._request_raw("GET", "/api/version").json())
            if not isinstance(said, dict) or not isinstance(said.get("version"), str):
                raise RunnerError("What answers there is not Ollama.", where=self.address, next_step="Set OLLAMA_HOST to Ollama's address.")
            self._version = str(said["version"])
        return self._version

    def reach(self) -> None:
        """Raises RunnerError when nobody answers, with how to start it."""
        self._version = self.version

    @property
    def takes_truncate(self) -> bool:
        """Whether it heeds `truncate: false` and `shift: false` (an unknown field is ignored in silence). A development build heeds them."""
        found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", self.version)
        numbers = tuple(int(one) for one in found.groups()) if found else (0, 0, 0)
        return numbers == (0, 0, 0) or numbers >= _TRUNCATE_SINCE

    def installed(self) -> tuple[Installed, ...]:
        """The models that it has, newest first."""
        said = self._once(lambda: self._client._request_raw("GET", "/api/tags").json())
        models = said.get("models") if isinstance(said, dict) else None
        return tuple(_installed(one) for one in models or () if isinstance(one, dict))

    def show(self, name: str) -> dict[str, Any]:
        """What it says of a model. Raises ModelError when it has none of that name, with the command that gets it."""
        _check_name(name)
        try:
            said = self.ask("/api/show", {"model": name})
        except Refused as error:
            if error.status == 404:
                raise self.missing(name) from None
            if error.status == 400:
                raise ModelError(f"{name!r} is not a name that Ollama takes: {error.said}.", where=f"ollama:{name}",
                                 next_step="A name is NAME:TAG, as `ollama list` shows it.") from None
            raise
        return said

    def missing(self, name: str) -> ModelError:
        """The sentence for a model that is not there."""
        has = [one.name for one in self.installed()] if self._version else []
        near = _nearest(name, has)
        listed = f"; it has {', '.join(sorted(has)[:8])}" if has else "; it has no model yet"
        hint = f" Did you mean ollama:{near}?" if near else ""
        return ModelError(f"Ollama has no model {name!r}{listed}.{hint}", where=self.address,
                          next_step=f"Get it: ollama pull {name} (or give compare the option --pull)")

    def pull(self, name: str, progress: Progress | None = None) -> None:
        """Have the server download a model. Raises ModelError when it cannot be had, RunnerError when the server goes away."""
        _check_name(name)
        try:
            self._steps("/api/pull", {"model": name, "stream": True}, progress)
        except Refused as error:
            unknown = "file does not exist" in error.said or "not found" in error.said
            why = f"The library has no model {name!r}" if unknown else f"{name!r} could not be pulled: {error.said}"
            raise ModelError(f"{why}.", where=self.address,
                             next_step="Names are at https://ollama.com/library; is the network reachable from the server?") from None

    def create(self, body: Mapping[str, Any], progress: Progress | None = None) -> None:
        """Create a model from what was uploaded. Raises ModelError with the server's words."""
        try:
            self._steps("/api/create", {**body, "stream": True}, progress)
        except Refused as error:
            raise ModelError(f"Ollama cannot create the model: {error.said}.", where=f"ollama:{body.get('model')}",
                             next_step=remedy(error.status, error.said)) from None

    def has_blob(self, digest: str) -> bool:
        """Whether a file with this checksum ("sha256:...") is there already."""
        try:
            self._patiently(lambda: self._client._request_raw("HEAD", f"/api/blobs/{digest}"))
        except Refused as error:
            if error.status == 404:
                return False
            raise
        return True

    def upload(self, path: Path, digest: str, progress: Progress | None = None) -> None:
        """Send a file, unless it is there. A server that has it answers before it has read all, and may close the connection: that is success."""
        if self.has_blob(digest):
            return
        try:
            self._once(lambda: self._client._request_raw("POST", f"/api/blobs/{digest}", content=_parts(path, progress),
                                                         headers={"Content-Length": str(path.stat().st_size)}))
        except Gone:
            if not self.has_blob(digest):
                raise

    def delete(self, name: str) -> None:
        """Remove a model. One that is not there is no error."""
        try:
            self._patiently(lambda: self._client._request_raw("DELETE", "/api/delete", json={"model": name}))
        except Refused as error:
            if error.status != 404:
                raise

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One answer as JSON. Raises Refused, Gone."""
        said = self._patiently(lambda: self._client._request_raw("POST", path, json=dict(body)).json())
        if not isinstance(said, dict):
            raise Refused(200, "its answer is not a JSON object", f"{self.address}{path}")
        if said.get("error"):
            raise Refused(200, words_of(said["error"]), f"{self.address}{path}")
        return said

    def stream(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The parts of a streamed answer; one try. Raises Refused (also for an error line under status 200), Gone."""
        with closing(self._client._request(dict, "POST", path, json={**body, "stream": True}, stream=True)) as parts:
            while True:
                try:
                    part = next(parts)
                except StopIteration:
                    return
                except Exception as error:
                    raise self._sorted(error, path) from error
                yield part

    def wait(self, attempt: int) -> None:
        """Wait before a further try."""
        self._sleep(WAITS[min(attempt, len(WAITS) - 1)])

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _steps(self, path: str, body: Mapping[str, Any], progress: Progress | None) -> None:
        last = ""
        for part in self.stream(path, body):
            last = str(part.get("status") or last)
            if progress is not None:
                progress(one_line(last), _whole(part.get("completed")), _whole(part.get("total")))
        if last != "success":
            raise Gone(f"Ollama stopped in the middle of {path.rpartition('/')[2]}; the last that it said is {one_line(last)!r}.", where=self.address,
                       next_step="Run the same command again: it goes on where it stopped.")

    def _once(self, call: Callable[[], _Made]) -> _Made:
        try:
            return call()
        except Exception as error:
            raise self._sorted(error, "") from error

    def _patiently(self, call: Callable[[], _Made]) -> _Made:
        for attempt in range(len(WAITS)):
            try:
                return self._once(call)
            except Gone:
                self.wait(attempt)
            except Refused as error:
                if error.status not in (429, 502, 503, 504):
                    raise
                self.wait(attempt)
        try:
            return self._once(call)
        except Gone as error:
            error.waited = True
            raise

    def _sorted(self, error: Exception, path: str) -> Exception:
        """What an exception of the client means; one that is our own bug is handed back as it is."""
        import httpx
        from ollama import ResponseError

        where = f"{self.address}{path}"
        if isinstance(error, ResponseError):
            return Refused(error.status_code, words_of(error.error), where)
        if isinstance(error, ConnectionError | httpx.ConnectError):
            return Gone("Ollama does not answer: nobody listens there.", where=self.address, next_step=self._start())
        if isinstance(error, httpx.HTTPError):
            return Gone(f"The connection to Ollama broke: {one_line(str(error)) or type(error).__name__}.", where=where, next_step=self._start())
        if isinstance(error, json.JSONDecodeError | AttributeError | TypeError | UnicodeDecodeError):
            return Refused(200, "its answer is not what Ollama says", where)
        return error

    def _start(self) -> str:
        if urlsplit(self.address).hostname not in _LOCAL:
            return "Start Ollama there (ollama serve), or set OLLAMA_HOST to another address."
        if shutil.which("ollama"):
            return "Start it: ollama serve (in another terminal), then run the same command again."
        return "Install it from https://ollama.com/download, start it: ollama serve; or set OLLAMA_HOST to where it runs."


def _client(address: str, local: bool) -> Any:
    import httpx
    from ollama import Client

    # On this machine a proxy for the outside must not get in between; a key for ollama.com is not told to a plain connection elsewhere.
    client = Client(host=address, timeout=httpx.Timeout(READ, connect=CONNECT), trust_env=not local)
    if not local and address.startswith("http://"):
        client._client.headers.pop("authorization", None)
    return client


def _address(host: str) -> tuple[str, bool]:
    """(the address in full, whether it is this machine). An address to listen on (0.0.0.0) is asked at 127.0.0.1. Raises UsageError."""
    try:
        from ollama._client import _parse_host  # already its import reads OLLAMA_HOST

        address = _parse_host(host.strip())
        name = urlsplit(address).hostname
    except ValueError:
        name = None
    if not name or not re.fullmatch(r"[\w.:%-]+", name) or not address.startswith(("http://", "https://")):
        raise UsageError("OLLAMA_HOST is not an address.", where=host[:100], next_step="Give a host and a port: export OLLAMA_HOST=127.0.0.1:11434")
    if name == "0.0.0.0":
        name, address = "127.0.0.1", address.replace("0.0.0.0", "127.0.0.1", 1)
    return address, name in _LOCAL


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 300 or not name.isprintable():
        raise UsageError("Which of Ollama's models?", where=f"ollama:{name[:80]!r}", next_step="Give its name: ollama:phi3:mini (ollama list shows them)")


def _installed(one: Mapping[str, Any]) -> Installed:
    details = one.get("details") if isinstance(one.get("details"), dict) else {}
    assert isinstance(details, dict)
    return Installed(str(one.get("name") or one.get("model") or ""), str(one.get("digest") or "").removeprefix("sha256:"), _whole(one.get("size")),
                     str(details.get("parent_model") or ""), str(details.get("family") or ""), str(details.get("quantization_level") or ""),
                     str(details.get("parameter_size") or ""))


def same_name(one: str, other: str) -> bool:
    """Whether two names mean one model: case does not count, and `:latest` and the library's place may be left out."""
    return full_name(one) == full_name(other)


def full_name(name: str) -> str:
    """A name as the server looks it up: "phi3" is phi3:latest."""
    name = name.strip().lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _nearest(name: str, has: list[str]) -> str | None:
    import difflib

    family = [one for one in has if full_name(one).partition(":")[0] == full_name(name).partition(":")[0]]
    return family[0] if family else next(iter(difflib.get_close_matches(name, has, 1)), None)


def _parts(path: Path, progress: Progress | None) -> Iterator[bytes]:
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            done += len(part)
            if progress is not None:
                progress("uploading", done, total)
            yield part


def _whole(value: Any) -> int:
    with suppress(ValueError, TypeError, OverflowError):
        return max(0, int(value))
    return 0
