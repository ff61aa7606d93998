"""What the golden cases cannot show: refusals with file and edit, formats written in the config, and which function reads what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunelab.config import read_config
from tunelab.config.sections.data import Dataset, RowFormat
from tunelab.data.formats import FORMATS, Context, find_format, format_for
from tunelab.data.formats.instructions import columns
from tunelab.data.formats.patterns import fill
from tunelab.data.formats.preference import LOADERS, Judged, find_preference
from tunelab.data.formats.reward import REWARD_TYPES
from tunelab.data.formats.turn_ends import end_tokens, printed_end
from tunelab.data.sample import IGNORE, Origin, Row, Sample
from tunelab.data.templates import SHIPPED, is_known, resolve_template, shipped
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer
from tunelab.errors import ConfigError, DataError

TALK = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "one"}]


def row(values: dict[str, Any]) -> Row:
    return Row(values, Origin(1, "x.jsonl", 7))


def tokenise(tokenizer: TextTokenizer, values: dict[str, Any], *, context: Context | None = None, **options: Any) -> Sample:
    dataset = Dataset(path="x", **options)
    [sample] = format_for(dataset, 1, values)(row(values), dataset, context or Context(tokenizer, 512, False, tokenizer.chat_template))
    return sample


def trained(tokenizer: TextTokenizer, sample: Sample) -> str:
    return tokenizer.decode([label for label in sample.labels if label != IGNORE])


@pytest.mark.parametrize(("values", "options", "words", "step"), [
    ({"instruction": "a"}, {"type": "gpteacher"}, "`instruction` and `response`", "Rename"),
    ({"question": "a", "choices": "b", "solution": "c"}, {"type": "explainchoice"}, "`choices` holds a text", "first"),
    ({"question": "a", "choices": ["b"]}, {"type": "concisechoice"}, "`explanation`", "Rename"),
    ({"instruction": ["a"], "output": "b"}, {"type": "alpaca_instruct"}, "holds a list", "text"),
    ({"q": "a"}, {"type": {"field_instruction": "question"}}, "`question`", "Rename"),
    ({"input_ids": [1, 2], "attention_mask": [1], "labels": [1, 2]}, {"type": "alpaca"}, "2, 1 and 2 entries", "Mend"),
    ({"input_ids": [1, 9999], "attention_mask": [1, 1], "labels": [1, 9999]}, {}, "not in the vocabulary", "Mend"),
    ({"input_ids": [1, 2, 3], "attention_mask": [1, 0, 1], "labels": [1, 2, 3]}, {}, "in the middle", "Mend"),
    ({"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "labels": [6, 7, -100]}, {}, "shifted by one", "Mend"),
    ({"input_ids": [5, 6], "attention_mask": [1, 1], "labels": [-100, 5]}, {}, "neither -100", "Mend"),
    ({"input_ids": "5", "attention_mask": [1], "labels": [1]}, {}, "`input_ids` holds a text", "Mend"),
    ({"conversations": [{"role": "you", "value": "a"}]}, {"type": "pygmalion"}, "Turn 1", "chat_template"),
    ({"conversations": [{"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}]}, {"type": "llama2_chat"}, "turn 1", "chat_template"),
    ({"conversations": []}, {"type": "llama2_chat"}, "no question", "chat_template"),
    ({"messages": []}, {"type": "messages"}, "an empty list", "type"),
    ({"messages": [{"role": "critic", "content": "a"}]}, {"type": "messages"}, "Message 1", "chat_template"),
    ({"messages": [{"role": "user", "content": "a", "train": 1}, {"role": "user", "content": "a"}]}, {"type": "messages"}, "no `train`", "0 or 1"),
    ({"messages": [{"role": "user", "content": "a", "t": "no"}]}, {"type": "chat_template", "message_field_training": "t"}, "true or false", "`t`"),
    ({"messages": [{"role": "user", "content": "a", "d": [{"begin": 0}]}]}, {"type": "chat_template", "message_field_training_detail": "d"},
     "another shape", "begin_offset"),
    ({"messages": TALK, "tools": ["f"]}, {"type": "chat_template"}, "other things than mappings", "schemas"),
    ({"messages": [{"role": "assistant", "content": "a", "tool_calls": [{"function": {"arguments": "{"}}]}]},
     {"type": "chat_template", "message_property_mappings": {"tool_calls": "tool_calls"}}, "not JSON", "Mend")])
def test_rows_that_are_refused(tokenizer: TextTokenizer, values: dict[str, Any], options: dict[str, Any], words: str, step: str) -> None:
    with pytest.raises(DataError) as error:
        tokenise(tokenizer, values, **options)
    assert words in error.value.message and error.value.where == "x.jsonl:7" and step in str(error.value.next_step)


def test_every_type_has_its_columns() -> None:
    assert columns("alpaca") == ("instruction", "output")
    assert columns("alpaca_w_system.load_open_orca") == ("question", "response", "system_prompt")
    assert columns("explainchoice") == ("question", "choices") and columns("creative_acr.load_revise")[-2:] == ("scores", "critiques")
    assert {"alpaca_chat.load", "reflection:chat", "metharme", "messages"} <= set(FORMATS)


def test_who_reads_a_dataset() -> None:
    ids = {"input_ids": [1], "attention_mask": [1], "labels": [1]}
    assert format_for(Dataset(path="x", type="alpaca"), 0, ids) is format_for(Dataset(path="x"), 0, ids)
    assert format_for(Dataset(path="x", type="alpaca"), 0, None) is FORMATS["alpaca"]
    for wanted, values in (("type: alpaca", {"instruction": "a", "output": "b"}), ("type: chat_template", {})):
        with pytest.raises(DataError, match="no `type`") as error:
            format_for(Dataset(path="x"), 2, values)
        assert wanted in str(error.value.next_step) and error.value.where == "datasets[2].type"
    for name, words in (("bradley_terry.chat_template", "reward models"), ("chatml.intel", "preference data"), ("alpaca:load_qa", "not known")):
        with pytest.raises(DataError, match=words):
            find_format(name, 0)
    with pytest.raises(DataError) as dotted:
        find_format("alpaca_chat:load_qa", 0)
    assert dotted.value.next_step == "Write: type: alpaca_chat.load_qa"


@pytest.mark.parametrize("pattern", ["{0}", "{text.__class__}", "{text[0]}", "{text!r}", "{text:>99999999}", "{other}", "{text", "}"])
def test_patterns_take_plain_names_only(pattern: str) -> None:
    with pytest.raises(ConfigError) as error:
        fill(pattern, {"text": "a"}, "datasets[0].type.format")
    assert error.value.where == "datasets[0].type.format" and error.value.next_step
    assert fill("{{{text}}} {text}", {"text": "a{b}"}, "") == "{a{b}} a{b}"


def test_a_format_written_in_the_config(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    head = "base_model: x\nlearning_rate: 0.001\nmicro_batch_size: 1\ndatasets:\n"

    def findings(written: str) -> dict[str, str]:
        path.write_text(f"{head}  - {{path: a.jsonl, type: {written}}}\n", encoding="utf-8")
        return {one.key: one.code for one in read_config(path).findings}

    assert findings("{format: 'Q {instruction}', field_output: a}") == {}
    assert read_config(path).config.data.datasets[0].type == RowFormat(format="Q {instruction}", field_output="a")
    assert findings("{format: 5}") == {"datasets[0].type.format": "TL102"}
    assert findings("{fromat: x}") == {"datasets[0].type.fromat": "TL101"}
    assert findings("5") == {"datasets[0].type": "TL102"}
    findings("chat_template, message_field_role: from, message_property_mappings: {content: value}")
    assert read_config(path).config.data.datasets[0].message_property_mappings == {"role": "from", "content": "value"}


def test_every_template_prints_and_names_its_end(tokenizer: TextTokenizer) -> None:
    for name in SHIPPED:
        text = tokenizer.render(TALK, template=shipped(name))
        assert "red" in text and "one" in text, name
        assert "red" in tokenizer.render(TALK[:1], template=shipped(name), add_generation_prompt=True)
        assert resolve_template(name, None, "own") == shipped(name) and is_known(name)
    assert resolve_template("tokenizer_default_fallback_llama3", None, "own") == "own"
    assert resolve_template("tokenizer_default_fallback_llama3", None, None) == shipped("llama3")
    assert is_known("tokenizer_default_fallback_qwen3") and not is_known("command_a") and not is_known("tokenizer_default_fallback_x")


def test_a_template_with_an_end_of_its_own(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder, tokens=["<end_of_turn>"])
    template = shipped("gemma")
    context = Context(tokenizer, 512, False, template)
    assert printed_end(context) == "<end_of_turn>"
    assert trained(tokenizer, tokenise(tokenizer, {"messages": TALK}, context=context, type="chat_template")) == "one<end_of_turn>"
    none = tokenise(tokenizer, {"messages": TALK}, context=context, type="chat_template", train_on_eot="none")
    assert trained(tokenizer, none) == "one"
    told = Context(tokenizer, 512, False, template, ())
    assert end_tokens(told) == frozenset() and trained(tokenizer, tokenise(tokenizer, {"messages": TALK}, context=told, type="chat_template")) == "one"
    assert printed_end(Context(tokenizer, 512, False, shipped("chatml"))) is None
    with pytest.raises(ConfigError, match="spells with"):
        end_tokens(Context(tokenizer, 512, False, "{{ messages }}</turn>", ("</turn>",)))


def test_parts_as_plain_texts_are_kept(tokenizer: TextTokenizer) -> None:
    messages = [{"role": "assistant", "content": ["on", {"type": "text", "text": "e", "train": True}]}]
    assert trained(tokenizer, tokenise(tokenizer, {"messages": messages}, type="chat_template")) == "one<|im_end|>"


def test_a_null_content_is_the_templates_affair(tokenizer: TextTokenizer) -> None:
    template = "{% for message in messages %}{{ message.content }};{{ message.tool_calls or '' }}{{ eos_token }}{% endfor %}"
    context = Context(tokenizer, 512, False, template)
    sample = tokenise(tokenizer, {"messages": [{"role": "assistant", "content": None}]}, context=context, type="chat_template")
    assert tokenizer.decode(sample.input_ids) == ";<|im_end|>"
    with pytest.raises(DataError, match="has no `content`"):
        tokenise(tokenizer, {"messages": [{"role": "assistant", "text": "a"}]}, context=context, type="chat_template")


def test_nulls_inside_lists_stay(tokenizer: TextTokenizer) -> None:
    template = "{% for message in messages %}{{ message.tool_calls | tojson }}{% endfor %}"
    call = {"function": {"name": "f", "arguments": '{"x": [null, 1], "y": null}'}}
    sample = tokenise(tokenizer, {"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]},
                      context=Context(tokenizer, 512, False, template), type="chat_template")
    assert '[null, 1], "y": null' in tokenizer.decode(sample.input_ids)


@pytest.mark.parametrize(("rl", "options", "values", "words"), [
    ("dpo", {"type": "chatml.intel"}, {"prompt": "a", "chosen": "b", "rejected": "c"}, "`question`"),
    ("dpo", {"type": "chatml.ultra"}, {"prompt": "a", "chosen": "b", "rejected": "c"}, "list of messages"),
    ("dpo", {"type": "chat_template.default"}, {"messages": [{"role": "x", "content": "a"}], "chosen": "b", "rejected": "c"}, "one of user"),
    ("dpo", {}, {"prompt": "a", "chosen": "b", "rejected": None}, "`rejected` holds null"),
    ("dpo", {"type": "zephyr.nectar"}, {"prompt": "a", "answers": [{"rank": 1}]}, "at least two"),
    ("kto", {"type": "chatml.argilla_chat"}, {"completion": "a"}, "two messages"),
    ("kto", {"type": "chatml.intel"}, {"question": "a", "completion": "b", "label": "yes"}, "true (a good answer)"),
    ("kto", {"type": {"field_label": "ok"}}, {"prompt": "a", "completion": "b"}, "`ok`"),
    ("orpo", {"type": "chat_template.argilla"}, {"chosen": [*TALK, *TALK[:1]], "rejected": TALK}, "3 messages")])
def test_preferences_that_are_refused(tokenizer: TextTokenizer, rl: str, options: dict[str, Any], values: dict[str, Any], words: str) -> None:
    dataset = Dataset(path="x", **options)
    with pytest.raises(DataError) as error:
        find_preference(rl, dataset, 1)(row(values), dataset, Context(tokenizer, 512, False, tokenizer.chat_template))
    assert words in error.value.message and error.value.where == "x.jsonl:7" and error.value.next_step


def test_preferences_by_name(tokenizer: TextTokenizer) -> None:
    dataset = Dataset(path="x", type="chatml.intel")
    judged = find_preference("kto", dataset, 0)(row({"question": "a", "completion": "b"}), dataset, Context(tokenizer, 9))
    assert isinstance(judged, Judged) and judged.label is None
    with pytest.raises(DataError, match="rl: kto") as error:
        find_preference("kto", Dataset(path="x", type="zephyr.nectar"), 3)
    assert error.value.where == "datasets[3].type"
    assert set(LOADERS) == {"dpo", "kto", "orpo"} and len(REWARD_TYPES) == 3


def test_steps_and_labels_go_together(tokenizer: TextTokenizer) -> None:
    for values in ({"prompt": "a", "completions": ["b"], "labels": []}, {"prompt": "a", "completions": "b", "labels": [True]}):
        with pytest.raises(DataError, match=r"x\.jsonl:7"):
            REWARD_TYPES["stepwise_supervised"](row(values), Dataset(path="x"), Context(tokenizer, 9))
