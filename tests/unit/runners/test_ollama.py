"""Models of an Ollama server: what is asked, what is told, and that nothing is cut, sampled or added in silence. Against a double of our own,
and with TUNELAB_OLLAMA_HOST set against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.helpers.ollama_served import Served
from tests.helpers.ollama_server import DoubleModel, OllamaDouble, tokens

from tunelab.errors import ModelError, RunnerError, UsageError
from tunelab.runners.ollama import OllamaRunner, open_ollama, pull
from tunelab.runners.ollama_server import OllamaServer, same_name
from tunelab.runners.prompt import Answer, Prompt, Sampling

COLOUR = "<|im_start|>user\nName a colour.<|im_end|>\n<|im_start|>assistant\n"


def ask(text: str, name: str = "p") -> Prompt:
    return Prompt(name, ({"role": "user", "content": text},))


def answers(runner: OllamaRunner, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> list[Answer]:
    return list(runner.answer(prompts, sampling or Sampling(16)))


def one(runner: OllamaRunner, text: str = "Name a colour.", sampling: Sampling | None = None) -> Answer:
    return answers(runner, [ask(text)], sampling)[0]


def quick(double: OllamaDouble, name: str = "smol") -> OllamaRunner:
    return open_ollama(name, server=OllamaServer(double.url, sleep=lambda _: None))


# -- answers, on the double and on a real server


def test_an_answer_says_what_the_model_was_fed(served: Served) -> None:
    answer = one(served.open())
    assert answer.text and answer.stop in ("end", "length")
    assert answer.prompt_text == COLOUR
    assert answer.prompt_tokens > 0
    assert len(answer.prompt_ids) in ((answer.prompt_tokens,) if served.double else (answer.prompt_tokens, 0))
    assert 0 < answer.new_tokens <= 16
    assert answer.seconds > 0


def test_greedy_answers_and_fixed_seeds_repeat_and_seeds_differ(served: Served) -> None:
    runner = served.open()
    assert one(runner).text == one(runner).text
    drawn = [one(runner, sampling=Sampling(16, 1.5, seed)).text for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_each_prompt_has_its_answer_in_order(served: Served) -> None:
    prompts = [ask(f"Say the number {number}.", str(number)) for number in range(4)]
    assert [answer.prompt_id for answer in answers(served.open(), prompts, Sampling(4))] == ["0", "1", "2", "3"]


def test_the_answer_is_cut_where_asked_and_that_is_said(served: Served) -> None:
    answer = one(served.open(), "Write a long story about a lighthouse keeper.", Sampling(3))
    assert (answer.stop, answer.new_tokens) == ("length", 3)


def test_text_that_is_no_conversation_is_fed_as_it_is(served: Served) -> None:
    answer = answers(served.open(), [Prompt("r", (), raw="The capital of France is")])[0]
    assert answer.prompt_text == "The capital of France is"
    assert answer.prompt_tokens == 5
    assert len(answer.prompt_ids) in ((5,) if served.double else (5, 0))


def test_a_prompt_longer_than_the_default_context_is_read_in_full(served: Served) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 500
    answer = one(served.open(), long, Sampling(2))
    assert answer.stop == "length"
    assert answer.prompt_tokens > 4900
    assert "truncated" not in answer.details


def test_a_prompt_longer_than_the_model_can_read_is_an_error_and_not_cut(served: Served) -> None:
    runner = served.open()
    first, second = answers(runner, [ask("The quick brown fox jumps over the lazy dog. " * 1000, "long"), ask("Name a colour.", "short")], Sampling(2))
    assert first.stop == "error"
    assert "tokens and the context 8192" in first.details["error"]
    assert second.text


def test_what_is_baked_into_a_model_is_told(served: Served) -> None:
    parameters = {"temperature": 1.5, "stop": ["<|im_end|>", "\n\n"], "num_ctx": 1024}
    name = served.derive("tunelab-test-pirate", system="You are a pirate.", parameters=parameters,
                         messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Arr!"}])
    facts = served.open(name).facts()
    assert facts["system"] == "You are a pirate."
    assert facts["stop"] == ["<|im_end|>", "\n\n"]
    assert facts["overruled"]["temperature"] == 1.5
    assert facts["messages"]
    fed = served.open(name).fed(ask("Name a colour."))
    assert fed.text.startswith("<|im_start|>system\nYou are a pirate.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nArr!")


def test_facts_say_which_model_it_is(served: Served) -> None:
    facts = served.open().facts()
    assert facts["runner"] == "ollama"
    assert len(facts["digest"]) == 12
    assert facts["context"] == 8192
    assert facts["quantisation"] == "Q4_1"
    assert facts["template"].startswith("{{- range .Messages }}<|im_start|>")
    assert facts["version"]


@pytest.mark.parametrize("spelling", ["{}", "{}:latest", "library/{}"])
def test_a_name_is_found_however_it_is_written(served: Served, spelling: str) -> None:
    name = spelling.format(served.name.removesuffix(":latest")).upper().replace("LIBRARY/", "library/")
    assert served.open(name).facts()["digest"] == served.open().facts()["digest"]


def test_a_model_that_is_not_there_comes_with_the_command_that_gets_it(served: Served) -> None:
    with pytest.raises(ModelError, match=r"no model 'no-such-model-xyz'") as caught:
        served.open("no-such-model-xyz")
    assert "ollama pull no-such-model-xyz" in str(caught.value)


@pytest.mark.parametrize("name", ["", "  ", "bad name!", "smol/", "x" * 400, "a\nb", "smol@sha256:abc"])
def test_a_name_that_is_none_is_a_sentence(served: Served, name: str) -> None:
    with pytest.raises((ModelError, UsageError)) as caught:
        served.open(name) if name else open_ollama(name, server=served.server)
    assert caught.value.next_step


def test_an_assistants_last_message_is_not_continued_and_the_fed_text_shows_it(served: Served) -> None:
    prompt = Prompt("p", ({"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "My favourite colour is"}))
    assert served.open().fed(prompt).text.endswith("My favourite colour is<|im_end|>\n<|im_start|>assistant\n")


def test_an_empty_prompt_is_not_sent(served: Served) -> None:
    assert [answer.stop for answer in answers(served.open(), [Prompt("p", ()), Prompt("q", ({"role": "user", "content": ""},))])] == ["error", "error"]


def test_other_writing_comes_through(served: Served) -> None:
    answer = one(served.open(), "Repeat: 日本語 😀 é", Sampling(30))
    assert "日本語 😀 é" in answer.prompt_text


# -- what is asked


def test_the_options_draw_from_the_models_own_distribution(double: OllamaDouble) -> None:
    one(quick(double), sampling=Sampling(7, 0.5, 9))
    body = next(body for body in double.asked("/api/chat") if "_debug_render_only" not in body)
    assert body["options"] == {"temperature": 0.5, "seed": 9, "num_predict": 7, "num_ctx": 2048, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0,
                               "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    assert (body["truncate"], body["shift"], body["stream"], body["keep_alive"]) == (False, False, True, "30m")


def test_every_request_has_the_same_context_so_that_the_model_is_loaded_once(double: OllamaDouble) -> None:
    answers(quick(double), [ask("word " * 10 * number, str(number)) for number in (1, 300, 2)])
    sizes = {body["options"]["num_ctx"] for path in ("/api/chat", "/api/generate") for body in double.asked(path)}
    assert len(sizes) == 1


def test_questions_are_asked_one_at_a_time(double: OllamaDouble) -> None:
    answers(quick(double), [ask(f"number {number}", str(number)) for number in range(8)])
    assert double.most_at_once == 1


def test_an_answer_past_the_context_ends_there_and_that_is_said(double: OllamaDouble) -> None:
    double.add(DoubleModel("small:latest", context=300, says=lambda _: "word " * 500))
    answer = one(quick(double, "small"), sampling=Sampling(400))
    assert answer.stop == "length"
    assert answer.details["cut"] == "the context was full"


# -- servers that tell less


def test_an_old_server_gets_so_much_context_that_it_has_nothing_to_cut(double: OllamaDouble) -> None:
    double.version = "0.5.1"
    answer = one(quick(double), "a b c " * 700)
    assert "truncated" not in answer.details
    assert (answer.prompt_text, len(answer.prompt_ids)) == ("", 0)


def test_what_an_old_server_cuts_all_the_same_is_noticed(double: OllamaDouble) -> None:
    double.version = "0.5.1"
    double.add(DoubleModel("small:latest", context=300))
    assert "was fed 150 tokens" in one(quick(double, "small"), "one two three " * 200).details["truncated"]


def test_a_message_that_the_template_leaves_out_is_noticed(double: OllamaDouble) -> None:
    runner = quick(double)
    double.recorded["POST", "/api/chat"] = {"status": 200, "json": {"message": {"content": ""}, "_debug_info": {"rendered_template": "Name a colour."}}}
    text = runner._text(ask("Name a colour."))
    del double.recorded["POST", "/api/chat"]
    prompt = Prompt("p", ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}))
    assert "lacks 1 of 2 messages (system first)" in runner._lost(prompt, text, 5, 0)


def test_ids_that_do_not_add_up_are_not_told(double: OllamaDouble) -> None:
    runner = quick(double)
    double.recorded["POST", "/api/generate"] = {"status": 200, "json": {"response": "x", "context": [1, 2, 3], "prompt_eval_count": 9, "eval_count": 1}}
    answer = one(runner)
    assert answer.prompt_ids == ()
    assert answer.prompt_tokens == len(tokens(COLOUR))


def test_a_token_that_the_server_adds_in_front_is_told_too(double: OllamaDouble) -> None:
    runner = quick(double)
    runner.model = replace(runner.model, info={**runner.model.info, "tokenizer.ggml.add_bos_token": True})
    double.recorded["POST", "/api/generate"] = {"status": 200, "json": {"response": "x", "context": [7, 8, 9], "prompt_eval_count": 3, "eval_count": 1}}
    assert runner.fed(ask("hi")).ids == (1, 7, 8)


def test_a_token_that_only_a_conversation_is_begun_with_is_told_too(double: OllamaDouble) -> None:
    runner = quick(double)
    runner.model = replace(runner.model, info={**runner.model.info, "tokenizer.ggml.add_bos_token": True})
    known = len(tokens(COLOUR))
    double.recorded["POST", "/api/generate"] = {"status": 200, "json": {
        "response": "x", "context": list(range(100, 100 + known)), "prompt_eval_count": known - 1, "eval_count": 1}}
    answer = one(runner)
    assert answer.prompt_ids == (1, *range(100, 99 + known))
    assert "truncated" not in answer.details


# -- faults


@pytest.mark.parametrize("fault", ["killed", "ends", "drop", "busy", "crash"])
def test_a_crash_is_survived_without_a_lost_or_doubled_answer(double: OllamaDouble, fault: str) -> None:
    double.faults.extend([fault, fault])
    prompts = [ask(f"number {number}", str(number)) for number in range(3)]
    found = answers(quick(double), prompts)
    assert [(answer.prompt_id, answer.stop) for answer in found] == [("0", "end"), ("1", "end"), ("2", "end")]
    assert found[0].text == "I read: user number 0 assistant"


def test_a_server_restarted_in_the_middle_is_survived(double: OllamaDouble) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            double.start()

    runner = open_ollama("smol", server=OllamaServer(double.url, sleep=sleep))
    found = []
    for answer in runner.answer([ask(f"number {number}", str(number)) for number in range(3)], Sampling(16)):
        found.append(answer)
        if len(found) == 1:
            double.stop()
    assert [answer.prompt_id for answer in found] == ["0", "1", "2"]
    assert waited == [0.5, 1.0, 2.0]


def test_a_server_that_stays_away_is_said_with_how_to_start_it(double: OllamaDouble) -> None:
    runner = quick(double)
    double.stop()
    with pytest.raises(RunnerError, match="does not answer") as caught:
        one(runner)
    assert "ollama serve" in str(caught.value)


def test_a_server_that_stays_away_is_waited_for_half_a_minute_and_not_longer(double: OllamaDouble) -> None:
    waited: list[float] = []
    runner = open_ollama("smol", server=OllamaServer(double.url, sleep=waited.append))
    double.stop()
    with pytest.raises(RunnerError):
        one(runner)
    assert 20 < sum(waited) < 60


def test_nobody_there_at_the_start_is_said_at_once() -> None:
    def never(_: float) -> None:
        raise AssertionError("there is nothing to wait for")

    with pytest.raises(RunnerError, match="nobody listens") as caught:
        open_ollama("smol", server=OllamaServer("http://127.0.0.1:9", sleep=never))
    assert "ollama serve" in str(caught.value)


def test_a_model_removed_in_the_middle_is_a_sentence(double: OllamaDouble) -> None:
    runner = quick(double)
    double.models.clear()
    with pytest.raises(ModelError, match="ollama pull smol"):
        one(runner)


def test_a_prompt_that_brings_the_model_down_each_time_is_an_error_and_the_next_is_asked(double: OllamaDouble) -> None:
    double.faults.extend(["crash"] * 3)
    first, second = answers(quick(double), [ask("a", "0"), ask("b", "1")])
    assert (first.stop, second.stop) == ("error", "end")
    assert "unexpected EOF" in first.details["error"]


def test_a_model_that_never_runs_is_given_up_with_the_reason(double: OllamaDouble) -> None:
    double.faults.extend(["memory"] * 9)
    found: list[Answer] = []
    with pytest.raises(RunnerError, match="requires more system memory") as caught:
        for answer in quick(double).answer([ask("a", str(number)) for number in range(5)], Sampling(16)):
            found.append(answer)
    assert found == []  # nothing is recorded that another run would then not ask for
    assert "smaller" in str(caught.value.next_step)


def test_a_prompt_that_brings_the_model_down_at_the_end_is_an_error_too(double: OllamaDouble) -> None:
    double.faults.extend(["", "crash", "crash", "crash"])
    assert [answer.stop for answer in answers(quick(double), [ask("a", "0"), ask("b", "1")])] == ["end", "error"]


def test_an_endless_answer_is_cut_and_said(double: OllamaDouble) -> None:
    double.faults.append("endless")
    answer = one(quick(double))
    assert answer.stop == "length"
    assert "went on past 16 tokens" in answer.details["cut"]


def test_an_answer_that_takes_too_long_is_cut_and_said(double: OllamaDouble) -> None:
    double.faults.append("slow")
    runner = OllamaRunner(OllamaServer(double.url), quick(double).model, seconds=0.2)
    answer = one(runner, sampling=Sampling(1000))
    assert answer.stop == "length"
    assert answer.details["cut"].startswith("cut after 0 seconds")


def test_an_empty_answer_is_an_answer_and_said(double: OllamaDouble) -> None:
    double.faults.append("empty")
    answer = one(quick(double))
    assert (answer.text, answer.stop, answer.details["empty"]) == ("", "end", True)


def test_bytes_that_are_no_text_are_replaced_and_said(double: OllamaDouble) -> None:
    double.faults.append("bytes")
    answer = one(quick(double))
    assert answer.text.endswith("caf\ufffd \ufffd \ufffd")
    assert answer.details["invalid_utf8"]
    answer.text.encode("utf-8")


@pytest.mark.parametrize("fault", ["html", "list"])
def test_an_answer_that_is_not_ollamas_is_an_error(double: OllamaDouble, fault: str) -> None:
    double.faults.extend([fault] * 3)
    with pytest.raises(RunnerError, match="not what Ollama says"):
        one(quick(double))


def test_something_else_on_the_port_is_noticed(double: OllamaDouble) -> None:
    double.recorded["GET", "/api/version"] = {"status": 200, "text": "<html>"}
    with pytest.raises(RunnerError, match="not what Ollama says"):
        quick(double)


def test_a_foreign_address_is_turned_away_with_a_remedy(double: OllamaDouble) -> None:
    double.recorded["GET", "/api/version"] = {"status": 403, "type": None, "text": ""}
    with pytest.raises(RunnerError, match="refuses with status 403") as caught:
        quick(double)
    assert "OLLAMA_HOST" in str(caught.value.next_step)


def test_a_model_that_only_embeds_is_refused(double: OllamaDouble) -> None:
    double.add(DoubleModel("embed:latest", capabilities=("embedding",)))
    with pytest.raises(ModelError, match="does not answer prompts"):
        quick(double, "embed")


# -- pulling, uploading, addresses


def test_pulling_shows_how_far_it_is_and_is_done_once(double: OllamaDouble) -> None:
    double.library["phi3:mini"] = DoubleModel("phi3:mini")
    seen: list[tuple[str, int, int]] = []
    server = OllamaServer(double.url)
    pull("phi3:mini", lambda *one: seen.append(one), server=server)
    pull("phi3:mini", lambda *one: seen.append(one), server=server)
    assert ("pulling 941f309b54ca", 400, 1000) in seen
    assert seen[-1][0] == "success"
    assert len(double.asked("/api/pull")) == 1
    assert open_ollama("phi3:mini", server=server).facts()["model"] == "phi3:mini"


def test_a_pull_that_fails_says_why(served: Served) -> None:
    with pytest.raises(ModelError, match=r"no model|could not be pulled"):
        served.server.pull("no-such-model-xyz")


def test_a_file_is_uploaded_once(served: Served, tmp_path: object) -> None:
    from hashlib import sha256
    from pathlib import Path

    path = Path(str(tmp_path)) / "a.bin"
    path.write_bytes(b"tunelab " * 300_000)
    digest = f"sha256:{sha256(path.read_bytes()).hexdigest()}"
    seen: list[int] = []
    for _ in range(2):
        served.server.upload(path, digest, lambda _, done, total: seen.append(done * 100 // total))
    assert served.server.has_blob(digest)
    assert seen[-1:] == [100] or served.double is None
    assert len(seen) <= 3


@pytest.mark.parametrize(("host", "address"), [("0.0.0.0", "http://127.0.0.1:11434"), ("localhost:1", "http://localhost:1"),
                                               ("https://ollama.example/path/", "https://ollama.example:443/path")])
def test_an_address_is_read_as_ollama_reads_it(host: str, address: str) -> None:
    assert OllamaServer(host).address == address


@pytest.mark.parametrize("host", ["http://a b", "127.0.0.1:notaport", "ftp://x"])
def test_an_address_that_is_none_is_a_sentence(host: str) -> None:
    with pytest.raises(UsageError, match="not an address"):
        OllamaServer(host)


def test_an_address_in_the_environment_that_is_none_is_a_sentence_too() -> None:
    code = "from tunelab.errors import UsageError\n"
    code += "from tunelab.runners.ollama_server import OllamaServer\ntry:\n OllamaServer()\nexcept UsageError: print('ok')"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OLLAMA_HOST": "http://x:yy"}, capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr


def test_a_proxy_for_the_outside_is_not_asked_for_this_machine(double: OllamaDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert OllamaServer(double.url).version == "0.33.0-rc2"


def test_names_are_the_same_however_written() -> None:
    assert same_name("SMOL", "registry.ollama.ai/library/smol:latest")
    assert not same_name("phi3:mini", "phi3")
