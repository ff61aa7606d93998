"""Rules on the entries of `datasets` under `rl`, where other readers than those of plain rows are at work (TL390, TL395, TL396). What
the entries of these methods do not even have is TL370."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.data.pairs import ENTRY_KEYS
from tunelab.planning.rules.registry import Context, listed, rule

KEPT = ENTRY_KEYS

_COLUMNS = {
    "dpo": frozenset({"field_system", "field_prompt", "field_chosen", "field_rejected", "prompt_format", "chosen_format", "rejected_format"}),
    "kto": frozenset({"field_system", "field_prompt", "field_completion", "field_label", "prompt_format", "completion_format"}),
    "": frozenset({"system_prompt", "system_format", "field_system", "field_instruction", "field_input", "field_output", "format", "no_input_format"}),
}
_DPO, _KTO = "rl: dpo\n", "rl: kto\nremove_unused_columns: false\n"


def asks(value: Any) -> bool:
    """Whether a written value asks for anything."""
    return value is not None and value is not False and value not in ("", [], {}, 0)


@rule("TL395", Severity.WARNING, title="A column of another kind of rows",
      why="A `type` written as a mapping has other keys for pairs (dpo), for rated answers (kto) and for plain rows. The keys of another kind are "
          "dropped without a word, and the column gets its usual name.",
      bad=(f"{_DPO}datasets: [{{path: a.jsonl, type: {{field_prompt: q, field_completion: a}}}}]",
           f"{_KTO}datasets: [{{path: a.jsonl, type: {{field_prompt: q, field_chosen: a}}}}]",
           "datasets: [{path: a.jsonl, type: {field_prompt: q, field_output: a}}]"),
      good=f"{_DPO}datasets: [{{path: a.jsonl, type: {{field_prompt: q, field_chosen: a, field_rejected: b}}}}]")
def foreign_columns(context: Context) -> Iterator[Finding]:
    """A key of datasets[].type that the method's mapping has not."""
    method = context.raw.text("rl")
    kind = "kto" if method == "kto" else "dpo" if method in KEPT else ""
    rows = {"kto": "rated answers", "dpo": "pairs", "": "plain rows"}[kind]
    for index, entry in context.raw.items("datasets") if not method or method in KEPT else ():
        type_ = entry.get("type")
        for key in type_ if isinstance(type_, dict) else ():
            if key not in _COLUMNS[kind] and key in _COLUMNS["dpo"] | _COLUMNS["kto"] | _COLUMNS[""]:
                yield context.finding(f"`{key}` is no column of {rows} and is dropped.", "datasets", index, "type", key,
                                      expected=f"one of {', '.join(sorted(_COLUMNS[kind]))}", fix=f"delete `{key}`")


@rule("TL396", Severity.WARNING, title="Test data read with the settings of the training data",
      why="A preference method looks up columns and formats in the entry of `datasets` with the same number, also for `test_datasets`; what the test "
          "entry says is not looked at, and without such an entry the preparation stops.",
      bad=(f"{_DPO}datasets: [{{path: a.jsonl, type: chat_template.default}}]\n"
           "test_datasets: [{path: b.jsonl, type: chat_template.default, field_chosen: better}]",
           f"{_DPO}datasets: [{{path: a.jsonl, type: {{field_prompt: q}}}}]\ntest_datasets: [{{path: b.jsonl, type: {{field_prompt: question}}}}]"),
      good=f"{_DPO}datasets: [{{path: a.jsonl, type: chat_template.default, field_chosen: better}}]\n"
           "test_datasets: [{path: b.jsonl, type: chat_template.default, field_chosen: better}]")
def settings_of_tests(context: Context) -> Iterator[Finding]:
    """A test entry of a preference method with columns of its own, or without a training entry of its number."""
    raw = context.raw
    if raw.text("rl") not in KEPT:
        return
    training = dict(raw.items("datasets"))
    for index, entry in raw.items("test_datasets"):
        type_, twin = entry.get("type"), training.get(index)
        if not isinstance(type_, dict) and not str(type_).startswith("chat_template"):
            continue
        if twin is None:
            yield context.finding(f"`test_datasets[{index}]` is read with the settings of `datasets[{index}]`, which does not exist.", "test_datasets",
                                  index, "type", expected=f"at most {len(training)} test datasets", severity=Severity.ERROR)
            continue
        keys = ["type"] if isinstance(type_, dict) else ["field_messages", "field_chosen", "field_rejected"]
        for key in keys:
            if asks(entry.get(key)) and entry.get(key) != twin.get(key):
                yield context.finding(f"`{key}` of a test dataset is not looked at with `rl: {raw.text('rl')}`: that of `datasets[{index}]` is used.",
                                      "test_datasets", index, key, expected=f"the same as in datasets[{index}]")


_ONLY_PLAIN = ("shards", "shards_idx", "weight")


@rule("TL390", Severity.WARNING, title="A part of the rows is asked for, and all are used",
      why="Shards and weights are applied while plain rows are read; the reader of preference and reward data has neither. preprocess_shards makes it "
          "read the rows several times over, and it then finds no settings for the second part.",
      bad=("rl: orpo\ndatasets: [{path: a.jsonl, type: chat_template.argilla, shards: 10}]",
           "rl: orpo\ndatasets: [{path: a.jsonl, type: chat_template.argilla, weight: 0.5}]"),
      good="rl: orpo\ndatasets: [{path: a.jsonl, type: chat_template.argilla}]")
def all_rows(context: Context) -> Iterator[Finding]:
    """shards, shards_idx, weight or preprocess_shards with an rl method that keeps the keys and does not read them."""
    method = context.raw.text("rl")
    for index, entry in context.raw.items("datasets") if method and method not in KEPT else ():
        keys = [key for key in _ONLY_PLAIN if asks(entry.get(key))]
        if keys:
            yield context.finding(f"{listed(keys)} {'has' if len(keys) == 1 else 'have'} no effect with `rl: {method}`: all rows are used.", "datasets",
                                  index, keys[0], fix="\n".join(f"delete `{key}`" for key in keys))
        parts = Raw(entry).number("preprocess_shards")
        if parts is not None and parts > 1 and not asks(entry.get("shards")):
            yield context.finding(f"`preprocess_shards` reads all rows {parts:g} times with `rl: {method}`, and the preparation stops.", "datasets", index,
                                  "preprocess_shards", fix="delete `preprocess_shards`", severity=Severity.ERROR)
