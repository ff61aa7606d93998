"""Where rows come from: streams, old spellings, made-up rows, duplicates (TL33x)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect.effective import whole
from tunelab.planning.rules.registry import Context, rule

_SYNTHETIC = "datasets: [{path: synthetic, type: _synthetic, "


@rule("TL330", Severity.WARNING, title="pretraining_dataset streams without saying so",
      why="It is still read as a stream; a later version of Axolotl reads it whole unless streaming is written, which a corpus may not "
          "survive.",
      bad="pretraining_dataset: [{path: org/corpus}]\nmax_steps: 100",
      good="pretraining_dataset: [{path: org/corpus}]\nstreaming: true\nmax_steps: 100")
def unspoken_stream(context: Context) -> Iterator[Finding]:
    """pretraining_dataset and no streaming: true."""
    if context.raw.truthy("pretraining_dataset") and not context.raw.truthy("streaming"):
        yield context.finding("`pretraining_dataset` is read as a stream, and `streaming` does not say so.", "pretraining_dataset",
                              expected="streaming: true", fix="streaming: true")


@rule("TL331", Severity.ERROR, title="Two names for one field of a message",
      why="message_field_role and message_field_content are old spellings of an entry of message_property_mappings; here the two differ.",
      bad=("datasets: [{path: a.jsonl, type: chat_template, message_field_role: from, message_property_mappings: {role: speaker}}]",
           "datasets: [{path: a.jsonl, type: chat_template, message_field_content: value, message_property_mappings: {content: text}}]"),
      good="datasets: [{path: a.jsonl, type: chat_template, message_property_mappings: {role: from, content: value}}]")
def two_message_fields(context: Context) -> Iterator[Finding]:
    """An old message_field_* contradicts message_property_mappings."""
    for index, dataset in _supervised(context.raw):
        mappings = dataset.get("message_property_mappings")
        for name in ("role", "content"):
            old = f"message_field_{name}"
            if old in dataset and isinstance(mappings, Mapping) and name in mappings and mappings[name] != dataset[old]:
                yield context.finding(f"`{old}` says {dataset[old]}, `message_property_mappings` says {mappings[name]}.", "datasets", index, old,
                                      expected="one of the two", fix=f"delete `{old}`")


@rule("TL332", Severity.WARNING, title="A dataset's own template that Axolotl does not read",
      why="For type: chat_template Axolotl first fills in chat_template: tokenizer_default, and then chat_template_jinja is not looked at. "
          "tunelab takes the template that is written, so the two train on different texts.",
      bad="datasets: [{path: a.jsonl, type: chat_template, chat_template_jinja: mine.jinja}]",
      good="datasets: [{path: a.jsonl, type: chat_template, chat_template: jinja, chat_template_jinja: mine.jinja}]")
def unread_dataset_template(context: Context) -> Iterator[Finding]:
    """chat_template_jinja of a chat_template dataset without chat_template: jinja."""
    for index, dataset in _supervised(context.raw):
        if dataset.get("type") == "chat_template" and dataset.get("chat_template_jinja") and not dataset.get("chat_template"):
            yield context.finding("Axolotl reads `chat_template_jinja` of a dataset only beside `chat_template: jinja`.", "datasets", index,
                                  "chat_template_jinja", expected="chat_template: jinja", fix="chat_template: jinja")


@rule("TL333", Severity.ERROR, title="Made-up rows that cannot be made",
      why="The number of turns is drawn between min_turns and max_turns, and the fewest turns have to fit into a row.",
      bad=(f"{_SYNTHETIC}min_turns: 4, max_turns: 4}}]", f"{_SYNTHETIC}max_turns: 4, min_turn_length: 64, sequence_length: 32}}]"),
      good=f"{_SYNTHETIC}min_turns: 2, max_turns: 4, sequence_length: 512}}]")
def impossible_turns(context: Context) -> Iterator[Finding]:
    """min_turns, max_turns and sequence_length of a _synthetic dataset do not go together."""
    for index, raw in _synthetic(context.raw):
        least, most, length = whole(raw, "min_turns", 1) or 1, whole(raw, "max_turns", 1) or 1, whole(raw, "sequence_length")
        if least > 1 and most <= least:
            yield context.finding(f"`max_turns` is {most} and `min_turns` {least}: rows of several turns need a larger `max_turns`.",
                                  "datasets", index, "max_turns" if raw.written("max_turns") else "min_turns",
                                  expected=f"more than {least}", fix=f"max_turns: {least + 1}")
        prompts = (raw.number("input_fraction") or 0) > 0
        needed = least * max(whole(raw, "min_turn_length", 32) or 32, 2 if prompts or most > 1 else 1)
        if length is not None and (most > 1 or prompts) and length < needed:
            yield context.finding(f"`sequence_length` is {length}; the fewest turns take {needed} tokens.", "datasets", index,
                                  "sequence_length", expected=f"at least {needed}", fix=f"sequence_length: {needed}")


@rule("TL334", Severity.NOTE, title="Made-up turns are a quarter prompt",
      why="With several turns Axolotl no longer trains on every token: input_fraction becomes 0.25 where it is not written.",
      bad=f"{_SYNTHETIC}max_turns: 4}}]", good=f"{_SYNTHETIC}max_turns: 4, input_fraction: 0}}]")
def quarter_prompt(context: Context) -> Iterator[Finding]:
    """A _synthetic dataset of several turns without input_fraction."""
    for index, raw in _synthetic(context.raw):
        if (whole(raw, "max_turns", 1) or 1) > 1 and "input_fraction" not in raw.values:
            yield context.finding("`max_turns` above 1 makes a quarter of each turn a prompt, without loss.", "datasets", index, "max_turns",
                                  expected="input_fraction", fix="input_fraction: 0.25")


@rule("TL335", Severity.ERROR, title="push_dataset_to_hub without hf_use_auth_token",
      why="The prepared rows go to your account on the hub, and Axolotl sends your token along only when that is written.",
      bad="push_dataset_to_hub: me/rows", good="push_dataset_to_hub: me/rows\nhf_use_auth_token: true")
def push_without_token(context: Context) -> Iterator[Finding]:
    """push_dataset_to_hub without hf_use_auth_token: true."""
    if context.raw.truthy("push_dataset_to_hub") and context.raw.get("hf_use_auth_token") is not True:
        yield context.finding("`push_dataset_to_hub` needs `hf_use_auth_token: true`.", "push_dataset_to_hub",
                              expected="hf_use_auth_token: true", fix="hf_use_auth_token: true")


@rule("TL336", Severity.ERROR, title="Held-out rows given twice",
      why="test_datasets brings rows to evaluate on, val_set_size takes them from the training rows; only one of them can be evaluated.",
      bad="test_datasets: [{path: test.jsonl, type: alpaca}]\nval_set_size: 0.1\neval_steps: 10",
      good="test_datasets: [{path: test.jsonl, type: alpaca}]\neval_steps: 10")
def held_out_twice(context: Context) -> Iterator[Finding]:
    """test_datasets and val_set_size."""
    if context.raw.truthy("test_datasets", "val_set_size"):
        yield context.finding("`test_datasets` and `val_set_size` are both set.", "val_set_size", expected="one of the two",
                              fix="delete `val_set_size`")


@rule("TL337", Severity.ERROR, title="Duplicates cannot be found",
      why="Duplicates are dropped while rows are prepared; a stream never has all rows at hand, and skip_prepare_dataset leaves that out.",
      bad=("dataset_exact_deduplication: true\nstreaming: true\nmax_steps: 10",
           "dataset_exact_deduplication: true\npretraining_dataset: [{path: org/corpus}]\nstreaming: true\nmax_steps: 10",
           "dataset_exact_deduplication: true\nskip_prepare_dataset: true"),
      good="dataset_exact_deduplication: true")
def no_deduplication(context: Context) -> Iterator[Finding]:
    """dataset_exact_deduplication with streamed or unprepared rows."""
    other = context.raw.first("streaming", "pretraining_dataset", "skip_prepare_dataset")
    if context.raw.truthy("dataset_exact_deduplication") and other:
        yield context.finding(f"`dataset_exact_deduplication` does not work with `{other}`.", "dataset_exact_deduplication",
                              expected="one of the two", fix="delete `dataset_exact_deduplication`")


@rule("TL338", Severity.ERROR, title="The buffer of a stream given twice",
      why="pretrain_multipack_buffer_size is the old spelling of streaming_multipack_buffer_size.",
      bad="pretrain_multipack_buffer_size: 1000\nstreaming_multipack_buffer_size: 2000", good="streaming_multipack_buffer_size: 2000")
def two_buffers(context: Context) -> Iterator[Finding]:
    """Both spellings of the buffer's size."""
    if context.raw.truthy("pretrain_multipack_buffer_size", "streaming_multipack_buffer_size"):
        yield context.finding("`pretrain_multipack_buffer_size` and `streaming_multipack_buffer_size` are one setting, given twice.",
                              "pretrain_multipack_buffer_size", expected="streaming_multipack_buffer_size alone",
                              fix="delete `pretrain_multipack_buffer_size`")


@rule("TL339", Severity.ERROR, title="Tokens of a stream are not counted beforehand",
      why="include_tokens_per_second counts all tokens before the run begins, and a pretraining_dataset is only read while it runs.",
      bad="pretraining_dataset: [{path: org/corpus}]\nstreaming: true\nmax_steps: 10\ninclude_tokens_per_second: true",
      good="pretraining_dataset: [{path: org/corpus}]\nstreaming: true\nmax_steps: 10\ninclude_tkps: true")
def counted_stream(context: Context) -> Iterator[Finding]:
    """include_tokens_per_second with pretraining_dataset."""
    if context.raw.truthy("pretraining_dataset", "include_tokens_per_second"):
        yield context.finding("`include_tokens_per_second` does not work with `pretraining_dataset`.", "include_tokens_per_second",
                              fix="delete `include_tokens_per_second`")


@rule("TL340", Severity.NOTE, title="Columns that the model does not read stay in the rows",
      why="Rows that are packed in training only, or not prepared at all, still need their other columns, so Axolotl sets "
          "remove_unused_columns: false.",
      bad=("sample_packing: true\neval_sample_packing: false", "skip_prepare_dataset: true"),
      good="skip_prepare_dataset: true\nremove_unused_columns: false")
def columns_stay(context: Context) -> Iterator[Finding]:
    """remove_unused_columns becomes false."""
    raw = context.raw
    if raw.written("remove_unused_columns"):
        return
    key = "skip_prepare_dataset" if raw.truthy("skip_prepare_dataset") else "eval_sample_packing"
    if key == "skip_prepare_dataset" or (raw.truthy("sample_packing") and raw.get("eval_sample_packing") is False):
        yield context.finding(f"`{key}` makes Axolotl take `remove_unused_columns: false`.", key, fix="remove_unused_columns: false")


def _supervised(raw: Raw) -> list[tuple[int, Mapping[str, Any]]]:
    """The entries of datasets that Axolotl reads as rows of prompts and answers."""
    if raw.get("rl") in ("dpo", "ipo", "simpo", "kto"):
        return []
    return [(index, one) for index, one in raw.items("datasets") if one.get("type") != "_synthetic"]


def _synthetic(raw: Raw) -> list[tuple[int, Raw]]:
    """The made-up ones."""
    return [(index, Raw(one)) for index, one in raw.items("datasets") if one.get("type") == "_synthetic"]
