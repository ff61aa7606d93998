"""Rules on settings that nothing reads, or that nothing reads for these rows (TL391-TL394, TL397, TL398)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.config.known import names
from tunelab.config.raw import Raw
from tunelab.data.type_names import TYPES
from tunelab.planning.rules.dialect.plugins import is_on
from tunelab.planning.rules.dialect.preference_rows import KEPT, asks
from tunelab.planning.rules.registry import Context, rule

_FILE = re.compile(r"\.(jsonl?|csv|tsv|parquet|arrow|txt)(\.(gz|bz2|xz|zst|zip))?$", re.IGNORECASE)


@rule("TL391", Severity.WARNING, title="Part of the rows, drawn anew each time", safe=True,
      why="The rows are shuffled with `seed` before a part is taken. In Axolotl a `seed` that is not written is no seed at all: every preparation takes "
          "another part. tunelab takes 42.",
      bad=("datasets: [{path: a.jsonl, type: alpaca, shards: 10}]", "datasets: [{path: a.jsonl, type: alpaca, weight: 0.5}]"),
      good="seed: 42\ndatasets: [{path: a.jsonl, type: alpaca, shards: 10}]")
def part_without_seed(context: Context) -> Iterator[Finding]:
    """shards or a weight below 1, and no seed."""
    raw = context.raw
    if "seed" in raw.values or raw.truthy("rl") or raw.truthy("full_determinism"):
        return
    for index, entry in raw.items("datasets"):
        shards, weight = Raw(entry).number("shards"), Raw(entry).number("weight")
        what = f"shards: {shards:g}" if shards is not None and shards > 1 else f"weight: {weight:g}" if weight is not None and weight < 1 else ""
        if what:
            yield context.finding(f"`datasets[{index}]` takes a part of its rows (`{what}`), and `seed` is not written: Axolotl takes another part each "
                                  "time.", "datasets", expected="a seed", fix="seed: 42")
            return


_NOWHERE: dict[str, str] = {
    "lr_div_factor": "write `div_factor` into `lr_scheduler_kwargs`",
    "preprocess_iterable": "`streaming` took its place",
    "max_prompt_len": "`sequence_len` limits prompt and answer together",
    "default_system_message": "it replaces a sentence that the chatml template no longer holds",
    "nemo_gym_max_turns": "the agent's own config limits the turns",
}
_NOWHERE_IN_ENTRIES: dict[str, str] = {
    "field_tools": "tools are read from the column `tools`",
    "field_thinking": "write `reasoning_content` into `message_property_mappings`",
    "field_human": "write `roles`", "field_model": "write `roles`",
    "input_format": "no type has such a thing",
}
_USUAL = {"field_tools": "tools", "field_thinking": "reasoning_content"}


@rule("TL393", Severity.WARNING, title="A setting that nothing reads",
      why="The schema still knows the name, and no code of Axolotl 0.21.0 looks at it.",
      bad=("lr_div_factor: 10", "default_system_message: You are a poet.",
           "datasets: [{path: a.jsonl, type: chat_template, field_tools: functions}]"),
      good="datasets: [{path: a.jsonl, type: chat_template, field_tools: tools}]")
def read_nowhere(context: Context) -> Iterator[Finding]:
    """A setting that is in the schema and in no code."""
    raw = context.raw
    for key, instead in _NOWHERE.items():
        if asks(raw.get(key)) and (key != "nemo_gym_max_turns" or is_on(raw, "NemoGymArgs")):
            yield context.finding(f"`{key}` has no effect: {instead}.", key, fix=f"delete `{key}`")
    for place in ("datasets", "test_datasets"):
        for index, entry in raw.items(place) if place != "datasets" or raw.text("rl") not in KEPT else ():
            for key, instead in _NOWHERE_IN_ENTRIES.items():
                if asks(entry.get(key)) and entry.get(key) != _USUAL.get(key):
                    yield context.finding(f"`{key}` has no effect: {instead}.", place, index, key, fix=f"delete `{key}`")


_TEMPLATE = ("chat_template", "chat_template_jinja")
_MESSAGES = ("message_property_mappings", "message_field_role", "message_field_content", "message_field_training")
_REWARD = (*_TEMPLATE, *_MESSAGES, "message_field_training_detail", "roles", "roles_to_train", "train_on_eos", "drop_system_message")
_CHAT = (*_REWARD, "field_messages", "train_on_eot", "split_thinking", "template_thinking_key")
_READS: Mapping[str, tuple[str, ...]] = {
    "chat_template": _CHAT, "bradley_terry.chat_template": _REWARD, "messages": (*_MESSAGES, "chat_template", "field_messages", "input_transform"),
    "orpo.chat_template": _TEMPLATE, "completion": ("field",), "alpaca_chat": ("conversation",),
}
_PAIRS: Mapping[str, tuple[str, ...]] = {
    "chat_template": ("field_messages", "field_chosen", "field_rejected"), "chat_template.default": ("field_messages", "field_chosen", "field_rejected"),
    "chat_template.argilla_chat": ("field_chosen", "field_rejected"),
}
_READERS = {
    "conversation": "type: alpaca_chat", "field": "type: completion", "input_transform": "type: messages",
    "logprobs_field": "the types of KDPlugin", "temperature": "the types of KDPlugin",
    "field_chosen": "rl: dpo with type: chat_template.default", "field_rejected": "rl: dpo with type: chat_template.default",
    **dict.fromkeys(_CHAT, "type: chat_template"),
}
# TL370 says these where the method is not DPO.
_PAIRS_ONLY = ("field_chosen", "field_rejected")
# TL305 says these for the types that tunelab reads itself.
_SAID = ("field_messages", "message_property_mappings", "roles", "roles_to_train", "train_on_eos", "chat_template", "chat_template_jinja",
         "drop_system_message", "field", "shards_idx")


@rule("TL394", Severity.WARNING, title="A key of a dataset that its type does not read",
      why="Each type reads the columns that it was made for. A key for another type is taken and passed over, so the rows are read as if it were not "
          "there.",
      bad=("datasets: [{path: a.jsonl, type: alpaca, train_on_eot: all}]", "datasets: [{path: a.jsonl, type: gpteacher, split_thinking: true}]",
           "datasets: [{path: a.jsonl, type: completion, conversation: chatml}]",
           "datasets: [{path: a.jsonl, type: {field_instruction: q}, roles: {user: [human]}}]",
           "rl: dpo\ndatasets: [{path: a.jsonl, type: chatml.intel, field_chosen: better}]"),
      good="datasets: [{path: a.jsonl, type: chat_template, train_on_eot: all}]")
def read_by_another(context: Context) -> Iterator[Finding]:
    """A key of datasets[] or test_datasets[] that the type does not read."""
    raw = context.raw
    for place in ("datasets", "test_datasets"):
        for index, entry in raw.items(place) if place == "datasets" or not raw.truthy("rl") else ():
            for key in _passed_over(raw, entry, place):
                reader = f": only {_READERS[key]} reads it" if key in _READERS else ""
                named = f"`type: {entry['type']}`" if isinstance(entry["type"], str) else "a `type` written as a mapping"
                yield context.finding(f"`{key}` has no effect with {named}{reader}.", place, index, key, fix=f"delete `{key}`")


def _passed_over(raw: Raw, entry: Mapping[str, Any], place: str) -> list[str]:
    """The keys of an entry that its type does not read; none for a type of somebody's own code."""
    method, type_ = raw.text("rl"), entry.get("type")
    known = names("rl_types" if method else "sft_types")
    if not isinstance(type_, (str, dict)) or (isinstance(type_, str) and type_ not in known) or type_ == "_synthetic":
        return []
    if method in ("dpo", "ipo", "simpo"):
        reads = _PAIRS.get(type_, ()) if isinstance(type_, str) else ()
        return [key for key in _READERS if key in KEPT["dpo"] and key not in reads and asks(entry.get(key))]
    if raw.truthy("rl") and method != "orpo":  # kto: TL370; the others run code of one's own, which may read anything
        return []
    family = re.sub(r":.*|\.load.*", "", type_) if isinstance(type_, str) else ""
    reads = _READS.get(family, ()) if not method and (family != "alpaca_chat" or type_ == family) else ()
    said = _SAID if place == "datasets" and not method and type_ in TYPES else ()
    return [key for key in _READERS if key not in (*reads, *said, *_PAIRS_ONLY) and asks(entry.get(key))]


@rule("TL397", Severity.WARNING, title="An option of the Hub beside a file",
      why="A path that names a file is read as that file: which configuration, which revision and which other files are questions to a dataset on the "
          "Hub, and are not asked.",
      bad=("datasets: [{path: data/train.jsonl, type: alpaca, name: clean}]", "datasets: [{path: data/train.jsonl, type: alpaca, revision: main}]",
           "datasets: [{path: data/train.jsonl, type: alpaca, data_files: other.jsonl}]"),
      good="datasets: [{path: org/rows, type: alpaca, name: clean, revision: main}]")
def hub_options(context: Context) -> Iterator[Finding]:
    """name, revision or data_files of an entry whose path is a file."""
    for place, index, entry in _files(context.raw):
        lost = KEPT.get(context.raw.text("rl")) if place == "datasets" else None
        for key in ("name", "revision", "data_files", "trust_remote_code"):
            if asks(entry.get(key)) and (lost is None or key in lost):
                yield context.finding(f"`{key}` has no effect: `{entry['path']}` is a file.", place, index, key, expected="a dataset on the Hub",
                                      fix=f"delete `{key}`")


@rule("TL398", Severity.ERROR, title="A split that a file has not",
      why="A single file has one split, train; another name stops the preparation of the data.",
      bad="datasets: [{path: data/rows.jsonl, type: alpaca, split: test}]", good="datasets: [{path: data/rows.jsonl, type: alpaca, split: train}]")
def split_of_file(context: Context) -> Iterator[Finding]:
    """split of an entry whose path is a file is not train."""
    for place, index, entry in _files(context.raw):
        split = entry.get("split")
        if not isinstance(split, str) or split == "train" or not split:
            continue
        part = re.fullmatch(r"train\s*\[.*\]", split) is not None
        why = "this version reads whole files only" if part else "its only split is train"
        yield context.finding(f"`split: {split}` of the file `{entry['path']}`: {why}.", place, index, "split", expected="train", fix="delete `split`",
                              severity=Severity.BLOCKED if part else None)


def _files(raw: Raw) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """(list, index, entry) of each entry whose path is a file by its ending."""
    for place in ("datasets", "test_datasets"):
        for index, entry in raw.items(place):
            path = entry.get("path")
            if isinstance(path, str) and _FILE.search(path) and "@" not in path:
                yield place, index, entry


_RESIZING = ("bilinear", "bicubic", "lanczos")


@rule("TL392", Severity.ERROR, title="A way to resize images that is not known",
      why="Axolotl takes three of the filters by name and stops at any other.", bad="image_resize_algorithm: nearest",
      good="image_resize_algorithm: bicubic")
def resizing(context: Context) -> Iterator[Finding]:
    """image_resize_algorithm is another text than the three names."""
    value = context.raw.get("image_resize_algorithm")
    if isinstance(value, str) and value.lower() not in _RESIZING:
        yield context.finding(f"`image_resize_algorithm: {value}` is none of {', '.join(_RESIZING)}.", "image_resize_algorithm",
                              expected=f"one of {', '.join(_RESIZING)}", fix="image_resize_algorithm: bilinear")
