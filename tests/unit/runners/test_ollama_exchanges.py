"""What a real Ollama server said, replayed: whatever it is, it becomes a value or a sentence, never another exception."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from tests.conftest import SHARED
from tests.helpers.ollama_server import DoubleModel, OllamaDouble

from tunelab.errors import TunelabError
from tunelab.runners.ollama import open_ollama
from tunelab.runners.ollama_server import OllamaServer
from tunelab.runners.prompt import Prompt, Sampling

EXCHANGES = SHARED / "ollama" / "exchanges.jsonl"
_OURS = {"/api/version", "/api/tags", "/api/show", "/api/chat", "/api/generate", "/api/pull", "/api/create", "/api/delete"}


def recorded() -> list[dict[str, Any]]:
    if not EXCHANGES.exists():
        pytest.skip("the recorded exchanges of a real Ollama server (../shared/ollama/exchanges.jsonl) are not here")
    return [json.loads(line) for line in EXCHANGES.read_text(encoding="utf-8").splitlines()]


def outcome(double: OllamaDouble, exchange: Mapping[str, Any], server: OllamaServer | None = None) -> Any:
    """What our client makes of a recorded response to a request of this path: a value, or the error that it raises."""
    request = exchange["request"]
    body = request["body"] if isinstance(request.get("body"), dict) else {}
    server = server or OllamaServer(double.url, sleep=lambda _: None)
    runner = open_ollama("smol", server=server)

    def alike(sent: Any) -> bool:  # an answer is no rendered prompt, and neither is what counts tokens
        return not isinstance(sent, dict) or (("_debug_render_only" in sent) == ("_debug_render_only" in body) and sent.get("template") in ("", None))

    double.recorded[request["method"], request["path"]] = {**exchange["response"], "for": alike}
    try:
        return _called(server, runner, request["path"], body)
    except TunelabError as error:
        return error
    finally:
        double.recorded.clear()


def _called(server: OllamaServer, runner: Any, path: str, body: Mapping[str, Any]) -> Any:
    sampling = Sampling(int((body.get("options") or {}).get("num_predict", 0)) or 400)
    match path:
        case "/api/version":
            return OllamaServer(server.address).version
        case "/api/tags":
            return server.installed()
        case "/api/show":
            return open_ollama(str(body.get("model") or "smol").strip() or "smol", server=server).facts()
        case "/api/chat" if "_debug_render_only" in body:
            return runner.fed(_prompt(body)).text
        case "/api/chat":
            return next(runner.answer([_prompt(body)], sampling))
        case "/api/generate" if "_debug_render_only" in body:
            return server.ask(path, body)
        case "/api/generate":
            return next(runner.answer([Prompt("p", (), raw=str(body.get("prompt") or "x"))], sampling))
        case "/api/pull":
            return server.pull("anything")
        case "/api/create":
            return server.create({"model": "x", "from": "smol"})
        case "/api/delete":
            return server.delete("x")
        case _ if path.startswith("/api/blobs/"):
            return server.has_blob(path.rpartition("/")[2])
        case _:
            return server.ask(path, body)


def _prompt(body: Mapping[str, Any]) -> Prompt:
    messages = body.get("messages")
    return Prompt("p", tuple(messages) if isinstance(messages, list) and messages and messages[0].get("content") else ({"role": "user", "content": "hi"},))


def test_every_recorded_exchange_becomes_a_value_or_a_sentence(double: OllamaDouble) -> None:
    found = Counter[str]()
    server = OllamaServer(double.url, sleep=lambda _: None)
    for exchange in recorded():
        if "request" not in exchange:  # facts that were measured, not an exchange
            found["facts"] += 1
            continue
        result = outcome(double, exchange, server)
        name = exchange["name"]
        if isinstance(result, TunelabError):
            assert result.message, name
            assert "\n" not in result.message, name
            assert len(str(result)) < 900, name
        elif "error" in str(exchange["response"].get("json", "")) and exchange["request"]["path"] in _OURS - {"/api/delete"}:
            assert getattr(result, "stop", "error") == "error", (name, result)
        found["error" if isinstance(result, TunelabError) else "value"] += 1
    assert sum(found.values()) == 246
    assert found["value"] > 100


def test_recorded_answers_are_read_to_the_word(double: OllamaDouble) -> None:
    exchanges = {one["name"]: one for one in recorded()}
    streamed = [one for name, one in exchanges.items() if name in ("07_chat_stream", "74_unicode_stream")]
    assert len(streamed) == 2
    for exchange in streamed:
        lines = exchange["response"]["ndjson"]
        answer = outcome(double, exchange)
        assert answer.text == "".join(line["message"]["content"] for line in lines)
        assert (answer.new_tokens, answer.prompt_tokens) == (lines[-1]["eval_count"], lines[-1]["prompt_eval_count"])
        assert answer.stop == "length"


def test_recorded_rendered_prompts_are_read_to_the_letter(double: OllamaDouble) -> None:
    rendered = [one for one in recorded() if "request" in one and one["request"]["path"] == "/api/chat" and "_debug_info" in str(one["response"])]
    assert len(rendered) > 8
    for exchange in rendered:
        assert outcome(double, exchange) == exchange["response"]["json"]["_debug_info"]["rendered_template"]


@pytest.mark.parametrize(("name", "words"), [
    ("70_runner_killed_midstream", "unexpected EOF"), ("90_nocloud_chat_cloud_model", "cloud"), ("74_chat_get_origin", "403"),
    ("74_use_bad_param_model", "must be of type"), ("45_render_tpl-broken", "Parser Error"), ("04_create_bad_template", "template error"),
    ("42_create_truncated_gguf", "exceeds file size"), ("41_create_quant_of_quantized", "only supported for"), ("73_pull_registry_gone", "no model"),
    ("07_chat_missing_model", "ollama pull"), ("05_show_missing", "ollama pull"), ("51_ctx_256_truncate_false", "1251 tokens")])
def test_recorded_failures_keep_their_reason(double: OllamaDouble, name: str, words: str) -> None:
    exchange = next(one for one in recorded() if one["name"] == name)
    result = outcome(double, exchange)
    assert words in (str(result) if isinstance(result, TunelabError) else str(result.details))


def test_what_is_baked_into_a_recorded_model_is_told(double: OllamaDouble) -> None:
    double.add(DoubleModel("Smol-Mixed:V1"))
    exchange = next(one for one in recorded() if one["name"] == "05_show_mixed")
    facts = outcome(double, exchange)
    assert facts["system"] == "You are a pirate. Answer in one short sentence."
    assert facts["stop"] == ["<|im_end|>", "\n\n"]
    assert facts["overruled"] == {"seed": 7, "temperature": 0, "num_ctx": 1024}
    assert facts["messages"]
