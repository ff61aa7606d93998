"""A server that speaks OpenAI's API, on loopback, with every fault that one has: retries, sentences, several questions at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tunelab.errors import ModelError, RunnerError, UsageError
from tunelab.runners.openai import OpenAiRunner, open_openai
from tunelab.runners.prompt import Prompt, Sampling
from tunelab.runners.served import Server

PROMPTS = tuple(Prompt(f"p{n}", ({"role": "user", "content": f"say {n}"},)) for n in range(6))


class Fake:
    """Answers each chat with its last message; `faults` are given first, in turn: a status (with headers and body), or "drop"."""

    def __init__(self) -> None:
        self.faults: list[tuple[int | str, dict[str, str], bytes]] = []
        self.seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.at_once = self.most = 0
        self.lock = threading.Lock()
        self.choice: dict[str, Any] = {"finish_reason": "stop"}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


def _handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            models = self.path == "/v1/models"
            self._json(200 if models else 404, {"data": [{"id": "small"}, {"id": "large"}]} if models else {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with fake.lock:
                fake.seen.append((self.path, body, dict(self.headers)))
                fake.at_once += 1
                fake.most = max(fake.most, fake.at_once)
                fault = fake.faults.pop(0) if fake.faults and self.path.startswith("/v1/") else None
            time.sleep(0.02)
            with fake.lock:
                fake.at_once -= 1
            if fault is not None and fault[0] == "drop":
                self.close_connection = True
                return
            if fault is not None:
                self.send_response(int(fault[0]))
                for key, value in fault[1].items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(fault[2])))
                self.end_headers()
                self.wfile.write(fault[2])
            elif self.path == "/v1/chat/completions":
                text = body["messages"][-1]["content"].removeprefix("say ")
                self._json(200, {"choices": [{"message": {"content": text}, **fake.choice}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})
            elif self.path == "/v1/completions":
                self._json(200, {"choices": [{"text": body["prompt"].upper(), **fake.choice}]})
            else:
                self._json(404, {"error": "no such path"})

        def _json(self, status: int, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


@pytest.fixture
def fake() -> Iterator[Fake]:
    one = Fake()
    yield one
    one.server.shutdown()
    one.server.server_close()


def _runner(fake: Fake, waits: list[float] | None = None) -> OpenAiRunner:
    return OpenAiRunner(Server(fake.url, "Start it.", sleep=(waits if waits is not None else []).append), "small")


def test_answers_come_several_at_once_and_none_is_lost(fake: Fake) -> None:
    answers = {answer.prompt_id: answer for answer in _runner(fake).answer(PROMPTS, Sampling(9, 0.5, 7))}
    assert {name: answer.text for name, answer in answers.items()} == {f"p{n}": str(n) for n in range(6)}
    assert 1 < fake.most <= 4
    asked = next(body for path, body, _ in fake.seen if path == "/v1/chat/completions")
    assert (asked["max_tokens"], asked["temperature"], asked["seed"], asked["model"]) == (9, 0.5, 7, "small")
    assert answers["p0"].prompt_tokens == 5 and answers["p0"].stop == "end"


def test_a_raw_prompt_is_completed_without_a_template(fake: Fake) -> None:
    (answer,) = _runner(fake).answer([Prompt("r", PROMPTS[0].messages, raw="once")], Sampling())
    assert (answer.text, answer.prompt_text) == ("ONCE", "once")


@pytest.mark.parametrize("fault", [(500, {}, b"oops"), (429, {"Retry-After": "3"}, b"{}"), (503, {}, b""), ("drop", {}, b""), (200, {}, b"<html>")])
def test_passing_faults_are_tried_again(fake: Fake, fault: tuple[int | str, dict[str, str], bytes]) -> None:
    fake.faults = [fault, fault]
    waits: list[float] = []
    (answer,) = _runner(fake, waits).answer(PROMPTS[3:4], Sampling())
    assert answer.text == "3" and waits[-1] <= 30
    assert (3.0 in waits) is (fault[0] == 429)


def test_a_fault_that_stays_is_a_sentence(fake: Fake) -> None:
    fake.faults = [(500, {}, b'{"error": {"message": "out of memory"}}')] * 9
    with pytest.raises(RunnerError, match="500: out of memory; tried 5 times"):
        list(_runner(fake).answer(PROMPTS[:1], Sampling()))
    fake.faults = [(401, {}, b"{}")]
    with pytest.raises(RunnerError) as refused:
        list(_runner(fake).answer(PROMPTS[:1], Sampling()))
    assert "OPENAI_API_KEY" in (refused.value.next_step or "")


def test_what_is_no_answer_is_said(fake: Fake) -> None:
    fake.faults = [(200, {}, b'{"choices": []}'), (200, {}, b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}')]
    first, second = (next(iter(_runner(fake).answer(PROMPTS[:1], Sampling()))) for _ in range(2))
    assert (first.stop, second.stop, second.text) == ("error", "length", "")


def test_wrong_names_and_nobody_there(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="large, small") as missing:
        open_openai(f"{fake.url}/v1#medium")
    assert fake.url in (missing.value.next_step or "")
    for text in ("#x", "ftp://a#x", "http://user:pass@h#m"):
        with pytest.raises(UsageError):
            open_openai(text)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(RunnerError, match="nobody answers there"):
        OpenAiRunner(Server("http://127.0.0.1:9", "Start it.", sleep=lambda _: None), "m")


def test_the_key_stays_where_it_is_safe(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    list(open_openai(f"{fake.url}#small").answer(PROMPTS[:1], Sampling()))
    assert fake.seen[0][2]["Authorization"] == "Bearer secret"
    from tunelab.runners.openai import _headers

    assert _headers("http", "example.org") == {} and _headers("https", "example.org") == {"Authorization": "Bearer secret"}
