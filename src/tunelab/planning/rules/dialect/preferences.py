"""Preference methods (DPO, IPO, KTO, SimPO) and the datasets they read (TL96x, TL98x, TL37x)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunelab.config.catalogue import typed_keys
from tunelab.config.finding import Finding, Severity
from tunelab.config.known import known_keys
from tunelab.planning.rules.registry import Context, rule

_DPO_LIKE = frozenset({"dpo", "ipo", "simpo"})
_COMMON = frozenset({"path", "split", "type", "data_files", "revision"})
_READ_BY_DPO = _COMMON | {"field_messages", "field_chosen", "field_rejected"}
_READ_BY_KTO = _COMMON | {"trust_remote_code"}
_MADE_UP = frozenset({"length", "sequence_length", "min_input_id", "max_input_id", "seed", "min_turns", "max_turns", "min_turn_length",
                      "input_fraction"})
_READ_BY_SYNTHETIC = _MADE_UP | {"path", "type"}
_ONLY_ELSEWHERE = _MADE_UP | {"field_chosen", "field_rejected", "step_separator", "max_completion_length", "train_on_last_step_only"}


@rule("TL960", Severity.ERROR, title="sample_packing with a preference or reward method",
      why="These methods compare answers row by row; packed rows have no such border, so Axolotl does not start.",
      bad=("rl: dpo\nsample_packing: true", "rl: kto\nremove_unused_columns: false\neval_sample_packing: true"), good="rl: dpo")
def packed_preferences(context: Context) -> Iterator[Finding]:
    """rl with sample_packing, or kto with eval_sample_packing."""
    raw = context.raw
    for key in ("sample_packing", "eval_sample_packing"):
        if raw.truthy("rl", key) and (key == "sample_packing" or raw.get("rl") == "kto"):
            yield context.finding(f"`{key}` does not work with `rl: {raw.get('rl')}`.", key, expected="false", fix=f"delete `{key}`")


@rule("TL961", Severity.ERROR, title="KTO whose columns are removed",
      why="KTO reads columns that the model does not take (is the answer good or bad?); by default the trainer throws such columns away.",
      bad=("rl: kto", "rl: kto\nremove_unused_columns: true"), good="rl: kto\nremove_unused_columns: false")
def kto_columns(context: Context) -> Iterator[Finding]:
    """rl: kto without remove_unused_columns: false."""
    if context.raw.get("rl") == "kto" and context.raw.get("remove_unused_columns") is not False:
        written = context.raw.written("remove_unused_columns")
        yield context.finding("`rl: kto` needs `remove_unused_columns: false`, which " + ("is not so here." if written else "is not written."),
                              "remove_unused_columns" if written else "rl", expected="remove_unused_columns: false",
                              fix="remove_unused_columns: false", safe=not written)


@rule("TL963", Severity.WARNING, safe=True, title="rl: ipo is an old spelling",
      why="IPO is one of DPO's losses; the name of its own goes away.", bad="rl: ipo", good="rl: dpo\ndpo_loss_type: [ipo]")
def ipo(context: Context) -> Iterator[Finding]:
    """rl: ipo."""
    if context.raw.get("rl") == "ipo":
        alone = not context.raw.written("dpo_loss_type") and not context.raw.written("dpo_label_smoothing")
        yield context.finding("`rl: ipo` is an old spelling of DPO with another loss.", "rl", expected="rl: dpo and dpo_loss_type: [ipo]",
                              fix="rl: dpo\ndpo_loss_type: [ipo]", safe=alone)


@rule("TL964", Severity.ERROR, title="Weights and losses of DPO do not pair up",
      why="Each weight belongs to the loss in the same place; one without the other says nothing.",
      bad=("rl: dpo\ndpo_loss_weights: [1.0]", "rl: dpo\ndpo_loss_type: [sigmoid, sft]\ndpo_loss_weights: [1.0]"),
      good="rl: dpo\ndpo_loss_type: [sigmoid, sft]\ndpo_loss_weights: [1.0, 0.5]")
def unpaired_losses(context: Context) -> Iterator[Finding]:
    """dpo_loss_weights without as many dpo_loss_type."""
    raw = context.raw
    weights, losses = raw.get("dpo_loss_weights"), raw.get("dpo_loss_type")
    if raw.get("rl") != "dpo" or weights is None:
        return
    if losses is None:
        yield context.finding("`dpo_loss_weights` without `dpo_loss_type`: there is no loss for a weight.", "dpo_loss_weights",
                              expected="dpo_loss_type with as many losses", fix="delete `dpo_loss_weights`")
    elif isinstance(weights, list) and isinstance(losses, list) and len(weights) != len(losses):
        yield context.finding(f"{len(losses)} in `dpo_loss_type`, {len(weights)} in `dpo_loss_weights`.", "dpo_loss_weights",
                              expected=f"{len(losses)} weights, one for each loss")


@rule("TL965", Severity.ERROR, title="DPO's losses without DPO",
      why="Only rl: dpo reads them; Axolotl does not start with another method, nor without one.",
      bad=("dpo_loss_type: [sigmoid]", "rl: orpo\ndpo_loss_weights: [1.0]"), good="rl: dpo\ndpo_loss_type: [sigmoid]")
def losses_without_dpo(context: Context) -> Iterator[Finding]:
    """dpo_loss_type or dpo_loss_weights with another rl."""
    method = context.raw.get("rl")
    for key in ("dpo_loss_type", "dpo_loss_weights"):
        if method != "dpo" and context.raw.written(key):
            yield context.finding(f"`{key}` belongs to `rl: dpo`; here " + (f"`rl: {method}` is written." if method else "`rl` is not written."), key,
                                  expected="rl: dpo", fix=f"delete `{key}`")


@rule("TL979", Severity.ERROR, title="SimPO with warmup_ratio",
      why="Axolotl does not hand the ratio on to SimPO's trainer; it takes a number of steps only.",
      bad="rl: simpo\nwarmup_ratio: 0.1", good="rl: simpo\nwarmup_steps: 20")
def simpo_ratio(context: Context) -> Iterator[Finding]:
    """rl: simpo and warmup_ratio."""
    if context.raw.get("rl") == "simpo" and context.raw.number("warmup_ratio"):
        yield context.finding("`warmup_ratio` does not work with `rl: simpo`.", "warmup_ratio", expected="warmup_steps",
                              fix="warmup_steps: 20\ndelete `warmup_ratio`")


@rule("TL980", Severity.NOTE, title="Only for one GPU",
      why="TRL's trainers fail with reentrant checkpointing of a QLoRA model on several GPUs; Axolotl does not start there.",
      bad="rl: dpo\nadapter: qlora\nload_in_4bit: true\ngradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}",
      good="rl: dpo\nadapter: qlora\nload_in_4bit: true\ngradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: false}")
def reentrant_preferences(context: Context) -> Iterator[Finding]:
    """rl, QLoRA and reentrant checkpointing: a mistake on several GPUs."""
    raw = context.raw
    if raw.truthy("rl", "gradient_checkpointing", "gradient_checkpointing_kwargs.use_reentrant", "load_in_4bit") \
            and raw.get("adapter") == "qlora":
        several = len(context.machine.gpus) > 1
        yield context.finding(f"`use_reentrant: true` with `rl: {raw.get('rl')}` and QLoRA works on one GPU only"
                              + (f"; this machine has {len(context.machine.gpus)}." if several else "."),
                              "gradient_checkpointing_kwargs.use_reentrant", expected="false", fix="use_reentrant: false",
                              severity=Severity.BLOCKED if several else None)


@rule("TL370", Severity.WARNING, title="A dataset setting that this method drops",
      why="Entries of preference methods, KTO, made-up data and plain training have different settings; Axolotl drops those of the others "
          "without a word, so the rows are read as if they were not written.",
      bad=("rl: dpo\ndatasets: [{path: a.jsonl, type: chatml.intel, roles: {user: [human]}}]",
           "rl: kto\nremove_unused_columns: false\ndatasets: [{path: a.jsonl, type: chatml.argilla, shards: 2}]",
           "datasets: [{path: synthetic, type: _synthetic, length: 10, split: train}]",
           "datasets: [{path: a.jsonl, type: stepwise_supervised, step_separator: '##'}]"),
      good="rl: dpo\ndatasets: [{path: a.jsonl, type: chatml.intel, split: train}]")
def dropped_dataset_keys(context: Context) -> Iterator[Finding]:
    """A key of datasets[] that the method of this file does not read."""
    known = {name.removeprefix("datasets[].") for name in (*typed_keys(), *known_keys()) if name.startswith("datasets[].")}
    for index, entry in context.raw.items("datasets"):
        reads, who = _reads(context.raw.get("rl"), entry)
        for key, value in entry.items():
            if key in known and value is not None and (key not in reads if reads else key in _ONLY_ELSEWHERE):
                yield context.finding(f"`{key}` is dropped: {who} does not have it.", "datasets", index, str(key), fix=f"delete `{key}`")


@rule("TL371", Severity.ERROR, title="A dataset entry that this method does not take",
      why="Entries of DPO and KTO have a type of their own, with a list of files; made-up data has no path but its own word.",
      bad=("rl: dpo\ndatasets: [{path: json, type: chatml.intel, data_files: a.jsonl}]", "datasets: [{path: a.jsonl, type: _synthetic}]"),
      good="rl: dpo\ndatasets: [{path: json, type: chatml.intel, data_files: [a.jsonl]}]")
def entry_not_taken(context: Context) -> Iterator[Finding]:
    """data_files is one text with dpo, ipo, simpo or kto; the path of _synthetic is another word."""
    method = context.raw.get("rl")
    for index, entry in context.raw.items("datasets"):
        files, path = entry.get("data_files"), entry.get("path")
        if isinstance(method, str) and method in _DPO_LIKE | {"kto"}:
            if isinstance(files, str):
                yield context.finding(f"`data_files` has to be a list with `rl: {method}`.", "datasets", index, "data_files",
                                      expected="a list of files", fix=f"data_files: [{files}]")
        elif entry.get("type") == "_synthetic" and path not in (None, "synthetic"):
            yield context.finding(f"`path: {path}` with `type: _synthetic`: the rows are made up, not read.", "datasets", index, "path",
                                  expected="synthetic", fix="path: synthetic")


def _reads(method: Any, entry: Mapping[str, Any]) -> tuple[frozenset[str], str]:
    """(the keys that an entry has with a method, who reads it); no keys when it is plain training, which has most."""
    if isinstance(method, str) and method in _DPO_LIKE:
        return _READ_BY_DPO, f"an entry for `rl: {method}`"
    if method == "kto":
        return _READ_BY_KTO, "an entry for `rl: kto`"
    if entry.get("type") == "_synthetic":
        return _READ_BY_SYNTHETIC, "made-up data (`_synthetic`)"
    return frozenset(), "an entry for this kind of training"
