"""Rules on datasets, held-out rows and how rows become batches (TL3xx)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.known import names
from tunelab.config.mend import flow
from tunelab.config.sections.data import TAKEN_FOR, Dataset
from tunelab.data.type_names import COMMON_TYPES, PREFERENCE_TYPES, TYPES, closest_type
from tunelab.planning.rules.registry import Context, listed, rule

SHAREGPT_FIX = "type: chat_template\nfield_messages: conversations\nmessage_property_mappings: {role: from, content: value}"
_EVAL_KEYS = ("eval_steps", "evals_per_epoch", "eval_strategy")
_CHAT_KEYS = ("field_messages", "message_property_mappings", "roles", "roles_to_train", "train_on_eos", "train_on_eot", "chat_template",
              "chat_template_jinja", "drop_system_message", "message_field_training", "message_field_training_detail", "split_thinking",
              "template_thinking_key")
_MESSAGES_KEYS = ("field_messages", "message_property_mappings", "chat_template")
_ORDINALS = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth", 9: "ninth", 10: "tenth"}


@rule("TL301", Severity.WARNING, title="A dataset without a type",
      why="Nothing says how a row becomes a prompt and an answer. That is right only for rows that are token ids already (input_ids, "
          "attention_mask and labels); any others are refused when the data is read.",
      bad="datasets: [{path: data/train.jsonl}]", good="datasets: [{path: data/train.jsonl, type: chat_template}]")
def no_type(context: Context) -> Iterator[Finding]:
    """datasets[].type is not written."""
    if context.config.preference.rl is not None:
        return  # there it means that the texts are ready (passthrough)
    for index, dataset in enumerate(context.config.data.datasets):
        if dataset.type is None:
            yield context.finding(f"`datasets[{index}]` has no `type`: its rows have to be token ids already (input_ids, attention_mask, labels).",
                                  "datasets", index, "type", expected=_common(), fix="type: chat_template")


@rule("TL302", Severity.ERROR, safe=True, title="A dataset type that is not known",
      why="The rows cannot be read. `sharegpt` is a name of older versions of Axolotl, which refuses it today; it laid conversations out by a template of "
          "its own. `openhermes` never was a type there; it can only mean the columns of OpenHermes 2.5, so the rows are read that way and a warning says "
          "so.",
      bad="datasets: [{path: data/train.jsonl, type: sharegpt}]",
      good="datasets: [{path: data/train.jsonl, type: chat_template, field_messages: conversations, "
           "message_property_mappings: {role: from, content: value}}]")
def unknown_type(context: Context) -> Iterator[Finding]:
    """The type of an entry of datasets or test_datasets is not one that is read here."""
    for group in ("datasets", "test_datasets"):
        written = dict(context.raw.items(group))
        for index, dataset in enumerate(getattr(context.config.data, group) or ()):
            name = written.get(index, {}).get("type")
            method = context.config.preference.method
            if method is not None and isinstance(name, str) and name not in PREFERENCE_TYPES[method]:
                yield _type_of_method(context, method, name, (group, index, "type"))
            elif method is None and isinstance(name, str) and name not in TYPES:
                yield from _about_type(context, name, dataset, (group, index, "type"))


def _type_of_method(context: Context, method: str, name: str, place: tuple[str | int, ...]) -> Finding:
    known, close = PREFERENCE_TYPES[method], difflib.get_close_matches(name, PREFERENCE_TYPES[method], n=1, cutoff=0.6)
    said = "`reward_model: true`" if method == "reward" else f"`rl: {method}`"
    own = method != "reward" and name.startswith("axolotl.")
    return context.finding(f"`type: {name}` is not one that {said} reads.{f' Did you mean `{close[0]}`?' if close else ''}", *place,
                           expected=f"one of {', '.join(known)}", fix=f"type: {close[0] if close else known[0]}",
                           severity=Severity.BLOCKED if own else Severity.ERROR, safe=False)


def _about_type(context: Context, name: str, dataset: Dataset, place: tuple[str | int, ...]) -> Iterator[Finding]:
    rl = context.raw.truthy("rl")
    if name == "pretrain" and not rl:
        yield context.finding("`type: pretrain` belongs to an entry of `pretraining_dataset`; under `datasets` plain text is `completion`.", *place,
                              expected="completion", fix="type: completion", safe=False)
    elif name == "_synthetic" and not rl:
        yield context.finding("`type: _synthetic` draws random token ids to measure speed; nothing can be learnt from them, and they are not made here.",
                              *place, expected="rows of text (tunelab plan predicts speed and memory without any)", severity=Severity.BLOCKED)
    elif name in TAKEN_FOR and not rl:
        explicit = {key: getattr(dataset, key) for key in TAKEN_FOR[name]}
        columns = explicit["message_property_mappings"]
        yield context.finding(
            f"`type: {name}` is not a type of Axolotl; it is taken for `chat_template`: conversations in the column `{dataset.field_messages}`, "
            f"each message with its role in `{columns.get('role')}` and its text in `{columns.get('content')}`.", *place,
            expected="the settings that it is taken for", fix="\n".join(f"{key}: {flow(value)}" for key, value in explicit.items()),
            severity=Severity.WARNING)
    elif name.startswith("sharegpt"):
        yield context.finding(f"`type: {name}` is no longer a type, in Axolotl neither; such rows hold `conversations` with `from` and "
                              "`value`, which chat_template reads.", *place, expected="chat_template", fix=SHAREGPT_FIX)
    elif name.startswith("ebft_"):
        yield context.finding(f"`type: {name}` makes rows for `rl: ebft`, which samples answers while it trains; this version does not.", *place,
                              expected="rl: dpo, orpo or kto on rated answers, or a type of plain rows", severity=Severity.BLOCKED)
    elif name in names("rl_types" if rl else "sft_types"):
        yield context.finding(f"`type: {name}` is a type of the dialect that this version does not read yet.", *place,
                              expected=_common(), severity=Severity.BLOCKED)
    elif context.raw.text("rl") in ("grpo", "gdpo", "ebft") or name.startswith(("axolotl.", "diffusion_decision")):
        yield context.finding(f"`type: {name}` names code of its own (a function that turns rows), which this version does not run.",
                              *place, severity=Severity.BLOCKED)
    elif name in names("rl_types"):
        yield context.finding(f"`type: {name}` reads preference data, and there is no `rl` to say what for.", *place,
                              expected="rl: dpo (or kto, orpo), or a type of plain rows")
    else:
        close = _closest(name, rl)
        hint = f" Did you mean `{close}`?" if close else ""
        yield context.finding(f"`type: {name}` is not known.{hint}", *place, expected=_common(), fix=f"type: {close or 'chat_template'}", safe=False)


@rule("TL303", Severity.WARNING, title="shards: only a part of the rows is trained on",
      why="Easily left over from a trial: the rest of the rows is never seen, and the part that is depends on the seed.",
      bad="datasets: [{path: data/train.jsonl, type: alpaca, shards: 10}]", good="datasets: [{path: data/train.jsonl, type: alpaca}]")
def shards(context: Context) -> Iterator[Finding]:
    """datasets[].shards cuts the data."""
    seed = context.config.run.seed
    if context.raw.truthy("rl"):
        return  # preference training drops the key, says TL370
    for index, dataset in enumerate(context.config.data.datasets):
        if dataset.shards is not None and dataset.shards > 1 and (dataset.shards_idx or 0) < dataset.shards:
            part = _ORDINALS.get(dataset.shards, "part")
            # Without a seed Axolotl takes another part each time, says TL391.
            which = f"; which {part} that is depends on `seed` ({seed})" if seed is not None else f"; here always the {part} of seed 42"
            yield context.finding(f"`shards: {dataset.shards}` trains on 1/{dataset.shards} of the rows (part {dataset.shards_idx or 0}){which}.",
                                  "datasets", index, "shards", fix="delete `shards`")


@rule("TL304", Severity.ERROR, title="shards_idx is not one of the shards",
      why="There is no such part of the rows.",
      bad="datasets: [{path: data/train.jsonl, type: alpaca, shards: 4, shards_idx: 4}]",
      good="datasets: [{path: data/train.jsonl, type: alpaca, shards: 4, shards_idx: 3}]")
def no_such_shard(context: Context) -> Iterator[Finding]:
    """datasets[].shards_idx is out of range."""
    for index, dataset in enumerate(context.config.data.datasets):
        if dataset.shards is not None and dataset.shards_idx is not None and dataset.shards_idx >= dataset.shards:
            yield context.finding(f"`shards_idx: {dataset.shards_idx}` with `shards: {dataset.shards}`: parts are counted from 0.",
                                  "datasets", index, "shards_idx", expected=f"0 to {dataset.shards - 1}", fix="shards_idx: 0")


@rule("TL305", Severity.WARNING, title="A dataset setting without effect",
      why="It belongs to another type (or to shards), so the rows are read as if it were not there.",
      bad="datasets: [{path: data/train.jsonl, type: alpaca, field_messages: conversations}]",
      good="datasets: [{path: data/train.jsonl, type: chat_template, field_messages: conversations}]")
def unread_dataset_keys(context: Context) -> Iterator[Finding]:
    """A key of datasets[] that its type does not read."""
    for index, dataset in enumerate(context.config.data.datasets):
        for key, reader in _unread(dataset) if dataset.type in TYPES else ():
            yield context.finding(f"`{key}` has no effect here: only {reader} reads it.", "datasets", index, key, fix=f"delete `{key}`")


@rule("TL306", Severity.WARNING, title="Rows are held out and never looked at",
      why="val_set_size takes rows away from training; without an eval_* setting no evaluation ever reads them.",
      bad="val_set_size: 0.05", good="val_set_size: 0.05\nevals_per_epoch: 2")
def unused_held_out(context: Context) -> Iterator[Finding]:
    """val_set_size without any eval_* setting."""
    config = context.config
    asked = config.run.eval_steps is not None or config.run.evals_per_epoch is not None or config.run.eval_strategy is not None
    if config.data.val_set_size > 0 and (not asked or config.run.eval_strategy == "no"):
        size = config.data.val_set_size
        what = f"{size:.3g} of the rows" if size < 1 else f"{size:g} rows"
        yield context.finding(f"`val_set_size` holds out {what}, and nothing ever evaluates on them.", "val_set_size",
                              expected="an eval_* setting, or val_set_size: 0", fix="evals_per_epoch: 2")


@rule("TL307", Severity.ERROR, title="Evaluation without held-out rows",
      why="There is nothing to evaluate on.", bad="val_set_size: 0\neval_steps: 50", good="val_set_size: 0.05\neval_steps: 50")
def nothing_to_evaluate(context: Context) -> Iterator[Finding]:
    """An eval_* setting with val_set_size 0."""
    run = context.config.run
    asked = [key for key in _EVAL_KEYS if getattr(run, key) not in (None, "no")]
    if context.config.data.val_set_size == 0 and not context.raw.truthy("test_datasets") and asked and run.eval_strategy != "no":
        # Axolotl refuses a 0 that is written, and never evaluates when nothing is.
        refused = context.raw.get("val_set_size") is not None and asked[0] in ("eval_steps", "eval_strategy")
        severity = Severity.ERROR if refused else Severity.WARNING
        yield context.finding(f"`{asked[0]}` asks for evaluation, and `val_set_size` is 0: no row is held out, and nothing is ever evaluated.",
                              asked[0], expected="val_set_size above 0", fix="val_set_size: 0.05", severity=severity)


@rule("TL308", Severity.WARNING, title="sequence_len is above the model's limit",
      why="Positions beyond the limit were never trained: the model produces noise there, and the run learns from noise.",
      bad="sequence_len: 16384", good="sequence_len: 2048")
def too_long(context: Context) -> Iterator[Finding]:
    """sequence_len is above max_position_embeddings."""
    shapes, wanted = context.shapes, context.config.data.sequence_len
    if shapes is not None and 0 < shapes.context_length < wanted:
        yield context.finding(f"`sequence_len` is {wanted:,}; this model was made for at most {shapes.context_length:,} positions.",
                              "sequence_len",
                              expected=f"at most {shapes.context_length}", fix=f"sequence_len: {shapes.context_length}")


@rule("TL309", Severity.NOTE, title="Padding is computed for nothing",
      why="A GPU gains from rows of one length; a CPU computes every padded position like a real one.",
      bad="sample_packing: true\npad_to_sequence_len: true", good="sample_packing: true\npad_to_sequence_len: false")
def padding_on_cpu(context: Context) -> Iterator[Finding]:
    """pad_to_sequence_len on a machine without a GPU."""
    data = context.config.data
    if data.pad_to_sequence_len and not context.machine.has_cuda:
        rest = "the unfilled end of each packed row" if data.sample_packing else f"every row up to {data.sequence_len} tokens"
        yield context.finding(f"`pad_to_sequence_len: true` pads {rest}; this machine has no GPU, so that is time spent on nothing.",
                              "pad_to_sequence_len", fix="pad_to_sequence_len: false")


def _unread(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """(key, who would read it) for the keys of a dataset that its type does not read."""
    kind = dataset.type_name.removesuffix(".load")
    if kind != "chat_template":
        read = _MESSAGES_KEYS if kind == "messages" else ()
        yield from ((key, "type: chat_template") for key in _CHAT_KEYS if key not in read and getattr(dataset, key) is not None)
    if kind != "completion" and dataset.field is not None:
        yield "field", "type: completion"
    if kind != "alpaca_chat" and dataset.conversation is not None:
        yield "conversation", "type: alpaca_chat"
    if dataset.shards is None and dataset.shards_idx is not None:
        yield "shards_idx", listed(["shards"])


def _closest(name: str, rl: bool) -> str | None:
    return next(iter(difflib.get_close_matches(name, names("rl_types"), n=1, cutoff=0.6)), None) if rl else closest_type(name)


def _common() -> str:
    return f"one of {', '.join(COMMON_TYPES)}, ..."


@rule("TL321", Severity.WARNING, safe=True, title="Code of a dataset is never run",
      why="A dataset on the Hub that is read by a script of its own is refused, with or without trust_remote_code; the datasets library that Axolotl "
          "uses cannot run such scripts either.",
      bad="datasets: [{path: org/set, type: alpaca, trust_remote_code: true}]", good="datasets: [{path: org/set, type: alpaca}]")
def no_remote_code(context: Context) -> Iterator[Finding]:
    """trust_remote_code: true in an entry of datasets or test_datasets."""
    for group in ("datasets", "test_datasets"):
        for index, entry in context.raw.items(group):
            if entry.get("trust_remote_code") is True:
                yield context.finding("`trust_remote_code: true` has no effect: code of a dataset is never run, and a dataset that needs it is refused.",
                                      group, index, "trust_remote_code", expected="revision: refs/convert/parquet for a dataset that has a script",
                                      fix="delete `trust_remote_code`")


@rule("TL320", Severity.WARNING, title="The end of a turn is never trained",
      why="A model that never sees loss on the token that ends an answer does not learn to stop: it goes on until the limit.",
      bad="datasets: [{path: data/train.jsonl, type: chat_template, train_on_eos: none}]",
      good="datasets: [{path: data/train.jsonl, type: chat_template, train_on_eos: turn}]")
def never_stops(context: Context) -> Iterator[Finding]:
    """datasets[].train_on_eos (and train_on_eot) is none."""
    for index, dataset in context.raw.items("datasets"):
        if dataset.get("train_on_eos") == "none" and dataset.get("train_on_eot") in (None, "none"):
            yield context.finding("`train_on_eos: none`: no token that ends an answer carries loss, so the model does not learn to stop.",
                                  "datasets", index, "train_on_eos", expected="turn", fix="train_on_eos: turn")
