"""Each dataset type: prompt text, which tokens carry loss, and the sentence for rows that are not of the type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunelab.config.sections.data import Dataset
from tunelab.data.formats import FORMATS, Context, find_format
from tunelab.data.formats.completion import was_cut
from tunelab.data.sample import IGNORE, Origin, Row, Sample
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer
from tunelab.data.type_names import TYPES
from tunelab.errors import ConfigError, DataError


def tokenise(tokenizer: TextTokenizer, values: dict[str, Any], *, length: int = 4096, on_inputs: bool = False,
             **options: Any) -> list[Sample]:
    dataset = Dataset(path="x", **options)
    context = Context(tokenizer, length, on_inputs, tokenizer.chat_template)
    return FORMATS[str(dataset.type)](Row(values, Origin(0, "x.jsonl", 7)), dataset, context)


def marked(tokenizer: TextTokenizer, sample: Sample) -> str:
    """The row's text with what is trained in {braces}."""
    text, inside = "", False
    for piece, label in zip(tokenizer.pieces(sample.input_ids), sample.labels, strict=True):
        if (label != IGNORE) != inside:
            text, inside = text + "{}"[inside], not inside
        text += piece
    return text + "}" * inside


def refusal(tokenizer: TextTokenizer, values: dict[str, Any], **options: Any) -> DataError:
    with pytest.raises(DataError) as error:
        tokenise(tokenizer, values, **options)
    assert error.value.where == "x.jsonl:7" and error.value.next_step
    return error.value


def test_alpaca_styles(tokenizer: TextTokenizer) -> None:
    row = {"instruction": "Say", "input": "", "output": "red"}
    [plain] = tokenise(tokenizer, row, type="alpaca")
    assert marked(tokenizer, plain).endswith("request.\n\n### Instruction:\nSay\n\n### Response:\n{red<|im_end|>}")
    [chat] = tokenise(tokenizer, {**row, "input": "it"}, type="alpaca:chat")
    assert marked(tokenizer, chat).endswith("USER: Say\nit\nASSISTANT:{red<|im_end|>}")
    [phi] = tokenise(tokenizer, {**row, "input": "it"}, type="alpaca:phi")
    assert "<|user|>\nSay<|end|>it<|assistant|>{red" in marked(tokenizer, phi)
    assert tokenise(tokenizer, row, type="alpaca:instruct") == [plain]


def test_alpaca_trains_the_prompt_only_when_asked(tokenizer: TextTokenizer) -> None:
    row = {"instruction": "Say {this}", "output": "red"}
    [sample] = tokenise(tokenizer, row, type="alpaca", on_inputs=True)
    assert sample.labels == sample.input_ids
    assert "Say {this}" in tokenizer.decode(sample.input_ids)


def test_alpaca_without_an_answer_teaches_nothing(tokenizer: TextTokenizer) -> None:
    for answer in ("", None):
        [sample] = tokenise(tokenizer, {"instruction": "Say", "output": answer}, type="alpaca")
        assert sample.supervised == 0 and tokenizer.eos_id not in sample.input_ids


def test_completion_is_cut_into_pieces_with_one_end(tokenizer: TextTokenizer) -> None:
    samples = tokenise(tokenizer, {"text": "red green blue " * 20}, type="completion", length=16)
    assert [len(sample.input_ids) for sample in samples[:-1]] == [16] * (len(samples) - 1)
    assert all(sample.labels == sample.input_ids for sample in samples)
    whole = [token for sample in samples for token in sample.input_ids]
    assert whole.count(tokenizer.eos_id or -1) == 1 and whole[-1] == tokenizer.eos_id
    assert tokenise(tokenizer, {"text": ""}, type="completion") == []
    assert marked(tokenizer, tokenise(tokenizer, {"body": "red"}, type="completion", field="body")[0]) == "{red<|im_end|>}"


def test_a_completion_beyond_64_pieces_is_known_to_be_cut(tokenizer: TextTokenizer) -> None:
    context = Context(tokenizer, 2)
    for words, expected in ((127, False), (128, True), (300, True)):
        samples = tokenise(tokenizer, {"text": "<|im_start|>" * words}, type="completion", length=2)
        assert len(samples) == 64 and was_cut(samples, context) is expected


def test_input_output_adds_nothing(tokenizer: TextTokenizer) -> None:
    segments = [{"label": False, "text": "say "}, {"label": True, "text": "red"}]
    assert marked(tokenizer, tokenise(tokenizer, {"segments": segments}, type="input_output")[0]) == "say {red}"
    assert marked(tokenizer, tokenise(tokenizer, {"segments": segments}, type="input_output", on_inputs=True)[0]) == "{say red}"


TALK = [{"role": "system", "content": "brief"}, {"role": "user", "content": "red"}, {"role": "assistant", "content": "one"},
        {"role": "user", "content": "blue"}, {"role": "assistant", "content": "two"}]
HEAD = "<|im_start|>"


@pytest.mark.parametrize(("options", "expected"), [
    ({}, "system\nbrief$\n@user\nred$\n@assistant\n{one$}\n@user\nblue$\n@assistant\n{two$}\n"),
    ({"train_on_eos": "none"},
     "system\nbrief$\n@user\nred$\n@assistant\n{one}$\n@user\nblue$\n@assistant\n{two}$\n"),
    ({"train_on_eos": "last"},
     "system\nbrief$\n@user\nred$\n@assistant\n{one}$\n@user\nblue$\n@assistant\n{two$}\n"),
    ({"train_on_eos": "all"},
     "system\nbrief{$}\n@user\nred{$}\n@assistant\n{one$}\n@user\nblue{$}\n@assistant\n{two$}\n"),
    ({"roles_to_train": ["human"]},
     "system\nbrief$\n@user\n{red$}\n@assistant\none$\n@user\n{blue$}\n@assistant\ntwo$\n"),
    ({"roles_to_train": []},
     "system\nbrief$\n@user\nred$\n@assistant\none$\n@user\nblue$\n@assistant\ntwo$\n"),
    ({"drop_system_message": True},
     "user\nred$\n@assistant\n{one$}\n@user\nblue$\n@assistant\n{two$}\n")])
def test_turns_that_are_trained(tokenizer: TextTokenizer, options: dict[str, Any], expected: str) -> None:
    [sample] = tokenise(tokenizer, {"messages": TALK}, type="chat_template", **options)
    assert marked(tokenizer, sample) == HEAD + expected.replace("@", HEAD).replace("$", "<|im_end|>")


def test_sharegpt_data_with_its_mappings(tokenizer: TextTokenizer) -> None:
    row = {"conversations": [{"from": "human", "value": "red"}, {"from": "gpt", "value": "one"}], "system": "brief"}
    [sample] = tokenise(tokenizer, row, type="chat_template", field_messages="conversations",
                        message_property_mappings={"role": "from", "content": "value"})
    assert marked(tokenizer, sample).endswith("user\nred<|im_end|>\n<|im_start|>assistant\n{one<|im_end|>}\n")
    assert tokenizer.decode(sample.input_ids).startswith("<|im_start|>system\nbrief<|im_end|>")


def test_own_role_names_and_text_parts(tokenizer: TextTokenizer) -> None:
    row = {"messages": [{"role": "person", "content": [{"type": "text", "text": "re"}, {"type": "text", "text": "d"}]},
                        {"role": "model", "content": "one"}]}
    [sample] = tokenise(tokenizer, row, type="chat_template", roles={"assistant": ["model"], "user": ["person"]})
    assert marked(tokenizer, sample) == "<|im_start|>user\nred<|im_end|>\n<|im_start|>assistant\n{one<|im_end|>}\n"


def test_messages_as_json_text(tokenizer: TextTokenizer) -> None:
    [sample] = tokenise(tokenizer, {"messages": '[{"role": "assistant", "content": "one"}]'}, type="chat_template")
    assert marked(tokenizer, sample) == "<|im_start|>assistant\n{one<|im_end|>}\n"
    assert "not JSON" in refusal(tokenizer, {"messages": "[{"}, type="chat_template").message


def test_text_like_the_stand_ins_and_the_template_is_found(tokenizer: TextTokenizer) -> None:
    for text in ("[[dummy_message]]", "zzdummymessagezz", "[z]z", "assistant\n", "<|im_start|>", "]] zz"):
        [sample] = tokenise(tokenizer, {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]},
                            type="chat_template")
        assert marked(tokenizer, sample).endswith("<|im_start|>assistant\n{" + text + "<|im_end|>}\n")


def test_tool_calls_and_reasoning_are_the_models_own_words(tokenizer: TextTokenizer) -> None:
    template = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.thought %}({{ m.thought }}){% endif %}{{ m.content }}"
                "{% for call in m.tool_calls or [] %}{{ call.function.arguments | tojson }}{% endfor %}<|im_end|>\n{% endfor %}")
    row = {"messages": [{"role": "assistant", "content": "one", "thought": "why", "extra": "no",
                         "tool_calls": [{"function": {"name": "f", "arguments": '{"x": 1}'}}]}]}
    dataset = Dataset(path="x", type="chat_template")
    [sample] = FORMATS["chat_template"](Row(row, Origin(0, "x", 1)), dataset, Context(tokenizer, 512, False, template))
    text = tokenizer.decode(sample.input_ids)
    assert text == '<|im_start|>assistant\n(why)one{"x": 1}<|im_end|>\n'
    trained = tokenizer.decode([label for label in sample.labels if label != IGNORE])
    assert trained.endswith('why)one{"x": 1}<|im_end|>') and "assistant" not in trained


@pytest.mark.parametrize(("values", "options", "words", "step"), [
    ({"prompt": "a", "completion": "b"}, {"type": "alpaca"},
     "`instruction` and `output`; this row has `prompt` and `completion`", "Rename"),
    ({"messages": TALK}, {"type": "alpaca"}, "`instruction`", "type: chat_template"),
    ({"conversations": [{"from": "human", "value": "a"}]}, {"type": "alpaca"}, "`conversations`", "{role: from, content: value}"),
    ({"instruction": "a", "output": "b"}, {"type": "chat_template"}, "is not there", "type: alpaca"),
    ({"instruction": "a", "output": 4}, {"type": "alpaca"}, "`output` holds a number", "text"),
    ({"instruction": None, "output": "b"}, {"type": "alpaca"}, "`instruction` holds null", "text"),
    ({"conversations": [{"from": "human", "value": "a"}]}, {"type": "chat_template", "field_messages": "conversations"}, "no `role`",
     "type: chat_template, field_messages: conversations, message_property_mappings: {role: from, content: value}"),
    ({"conversations": [{"from": "human", "value": "a"}]}, {"type": "chat_template"}, "is not there", "{role: from, content: value}"),
    ({"messages": None}, {"type": "chat_template"}, "holds nothing", "field_messages"),
    ({"messages": ["hi"]}, {"type": "chat_template"}, "Message 1", "role"),
    ({"messages": [{"role": "user"}]}, {"type": "chat_template"}, "has no `content`", "message_property_mappings"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, {"type": "chat_template"}, "not text", "Leave out"),
    ({"messages": [{"role": "system", "content": "a"}]}, {"type": "chat_template", "drop_system_message": True},
     "Nothing is left", "Leave"),
    ({"body": "a"}, {"type": "completion"}, "`text`", "field: COLUMN"),
    ({"segments": "a"}, {"type": "input_output"}, "expected a list", "label"),
    ({"segments": [{"text": "a"}]}, {"type": "input_output"}, "Segment 1", "label")])
def test_rows_of_another_shape(tokenizer: TextTokenizer, values: dict[str, Any], options: dict[str, Any], words: str, step: str) -> None:
    error = refusal(tokenizer, values, **options)
    assert words in error.message
    assert step in str(error.next_step)


@pytest.mark.parametrize(("name", "edit"), [
    ("alpca", "type: alpaca"), ("chat-template", "type: chat_template"), ("alpaca:chatlm", "type: alpaca:chatml"),
    ("chatml", "type: chat_template"), ("text", "type: completion"), ("sharegpt.load_role", "field_messages: conversations"),
    ("zzz", "type: chat_template")])
def test_unknown_types_come_with_the_edit(name: str, edit: str) -> None:
    with pytest.raises(DataError) as error:
        find_format(name, 1)
    assert edit in str(error.value.next_step) and error.value.where == "datasets[1].type"
    assert sorted([*TYPES, "pretrain"]) == sorted(FORMATS)


def test_a_tokenizer_without_template_says_so(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ConfigError, match="no chat template"):
        FORMATS["chat_template"](Row({"messages": TALK}, Origin(3, "x", 1)), Dataset(path="x", type="chat_template"), Context(tokenizer, 9))


def test_alpaca_keeps_one_bos(tokenizer_folder: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.backend.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    [sample] = tokenise(tokenizer, {"instruction": "Say", "output": "red"}, type="alpaca")
    assert sample.input_ids[0] == tokenizer.bos_id and sample.input_ids.count(1) == 1


def spaced(tokenizer: TextTokenizer, before_end: str, messages: list[dict[str, str]]) -> str:
    """The row, marked, in a template that prints something between a turn's text and its end."""
    template = "{% for m in messages %}{{ m.role }}:{{ m.content }}" + before_end + "<|im_end|>{% endfor %}"
    dataset = Dataset(path="x", type="chat_template")
    [sample] = FORMATS["chat_template"](Row({"messages": messages}, Origin(0, "x", 1)), dataset, Context(tokenizer, 512, False, template))
    return marked(tokenizer, sample)


def test_the_end_belongs_to_a_turn_when_it_is_near(tokenizer: TextTokenizer) -> None:
    messages = [{"role": "assistant", "content": "one"}]
    assert spaced(tokenizer, "\n", messages) == "assistant:{one}\n{<|im_end|>}"
    assert spaced(tokenizer, "\n\n\n", messages) == "assistant:{one}\n\n\n{<|im_end|>}"
    assert spaced(tokenizer, "\n\n\n\n", messages) == "assistant:{one}\n\n\n\n<|im_end|>"


def test_an_empty_answer_teaches_nothing_not_even_to_stop(tokenizer: TextTokenizer) -> None:
    template = "{% for m in messages %}{{ eos_token }}{{ m.content }}{% endfor %}{{ last }}"
    dataset = Dataset(path="x", type="chat_template")
    row = Row({"messages": [{"role": "assistant", "content": ""}]}, Origin(0, "x", 1))
    [sample] = FORMATS["chat_template"](row, dataset, Context(tokenizer, 512, False, template))
    assert (sample.input_ids, sample.labels) == ((2,), (IGNORE,))
