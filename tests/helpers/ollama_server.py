"""An Ollama of one's own on loopback, in the behaviour of a real one (0.33): its cuts, its defaults, its ways to fail.

    with OllamaDouble() as double:
        double.add(DoubleModel("smol:latest"))
        runner = open_ollama("smol", server=OllamaServer(double.url))

A "token" is a word, a marker or a mark. `faults` are used up one at a time by what asks for an answer; `recorded` responses (as ../shared/ollama
writes them; `for`: to which bodies) go before all rules.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHATML = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
_TOKEN = re.compile(r"<\|[^|>]{1,40}\|>| ?\w+|\n|\s|[^\w\s]")
_WHOLE = frozenset({"num_ctx", "num_predict", "seed", "top_k"})


def tokens(text: str) -> list[int]:
    """The double's own tokenizer: the ids of a text."""
    return [zlib.crc32(one.encode("utf-8", "replace")) % 49152 for one in _TOKEN.findall(text)]


@dataclass(frozen=True)
class DoubleModel:
    """One model. `says`: the rendered prompt -> the whole answer; `parameters`: as a Modelfile sets them."""

    name: str
    template: str = CHATML
    system: str = ""
    messages: tuple[dict[str, str], ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"stop": ["<|im_start|>", "<|im_end|>"]})
    context: int = 8192
    parent: str = ""
    family: str = "llama"
    quantisation: str = "Q4_1"
    capabilities: tuple[str, ...] = ("completion",)
    files: tuple[str, ...] = ()
    says: Callable[[str], str] = lambda text: "I read: " + " ".join(re.sub(r"<\|[^|>]*\|>", " ", text).split())[-200:]

    @property
    def digest(self) -> str:
        """A checksum of what makes it."""
        return hashlib.sha256(repr((self.template, self.system, self.messages, sorted(self.parameters.items()), self.files)).encode()).hexdigest()


class OllamaDouble:
    """The server. `requests`: (method, path, body) of all that was asked; `limit`: more than so many requests at once are a fault of the client."""

    def __init__(self, version: str = "0.33.0-rc2") -> None:
        self.version = version
        self.models: dict[str, DoubleModel] = {}
        self.blobs: dict[str, bytes] = {}
        self.library: dict[str, DoubleModel] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.faults: deque[str] = deque()
        self.recorded: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.at_once = self.most_at_once = 0
        self.drawn = 0
        self.connections: set[socket.socket] = set()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> OllamaDouble:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Its address, the same after a restart."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen (again)."""
        self._server = _Quiet(("127.0.0.1", self._port), _handler(self))
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and hang up."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            for connection in list(self.connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._server = None

    def add(self, model: DoubleModel) -> DoubleModel:
        """Install a model."""
        self.models[full_name(model.name)] = model
        return model

    def asked(self, path: str) -> list[Any]:
        """The bodies that were sent to a path."""
        return [body for _, one, body in self.requests if one == path]


def full_name(name: str) -> str:
    """A name as the server looks it up."""
    name = name.strip().lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name else f"{name}:latest"


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no error here."""


class _Problem(Exception):
    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


def _handler(double: OllamaDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            double.connections.add(self.connection)

        def finish(self) -> None:
            double.connections.discard(self.connection)
            super().finish()

        def log_message(self, *_: object) -> None:
            pass

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self) -> None:
            self._handle(None)

        def do_HEAD(self) -> None:
            self._handle(None)

        def do_POST(self) -> None:
            raw = self._body()
            if self.path.startswith("/api/blobs/"):
                self._blob(raw)
            else:
                self._handle(raw)

        def do_DELETE(self) -> None:
            self._handle(self._body())

        def _handle(self, raw: bytes | None) -> None:
            body = json.loads(raw) if raw else None
            double.requests.append((self.command, self.path, body))
            recorded = double.recorded.get((self.command, self.path))
            if recorded is not None and recorded.get("for", lambda _: True)(body):
                self._replay(recorded)
                return
            double.at_once += 1
            double.most_at_once = max(double.most_at_once, double.at_once)
            try:
                self._answer(body or {})
            except _Problem as problem:
                self._json(problem.status, {"error": problem.said})
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                double.at_once -= 1

        def _answer(self, body: dict[str, Any]) -> None:
            if self.path == "/api/version":
                self._json(200, {"version": double.version})
            elif self.path == "/api/tags":
                self._json(200, {"models": [_listed(one) for one in double.models.values()]})
            elif self.path == "/api/show":
                self._json(200, _shown(_find(double, body, full=True)))
            elif self.path in ("/api/chat", "/api/generate"):
                self._generate(body, chat=self.path == "/api/chat")
            elif self.path == "/api/pull":
                self._lines(_pulled(double, str(body.get("model"))))
            elif self.path == "/api/create":
                self._lines(_created(double, body))
            elif self.path == "/api/delete":
                del double.models[full_name(_find(double, body).name)]
                self._send(200, b"", "text/plain")
            elif self.path.startswith("/api/blobs/"):
                self._send(200 if self.path.rpartition("/")[2] in double.blobs else 404, b"", "text/plain")
            else:
                self._send(404, b"404 page not found", "text/plain")

        def _generate(self, body: dict[str, Any], *, chat: bool) -> None:
            model = _find(double, body)
            plain = body.get("_debug_render_only") or (not chat and "template" in body)
            fault = double.faults.popleft() if double.faults and not plain else ""
            if self._broken(fault):
                return
            made = _Made(double, model, body, chat=chat)
            if body.get("_debug_render_only") and made.modern:
                self._json(200, made.part("", done=False) | {"_debug_info": {"rendered_template": made.text}})
                return
            if fault == "empty":
                made.words = []
            if body.get("stream", True):
                self._lines(_faulty(fault, made))
            else:
                self._json(200, made.last("".join(made.words)))

        def _broken(self, fault: str) -> bool:
            """Faults in place of an answer."""
            if fault == "busy":
                raise _Problem(503, "server busy, please try again.  maximum pending requests exceeded")
            if fault == "crash":
                raise _Problem(500, "an error was encountered while running the model: unexpected EOF")
            if fault == "memory":
                raise _Problem(500, "model requires more system memory (40.2 GiB) than is available (7.1 GiB)")
            if fault == "html":
                self._send(200, b"<html>another program</html>", "text/html")
            elif fault == "list":
                self._send(200, b"[1, 2]\n", "application/x-ndjson")
            elif fault == "drop":
                self.close_connection = True
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{\"mess")
            else:
                return False
            return True

        def _blob(self, raw: bytes) -> None:
            double.requests.append(("POST", self.path, f"<{len(raw)} bytes>"))
            digest, found = self.path.rpartition("/")[2], f"sha256:{hashlib.sha256(raw).hexdigest()}"
            if digest != found:
                self._json(400, {"error": f'digest mismatch, expected "{digest}", got "{found}"'})
                return
            double.blobs[digest] = raw
            self._send(201, b"", "text/plain")

        def _replay(self, response: Mapping[str, Any]) -> None:
            if "ndjson" in response:
                data = b"".join(json.dumps(one).encode() + b"\n" for one in response["ndjson"])
            else:
                data = json.dumps(response["json"]).encode() if "json" in response else str(response.get("text") or "").encode()
            self._send(response["status"], data, response.get("type") or "text/plain")

        def _lines(self, lines: Iterator[Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in lines:
                data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def _json(self, status: int, value: Any) -> None:
            self._send(status, json.dumps(value).encode(), "application/json; charset=utf-8")

        def _send(self, status: int, data: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    return Handler


class _Made:
    """One answer in the making: the prompt as the model reads it, and the words that it says."""

    def __init__(self, double: OllamaDouble, model: DoubleModel, body: dict[str, Any], *, chat: bool) -> None:
        self.chat, self.name = chat, body["model"]
        self.modern = tuple(int(one) for one in re.findall(r"\d+", double.version)[:3]) >= (0, 12, 6)
        options = {**model.parameters, **(body.get("options") or {})}
        for name in _WHOLE & options.keys():
            if not isinstance(options[name], int | float):
                raise _Problem(500, f'option "{name}" must be of type integer')
        if not isinstance(options.get("temperature", 0.8), int | float):
            raise _Problem(500, 'option "temperature" must be of type float32')
        keep = body.get("keep_alive")
        if isinstance(keep, str) and not re.fullmatch(r"(\d+(ms|s|m|h))+", keep):
            raise _Problem(400, f'time: missing unit in duration "{keep}"')
        self.room = min(max(int(options.get("num_ctx", 4096)), 256), model.context)
        self.raw = bool(body.get("raw"))
        self.context = not chat and not self.raw
        self.text = self._prompt(model, body)
        self.read = tokens(self.text)
        if len(self.read) > self.room:
            if body.get("truncate") is False and self.modern:
                error = {"error": {"code": 400, "message": f"request ({len(self.read)} tokens) exceeds the available context size ({self.room} tokens), "
                                   "try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": len(self.read), "n_ctx": self.room}}
                raise _Problem(400, json.dumps(error))
            self.read = self.read[-self.room // 2:]
        self._say(double, model, options, may_shift=not (body.get("shift") is False and self.modern))

    def _prompt(self, model: DoubleModel, body: dict[str, Any]) -> str:
        if self.raw:
            return str(body.get("prompt") or "")
        template = str(body.get("template") or model.template)
        messages = [dict(one) for one in body.get("messages") or ()] if self.chat else [{"role": "user", "content": body.get("prompt") or ""}]
        if "template" in body:
            return str(body["prompt"]) if template.strip("{}- ") == ".Prompt" else "?"
        messages = [*model.messages, *messages]
        system = model.system if self.chat else body.get("system") or model.system
        if system and not any(one["role"] == "system" for one in messages):
            messages = [{"role": "system", "content": system}, *messages]
        text = _chatml(messages)
        while len(tokens(text)) > self.room and len(messages) > 1 and not (body.get("truncate") is False and self.modern):
            messages = messages[1:]
            text = _chatml(messages)
        return text

    def _say(self, double: OllamaDouble, model: DoubleModel, options: Mapping[str, Any], *, may_shift: bool) -> None:
        whole = model.says(self.text)
        if options.get("temperature", 0.8) and options.get("seed", -1) < 0:
            double.drawn += 1
            whole += f" {double.drawn}"
        elif options.get("temperature", 0.8):
            whole += f" (seed {options['seed']})"
        for stop in options.get("stop") or ():
            whole = whole.partition(stop)[0]
        words = _TOKEN.findall(whole)
        limit = int(options.get("num_predict", -1))
        room = len(words) if may_shift else max(0, self.room - len(self.read))
        most = min(limit if limit > 0 else len(words), room)
        self.words, self.reason = words[:most], "length" if most < len(words) else "stop"

    def part(self, text: str, *, done: bool) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text}} if self.chat else {"response": text}
        return {"model": self.name, "created_at": "2026-11-24T02:41:37.702661328Z", **said, "done": done}

    def last(self, text: str) -> dict[str, Any]:
        final = self.part(text, done=True) | {"done_reason": self.reason, "total_duration": 20_000_000, "load_duration": 1_000_000,
                                              "prompt_eval_count": len(self.read), "prompt_eval_duration": 10_000_000,
                                              "eval_count": len(self.words), "eval_duration": 5_000_000}
        return final | ({"context": [*self.read, *tokens("".join(self.words))]} if self.context else {})


def _faulty(fault: str, made: _Made) -> Iterator[Any]:
    """A streamed answer, with a fault in it."""
    for count, word in enumerate(made.words):
        if fault == "killed" and count == 2:
            yield {"error": "an error was encountered while running the model: unexpected EOF"}
            return
        if fault == "ends" and count == 2:
            return
        yield made.part(word, done=False)
    if fault == "bytes":
        yield b'{"message": {"role": "assistant", "content": "caf\xe9 \xff"}, "done": false}\n'
        yield b'{"message": {"role": "assistant", "content": " \\ud83d"}, "done": false}\n'
    while fault in ("endless", "slow"):
        yield made.part(" more", done=False)
        time.sleep(0.02 if fault == "slow" else 0)
    yield made.last("")


def _chatml(messages: list[dict[str, str]]) -> str:
    return "".join(f"<|im_start|>{one['role']}\n{one.get('content') or ''}<|im_end|>\n" for one in messages) + "<|im_start|>assistant\n"


def _find(double: OllamaDouble, body: Mapping[str, Any], *, full: bool = False) -> DoubleModel:
    name = body.get("model") or body.get("name")
    if not name:
        raise _Problem(400, "model is required")
    if not re.fullmatch(r"[\w.:/-]+[\w]", str(name).strip()):
        raise _Problem(400, "invalid model name")
    found = double.models.get(full_name(str(name)))
    if found is None:
        raise _Problem(404, f"model '{full_name(str(name)) if full else name}' not found")
    return found


def _listed(one: DoubleModel) -> dict[str, Any]:
    return {"name": one.name, "model": one.name, "modified_at": "2026-11-24T02:41:26Z", "size": 98362765, "digest": one.digest, "details": _details(one)}


def _details(one: DoubleModel) -> dict[str, Any]:
    return {"parent_model": one.parent, "format": "gguf", "family": one.family, "families": [one.family], "parameter_size": "134.52M",
            "quantization_level": one.quantisation}


def _shown(one: DoubleModel) -> dict[str, Any]:
    lines = [f"{name:<30} {json.dumps(value)}" for name, values in one.parameters.items() for value in (values if isinstance(values, list) else [values])]
    shown: dict[str, Any] = {"template": one.template, "details": _details(one), "capabilities": list(one.capabilities), "model_info": {
        "general.architecture": one.family, f"{one.family}.context_length": one.context, "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.tokens": None}, "modelfile": f"FROM {one.name}\n"}
    return shown | ({"parameters": "\n".join(lines)} if lines else {}) | ({"system": one.system} if one.system else {}) | (
        {"messages": list(one.messages)} if one.messages else {})


def _pulled(double: OllamaDouble, name: str) -> Iterator[Any]:
    yield {"status": "pulling manifest"}
    found = double.library.get(full_name(name))
    if found is None:
        yield {"error": "pull model manifest: file does not exist"}
        return
    for done in (0, 400, 1000):
        yield {"status": "pulling 941f309b54ca", "digest": "sha256:941f", "total": 1000, "completed": done}
    yield from ({"status": one} for one in ("verifying sha256 digest", "writing manifest"))
    double.add(found)
    yield {"status": "success"}


def _created(double: OllamaDouble, body: Mapping[str, Any]) -> Iterator[Any]:
    """The steps of a creation; what is wrong with the request is raised before the first."""
    base = double.models.get(full_name(str(body.get("from")))) if body.get("from") else None
    files: Mapping[str, str] = body.get("files") or {}
    if not body.get("from") and not files:
        raise _Problem(400, "neither 'from' or 'files' was specified")
    if len(body.get("adapters") or {}) > 1:
        raise _Problem(400, "only one adapter is currently supported")
    template = body.get("template")
    if template is not None and template.count("{{") != template.count("}}"):
        raise _Problem(400, 'template error: template: :1: unexpected "}" in operand')
    return _steps(double, body, base)


def _steps(double: OllamaDouble, body: Mapping[str, Any], base: DoubleModel | None) -> Iterator[Any]:
    files: Mapping[str, str] = {**(body.get("files") or {}), **(body.get("adapters") or {})}
    if base is None and body.get("from"):
        yield {"status": "pulling manifest"}
        yield {"error": "pull model manifest: file does not exist"}
        return
    if files:
        yield {"status": "parsing GGUF"}
        for digest in files.values():
            if digest not in double.blobs:
                yield {"error": f"open MODELS/blobs/{digest.replace(':', '-')}: no such file or directory"}
                return
    made = replace(base or DoubleModel("?"), name=str(body["model"]) if ":" in str(body["model"]) else f"{body['model']}:latest",
                   parent=base.name if base else "", files=tuple(files.values()))
    if base is None and not body.get("template"):
        yield {"status": "using autodetected template chatml"}
    parameters = {**made.parameters, **(body.get("parameters") or {})}
    double.add(replace(made, template=body.get("template") or made.template, system=body.get("system") or made.system, parameters=parameters,
                       messages=tuple(body.get("messages") or made.messages)))
    yield {"status": "writing manifest"}
    yield {"status": "success"}
