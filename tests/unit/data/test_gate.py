"""The gate: each fault is found in real rows with a real tokenizer, with its code, its edit and its first place; clean data passes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunelab.config import Config
from tunelab.config.sections.model import SpecialTokens
from tunelab.data.gate import CODES, GateProblem, gate, known_codes, stopped, stopping
from tunelab.data.prepare import Counts, Prepared, prepare
from tunelab.data.sample import IGNORE, Origin, Sample
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer
from tunelab.errors import UsageError

CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


@pytest.fixture(scope="module")
def smol(smol_folder: Path) -> TextTokenizer:
    return load_tokenizer(smol_folder)


@pytest.fixture
def judged(tmp_path: Path, make_config: Callable[..., Config]) -> Callable[..., list[GateProblem]]:
    """The gate's problems with these rows, written to a file and prepared as a run prepares them."""

    def judge(rows: Sequence[dict[str, Any]], tokenizer: TextTokenizer, dataset: dict[str, Any] | None = None, **keys: Any) -> list[GateProblem]:
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        config = make_config([{"path": str(data), "type": "chat_template", **(dataset or {})}], shuffle_merged_datasets=False, **keys)
        return list(gate(prepare(config, tokenizer), tokenizer, config))

    return judge


def chat(question: str, *answers: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}]
    for answer in answers:
        turns += [{"role": "assistant", "content": answer}, {"role": "user", "content": "Go on."}]
    return {"messages": turns[:-1] if answers else turns}


def chats(count: int, answer: str = "It is number") -> list[dict[str, Any]]:
    return [chat(f"Which number is this, {number}?", f"{answer} {number}.") for number in range(count)]


def only(problems: list[GateProblem]) -> GateProblem:
    [problem] = problems
    assert problem.code in CODES and problem.fix and problem.message.endswith(".")
    return problem


def test_clean_data_passes(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    assert judged(chats(40), smol, val_set_size=0.1) == []
    assert judged([{"instruction": f"Say {n}", "output": f"It is {n}."} for n in range(40)], smol, {"type": "alpaca"}) == []
    assert judged([{"text": f"Once there was a number, and it was {n}. " * (1 + n)} for n in range(12)], smol, {"type": "completion"},
                  sequence_len=64) == []
    assert judged(chats(10), smol, {"chat_template": "chatml"}, adapter="lora", lora_r=8, lora_alpha=16, lora_target_linear=True) == []


def test_rows_with_nothing_to_learn(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    problem = only(judged([*chats(8), chat("Nobody answers."), chat("Nor here.")], smol))
    assert (problem.code, problem.rows, problem.of, problem.stops) == ("empty_mask", 2, 10, True)
    assert [place.row for place in problem.places] == [9, 10] and "roles_to_train" in problem.fix
    few = only(judged([*chats(30), chat("Nobody answers.")], smol))
    assert (few.code, few.stops) == ("empty_mask", False) and "rows.jsonl:31" in few.message


def test_an_end_that_is_never_trained(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    nameless = only(judged([{"segments": [{"text": "a", "label": False}, {"text": f"b{n}", "label": True}]} for n in range(5)],
                           replace(smol, eos_id=None, eos_token=None), {"type": "input_output"}))
    assert nameless.code == "untrained_end" and "names no end-of-text token" in nameless.message
    absent = only(judged([{"segments": [{"text": "a", "label": False}, {"text": f"b{n}", "label": True}]} for n in range(5)], smol,
                         {"type": "input_output"}))
    assert (absent.code, absent.stops, absent.rows) == ("untrained_end", True, 5) and "No row contains" in absent.message
    masked = only(judged([{"segments": [{"text": "a", "label": False}, {"text": f"b{n}", "label": True}, {"text": "<|im_end|>", "label": False}]}
                          for n in range(5)], replace(smol, pad_id=0), {"type": "input_output"}))
    assert masked.code == "untrained_end" and "'<|im_end|>' ends the turns" in masked.message


def test_an_end_that_some_rows_do_not_train(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    rows = [{"segments": [{"text": "a", "label": False}, {"text": f"b{n}" + "<|im_end|>" * (n >= 2), "label": True}]} for n in range(10)]
    problem = only(judged(rows, smol, {"type": "input_output"}))
    assert (problem.code, problem.rows, problem.of, problem.stops) == ("untrained_end", 2, 10, True)
    assert "2 of 10 rows (20 %)" in problem.message and [place.row for place in problem.places] == [1, 2]
    few = only(judged([*rows[1:], *({"segments": [{"text": f"c{n}<|im_end|>", "label": True}]} for n in range(20))], smol, {"type": "input_output"}))
    assert (few.rows, few.of, few.stops) == (1, 29, False)


def test_what_the_config_asks_for_is_said_and_does_not_stop(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    problem = only(judged(chats(5), smol, {"train_on_eos": "none", "chat_template": "chatml"}))
    assert (problem.code, problem.stops) == ("untrained_end", False) and "asks for that" in problem.message


def test_a_template_whose_end_is_not_trained(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    other_end = replace(smol, eos_token="<|endoftext|>", eos_id=smol.token_id("<|endoftext|>"))
    template = CHATML.replace("<|im_end|>", "###")
    bare = only(judged(chats(5), other_end, {"chat_template": "jinja", "chat_template_jinja": template}))
    assert (bare.code, bare.rows, bare.stops) == ("template_end", 5, True)
    assert "'###'" in bare.message and "'<|endoftext|>'" in bare.message and "{{ eos_token }}" in bare.fix
    trained = only(judged(chats(5), other_end, {"chat_template": "chatml"}))
    assert (trained.code, trained.stops) == ("template_end", False) and trained.fix == 'special_tokens: {eos_token: "<|im_end|>"}'


def test_a_template_that_does_not_mark_where_an_answer_begins(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    silent = only(judged(chats(5), smol, {"chat_template": "jinja", "chat_template_jinja": CHATML.partition("{% if")[0]}))
    assert (silent.code, silent.stops) == ("generation_prompt", True) and "ignores add_generation_prompt" in silent.message
    mended = CHATML.partition("{% if")[0] + silent.fix.partition(": ")[2]
    assert judged(chats(5), smol, {"chat_template": "jinja", "chat_template_jinja": mended}) == []
    thinking = CHATML.replace("'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'")
    other = only(judged(chats(5), smol, {"chat_template": "jinja", "chat_template_jinja": thinking}))
    assert (other.code, other.stops) == ("generation_prompt", False) and "<think>" in other.message
    inline = "{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else ' ' + m.content + eos_token }}{% endfor %}"
    assert judged(chats(5), smol, {"chat_template": "jinja", "chat_template_jinja": inline}) == []


def test_template_tokens_that_the_vocabulary_does_not_have(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    template = CHATML.replace("<|im_start|>", "<|start_header_id|>")
    problem = only(judged(chats(5), smol, {"chat_template": "jinja", "chat_template_jinja": template}))
    assert (problem.code, problem.rows) == ("missing_tokens", 5) and "<|start_header_id|>" in problem.message and "pieces" in problem.message
    style = only(judged([{"instruction": f"Say {n}", "output": f"It is {n}."} for n in range(5)], smol, {"type": "alpaca:phi"}))
    assert style.code == "missing_tokens" and all(token in style.message for token in ("<|system|>", "<|user|>", "<|end|>", "<|assistant|>"))
    in_the_data = [{"instruction": f"Say {n}", "output": "It is <|nothing|>."} if n == 3 else {"instruction": f"Say {n}", "output": f"It is {n}."}
                   for n in range(9)]
    assert judged(in_the_data, smol, {"type": "alpaca"}) == []


def test_a_double_bos(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    rows = [{"text": f"{'<|im_start|>' * (2 if n == 4 else 1)}assistant\nIt is {n}.<|im_end|>"} for n in range(9)]
    problem = only(judged(rows, smol, {"type": "completion"}))
    assert (problem.code, problem.rows, problem.of, problem.stops) == ("double_bos", 1, 9, True) and "rows.jsonl:5" in problem.message


def test_answers_that_are_cut(judged: Callable[..., list[GateProblem]], smol: TextTokenizer, make_config: Callable[..., Config]) -> None:
    config = make_config([{"path": "x.jsonl", "type": "chat_template"}], sequence_len=8)
    whole = tuple(Sample((1, 40 + n, 41, smol.eos_id or 0), (IGNORE, 40 + n, 41, smol.eos_id or 0), Origin(0, "x.jsonl", n)) for n in range(18))
    cut = tuple(Sample(tuple(range(50, 58)), (IGNORE, *range(51, 58)), Origin(0, "x.jsonl", 100 + n)) for n in range(2))
    ready = Prepared((*whole, *cut), (), Counts(20, 20, 0, 0, 0, 0), False)
    [problem] = [one for one in gate(ready, smol, config) if one.code != "untrained_end"]
    assert (problem.code, problem.rows, problem.of, problem.stops) == ("truncated", 2, 20, True)
    assert problem.places[0].row == 100 and "sequence_len (8 tokens)" in problem.message
    few = Prepared((*whole, cut[0]), (), Counts(19, 19, 0, 0, 0, 0), False)
    assert [(one.code, one.stops) for one in gate(few, smol, config)] == [("truncated", False)]


def test_long_text_whose_rest_is_not_used(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    problem = only(judged([*({"text": f"It is {n}."} for n in range(200)), {"text": "again and " * 400}], smol, {"type": "completion"}, sequence_len=8))
    assert (problem.code, problem.rows, problem.stops) == ("truncated", 1, False) and "64 x sequence_len" in problem.message


def test_rows_that_are_lost(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    long = chat("Say a lot.", "word " * 80)
    problem = only(judged([*chats(6), long, long], smol, {"chat_template": "chatml"}, sequence_len=48))
    assert (problem.code, problem.rows, problem.of, problem.stops) == ("rows_lost", 2, 8, True)
    assert "2 longer than sequence_len (48 tokens)" in problem.message and [place.row for place in problem.places] == [7, 8]
    few = only(judged([*chats(20), long], smol, {"chat_template": "chatml"}, sequence_len=48))
    assert (few.rows, few.stops) == (1, False)


def test_held_out_rows_that_are_trained_on(judged: Callable[..., list[GateProblem]], smol: TextTokenizer) -> None:
    rows = chats(20)
    problem = only(judged([*rows[:18], rows[3], rows[19]], smol, val_set_size=2))
    assert (problem.code, problem.rows, problem.of, problem.stops) == ("overlap", 1, 2, True) and problem.places[0].row == 19
    many = chats(40)
    few = only(judged([*many[:20], rows[3], *many[21:]], smol, val_set_size=20))
    assert (few.code, few.rows, few.of, few.stops) == ("overlap", 1, 20, False)


def test_an_end_masked_as_padding(smol: TextTokenizer) -> None:
    end = smol.eos_id or 0
    rows = tuple(Sample((50, 51 + n, 52, end), (IGNORE, 51 + n, 52, IGNORE), Origin(0, "x.jsonl", n)) for n in range(4))
    ready = Prepared(rows, (), Counts(4, 4, 0, 0, 0, 0), False)
    assert smol.pad_id == end
    problem = only(list(gate(ready, smol)))
    assert (problem.code, problem.rows, problem.of, problem.stops) == ("pad_is_end", 4, 4, True) and "pad_token" in problem.fix
    assert [one.code for one in gate(ready, replace(smol, pad_id=0))] == ["untrained_end"]


def test_padding_that_carries_loss(smol: TextTokenizer) -> None:
    end = smol.eos_id or 0
    good = Sample((50, 51, end, end, end), (IGNORE, 51, end, end, end), Origin(0, "x.jsonl", 1))
    padded = Sample((50, 51, end, end, end, end), (IGNORE, 51, end, end, end, end), Origin(0, "x.jsonl", 2))
    problem = only(list(gate(Prepared((good, padded), (), Counts(2, 2, 0, 0, 0, 0), False), smol)))
    assert (problem.code, problem.rows, problem.of) == ("trained_padding", 1, 2) and problem.places[0].row == 2


def test_new_tokens_that_the_adapter_does_not_train(judged: Callable[..., list[GateProblem]], smol_folder: Path) -> None:
    lora = {"adapter": "lora", "lora_r": 8, "lora_alpha": 16, "lora_target_linear": True}
    tokenizer = load_tokenizer(smol_folder, special_tokens=SpecialTokens(additional_special_tokens=["<|tool|>"]))
    rows = [*chats(4), chat("Use the tool.", "<|tool|> It is done.")]
    problem = only(judged(rows, tokenizer, **lora))
    assert (problem.code, problem.rows, problem.of, problem.stops) == ("untrained_tokens", 1, 5, True)
    assert problem.places[0].row == 5 and "<|tool|>" in problem.message and "lora_modules_to_save" in problem.fix
    assert judged(rows, tokenizer, **lora, lora_modules_to_save=["embed_tokens", "lm_head"]) == []
    assert judged(rows, tokenizer) == []
    assert judged(chats(5), tokenizer, **lora) == []


def test_problems_are_allowed_by_name_only() -> None:
    grave, other = GateProblem("overlap", "It is so.", "Do this", 1, 2), GateProblem("double_bos", "So is this.", "Do that.", 1, 2)
    warning = GateProblem("truncated", "A little.", "Raise it", 1, 50, stops=False)
    assert stopping([grave, warning, other]) == (grave, other)
    assert stopping([grave, other], known_codes(["overlap"])) == (other,)
    error = stopped([grave, other], "my.yml", frozenset({"rows_lost"}))
    assert error.exit_code == 2 and "[overlap] It is so. [double_bos] So is this." in error.message
    assert "Do this. " in str(error.next_step) and "tunelab train my.yml --allow rows_lost,overlap,double_bos" in str(error.next_step)
    with pytest.raises(UsageError, match="all_of_it"):
        known_codes(["all_of_it"])
