"""The local runner: a batch says what one prompt alone says, and switching the adapter off gives the base model back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from tunelab.comparison import compare  # noqa: E402
from tunelab.errors import ModelError, UsageError  # noqa: E402
from tunelab.runners import Prompt, Sampling  # noqa: E402
from tunelab.runners.local import LocalModel, LocalRunner  # noqa: E402

pytestmark = pytest.mark.training
VOCABULARY, EOS, EOT, PAD = 64, 1, 2, 0
ENDS = tuple(range(2, 8))  # so many end tokens that the rows of a batch finish at different steps


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small lose more time in waiting for threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _save(folder: Path, model: Any) -> Path:
    """Logits sharp enough that greedy choices are far apart, and a share of end tokens so that rows stop at different steps."""
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    model.generation_config = transformers.GenerationConfig(eos_token_id=EOS, temperature=0.1, do_sample=True, repetition_penalty=3.0)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    config = transformers.LlamaConfig(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, bos_token_id=3,
                                      eos_token_id=EOS, pad_token_id=PAD, tie_word_embeddings=False)
    return _save(tmp_path_factory.mktemp("llama"), transformers.LlamaForCausalLM(config))


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose attention sees only the last 8 tokens: its cache is cut while it grows."""
    torch.manual_seed(6)
    config = transformers.MistralConfig(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, sliding_window=8,
                                        eos_token_id=EOS, pad_token_id=PAD)
    return _save(tmp_path_factory.mktemp("mistral"), transformers.MistralForCausalLM(config))


@pytest.fixture(scope="module")
def learned_positions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    config = transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=64, eos_token_id=EOS,
                                     bos_token_id=3, tie_word_embeddings=False)
    return _save(tmp_path_factory.mktemp("gpt2"), transformers.GPT2LMHeadModel(config))


@pytest.fixture(scope="module")
def adapter(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA whose B matrices are not zero."""
    torch.manual_seed(9)
    model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(llama), peft.LoraConfig(r=4, target_modules="all-linear"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def _render(prompt: Prompt) -> tuple[str, list[int]]:
    messages = prompt.messages
    text = " ".join(message["content"] for message in messages)
    return text, [int(word) for word in text.split()]


def _decode(ids: list[int]) -> str:
    return " ".join(str(token) for token in ids)


def _model(folder: Path, adapter: Path | None = None, batch_size: int = 16, ends: tuple[int, ...] = (EOT,)) -> LocalModel:
    return LocalModel(folder, adapter=adapter, render=_render, decode=_decode, eos_ids=ends, pad_id=PAD, batch_size=batch_size)


def _prompts(count: int = 24) -> list[Prompt]:
    """Prompts of 1 to 17 tokens."""
    draw = torch.Generator().manual_seed(1)
    lengths = [1 + (7 * index) % 17 for index in range(count)]
    return [Prompt(f"p{index}", ({"role": "user", "content": _decode(torch.randint(4, VOCABULARY, (length,), generator=draw).tolist())},))
            for index, length in enumerate(lengths)]


def _texts(runner: LocalRunner, prompts: Sequence[Prompt], sampling: Sampling) -> dict[str, tuple[str, str]]:
    return {answer.prompt_id: (answer.text, answer.stop) for answer in runner.answer(prompts, sampling)}


def _greedy_without_cache(folder: Path, prompt: Prompt, limit: int) -> str:
    """The definition: the whole sequence through the model for each token, one prompt, no padding, no cache."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = _render(prompt)[1]
    new: list[int] = []
    with torch.inference_mode():
        while len(new) < limit:
            token = int(model(torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax())
            if token in (EOS, *ENDS):
                break
            new.append(token)
    return _decode(new)


@pytest.mark.parametrize("kind", ["llama", "sliding", "learned_positions"])
def test_a_batch_says_what_each_prompt_alone_says(kind: str, request: pytest.FixtureRequest) -> None:
    folder, prompts, sampling = request.getfixturevalue(kind), _prompts(), Sampling(max_new_tokens=20)
    alone = _texts(_model(folder, batch_size=1, ends=ENDS).base_runner(), prompts, sampling)
    for batch_size in (5, 24):
        assert _texts(_model(folder, batch_size=batch_size, ends=ENDS).base_runner(), prompts, sampling) == alone
    for prompt in prompts[:4]:
        assert alone[prompt.id][0] == _greedy_without_cache(folder, prompt, 20)
    if kind == "llama":
        assert len({len(text.split()) for text, _ in alone.values()}) > 3, "rows finish at different steps"
        assert {stop for _, stop in alone.values()} == {"end", "length"}


def test_rows_that_have_finished_leave_the_batch(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, widths = _model(llama, batch_size=24, ends=ENDS), []
    step: Callable[..., Any] = model._next_logits

    def counted(tokens: Any, mask: Any, cache: Any) -> Any:
        widths.append(tokens.shape[0])
        return step(tokens, mask, cache)

    monkeypatch.setattr(model, "_next_logits", counted)
    answers = list(model.base_runner().answer(_prompts(), Sampling(max_new_tokens=40)))
    assert widths[0] == 24 and widths[-1] <= 12 and widths == sorted(widths, reverse=True)
    assert len(widths) == max(answer.new_tokens for answer in answers)


def test_an_answer_holds_all_there_is_to_know(llama: Path) -> None:
    prompts = _prompts()
    answers = {answer.prompt_id: answer for answer in _model(llama).base_runner().answer(prompts, Sampling(max_new_tokens=20))}
    assert set(answers) == {prompt.id for prompt in prompts}
    for prompt in prompts:
        answer = answers[prompt.id]
        assert (answer.prompt_text, answer.prompt_tokens) == (prompt.messages[0]["content"], len(prompt.messages[0]["content"].split()))
        assert answer.seconds > 0 and 1 <= answer.details["batch"] <= 16
        words = answer.text.split()
        assert answer.new_tokens == len(words) + (answer.stop == "end") and not {str(EOS), str(EOT)} & set(words)
        assert (answer.stop == "length") == (len(words) == 20)


def test_the_adapter_off_is_the_base_and_on_is_another_model(llama: Path, adapter: Path) -> None:
    prompts, sampling = _prompts(), Sampling(max_new_tokens=12)
    plain = _texts(_model(llama).base_runner(), prompts, sampling)
    both = _model(llama, adapter)
    assert _texts(both.base_runner(), prompts, sampling) == plain
    tuned = _texts(both.tuned_runner(), prompts, sampling)
    assert tuned != plain
    assert _texts(both.base_runner(), prompts, sampling) == plain, "switching on and off leaves no trace"
    merged = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(llama), adapter).merge_and_unload()
    ids = torch.tensor([_render(prompts[0])[1]])
    assert int(tuned[prompts[0].id][0].split()[0]) == int(merged(ids).logits[0, -1].argmax())


def test_the_two_sides_may_be_asked_by_turns(llama: Path, adapter: Path) -> None:
    prompts, sampling = _prompts(8), Sampling(max_new_tokens=6)
    both = _model(llama, adapter, batch_size=2)
    expected = [_texts(side, prompts, sampling) for side in (both.base_runner(), both.tuned_runner())]
    streams: list[Iterator[Any]] = [side.answer(prompts, sampling) for side in (both.base_runner(), both.tuned_runner())]
    found: list[dict[str, tuple[str, str]]] = [{}, {}]
    for pair in zip(*streams, strict=True):
        for side, answer in enumerate(pair):
            found[side][answer.prompt_id] = (answer.text, answer.stop)
    assert found == expected


def test_an_untrained_adapter_changes_nothing(llama: Path, tmp_path: Path) -> None:
    base = transformers.AutoModelForCausalLM.from_pretrained(llama)
    peft.get_peft_model(base, peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path)
    model, sampling = _model(llama, tmp_path), Sampling(max_new_tokens=8)
    assert _texts(model.tuned_runner(), _prompts(), sampling) == _texts(model.base_runner(), _prompts(), sampling)


def test_sampling_depends_on_the_seed_and_the_prompt_only(llama: Path) -> None:
    prompts, warm = _prompts(), Sampling(max_new_tokens=10, temperature=20.0, seed=1)
    together = _texts(_model(llama).base_runner(), prompts, warm)
    assert _texts(_model(llama, batch_size=5).base_runner(), prompts[::-1], warm) == together
    assert _texts(_model(llama).base_runner(), prompts[3:5], warm) == {prompt.id: together[prompt.id] for prompt in prompts[3:5]}
    assert _texts(_model(llama).base_runner(), prompts, Sampling(10, 20.0, 2)) != together
    twin = [Prompt("other", prompts[0].messages), prompts[0]]
    assert len(set(_texts(_model(llama).base_runner(), twin, warm).values())) == 2


def test_a_prompt_at_the_end_of_the_context(llama: Path) -> None:
    long = [Prompt(f"n{count}", ({"role": "user", "content": _decode([5] * count)},)) for count in (0, 60, 64, 90)]
    answers = {answer.prompt_id: answer for answer in _model(llama).base_runner().answer(long, Sampling(max_new_tokens=50))}
    assert answers["n0"].stop == answers["n64"].stop == answers["n90"].stop == "error"
    assert answers["n90"].details["error"] == "the prompt has 90 tokens and the model's context 64"
    assert answers["n60"].stop in ("end", "length") and answers["n60"].new_tokens <= 4


def test_facts_and_names(llama: Path, adapter: Path) -> None:
    model = _model(llama, adapter)
    base, tuned = model.base_runner("before", template="chatml"), model.tuned_runner()
    assert (base.name, tuned.name) == ("before", "tuned")
    assert base.facts() == {"runner": "local", "model": str(llama), "adapter": None, "dtype": "float32", "device": base.facts()["device"],
                            "stop_ids": [EOS, EOT], "template": "chatml"}
    assert tuned.facts()["adapter"] == str(adapter)


def test_a_comparison_of_the_two_sides(llama: Path, adapter: Path, tmp_path: Path) -> None:
    model = _model(llama, adapter)
    comparison = compare(tmp_path / "c.jsonl", _prompts(), {"base": model.base_runner(), "tuned": model.tuned_runner()}, Sampling(max_new_tokens=5))
    assert comparison.complete and comparison.warnings == ()


def test_what_cannot_be_loaded_is_said(llama: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        _model(tmp_path)
    with pytest.raises(ModelError, match="adapter folder needs"):
        _model(llama, tmp_path)
    with pytest.raises(UsageError, match="batch size"):
        _model(llama, batch_size=0)
    shutil.copy(llama / "config.json", tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        _model(tmp_path)
    other = tmp_path / "other"
    shutil.copytree(adapter, other)
    settings = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**settings, "r": 8}))
    with pytest.raises(ModelError, match="does not fit"):
        _model(llama, other)


def test_weights_that_are_missing_are_not_made_up(llama: Path, adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for source, file, part, said in ((llama, "model.safetensors", "model.norm.weight", "would be random"),
                                     (adapter, "adapter_model.safetensors", "q_proj.lora_B", "lacks some of the weights")):
        folder = tmp_path / source.name
        shutil.copytree(source, folder)
        weights = {name: value for name, value in load_file(folder / file).items() if part not in name}
        save_file(weights, folder / file, metadata={"format": "pt"})
        with pytest.raises(ModelError, match=said):
            _model(*((folder, None) if source is llama else (llama, folder)))
