"""Rows that are streamed, and rows laid end to end without packing (TL360-369)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.data.mixing import trained_on
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.registry import Context, rule

_FLASH = "attn_implementation: flash_attention_2\n"
_STREAM = "streaming: true\nmax_steps: 100"
_CORPUS = "pretraining_dataset: [{path: data/corpus, type: pretrain}]\n"


@rule("TL360", Severity.ERROR, title="batch_flattening where rows cannot be told apart",
      why="It lays the rows of a batch end to end; only an attention made for such rows keeps them apart, and packed rows are laid so already.",
      bad=("batch_flattening: true", _FLASH + "batch_flattening: true\nsample_packing: true"),
      good=_FLASH + "batch_flattening: true\nmicro_batch_size: 4")
def flattening_impossible(context: Context) -> Iterator[Finding]:
    """batch_flattening: true without an attention for it, or with sample_packing."""
    raw = context.raw
    if not _flattened(raw):
        return
    name = effective.attention(raw)
    if not effective.keeps_rows_apart(name) and name != "varlen":
        yield context.finding("`batch_flattening` needs an attention that keeps rows apart; "
                              + (f"`{name}` does not." if name else "none is written."), "batch_flattening",
                              expected="attn_implementation: flash_attention_2", fix="attn_implementation: flash_attention_2")
    if raw.truthy("sample_packing"):
        yield context.finding("`batch_flattening` and `sample_packing` both lay rows end to end.", "batch_flattening", expected="one of the two",
                              fix="delete `batch_flattening`")


@rule("TL361", Severity.WARNING, safe=True, title="batch_flattening of single rows", why="A batch of one row has nothing to lay end to end.",
      bad=_FLASH + "batch_flattening: true\nmicro_batch_size: 1", good=_FLASH + "batch_flattening: true\nmicro_batch_size: 4")
def flattening_one(context: Context) -> Iterator[Finding]:
    """batch_flattening: true and micro_batch_size 1, which is also what holds when it is not written."""
    if _flattened(context.raw) and context.raw.number("micro_batch_size", 1) == 1:
        yield context.finding("`batch_flattening` has no effect: `micro_batch_size` is 1.", "batch_flattening", fix="delete `batch_flattening`")


@rule("TL362", Severity.WARNING, title="batch_flattening with Liger's loss for GRPO",
      why="Liger's fused loss reads the batch its own way, so rows are laid end to end only where answers are scored, not where is trained.",
      bad=_FLASH + "rl: grpo\nmicro_batch_size: 4\nbatch_flattening: true\ntrl: {use_liger_loss: true}",
      good=_FLASH + "rl: grpo\nmicro_batch_size: 4\nbatch_flattening: true")
def flattening_liger(context: Context) -> Iterator[Finding]:
    """batch_flattening and trl.use_liger_loss."""
    if context.raw.truthy("batch_flattening", "trl.use_liger_loss"):
        yield context.finding("With `trl.use_liger_loss`, `batch_flattening` only reaches the scoring of answers.", "batch_flattening",
                              expected="one of the two")


@rule("TL363", Severity.NOTE, title="batch_flattening: auto",
      why="Axolotl decides by the attention, by packing and by the size of a batch, and says nothing.",
      bad=("batch_flattening: auto", _FLASH + "batch_flattening: auto\nmicro_batch_size: 4"), good="batch_flattening: false")
def flattening_auto(context: Context) -> Iterator[Finding]:
    """batch_flattening: auto, and what becomes of it."""
    raw = context.raw
    if raw.get("batch_flattening") != "auto":
        return
    name = effective.attention(raw)
    if not effective.keeps_rows_apart(name) and name != "varlen":
        result = f"off: {name + ' does not keep' if name else 'no attention is written that keeps'} rows apart"
    elif raw.truthy("sample_packing"):
        result = "off: sample_packing is on"
    else:
        result = "on" if (raw.number("micro_batch_size", 1) or 0) > 1 else "off: micro_batch_size is 1"
    yield context.finding(f"`batch_flattening: auto` is {result}.", "batch_flattening",
                          fix=f"batch_flattening: {str(result == 'on').lower()}", safe=True)


@rule("TL364", Severity.ERROR, title="Streamed rows without max_steps",
      why="Nobody knows how many rows a stream holds, so the schedule of the learning rate and the end of the run have to be given in steps.",
      bad=("streaming: true", _CORPUS.strip()), good=_STREAM)
def endless(context: Context) -> Iterator[Finding]:
    """streaming or pretraining_dataset, and no max_steps."""
    key = _stream(context.raw)
    if key and not context.raw.truthy("max_steps"):
        yield context.finding(f"`{key}` needs `max_steps`, which is not written.", key, expected="max_steps", fix="max_steps: 1000")


@rule("TL365", Severity.WARNING, safe=False, title="Streamed rows sorted by length",
      why="To sort rows by length all of them have to be read first: the stream is downloaded to its end before the first step.",
      bad=_CORPUS + "max_steps: 100\ngroup_by_length: true", good=_CORPUS + "max_steps: 100")
def sorted_stream(context: Context) -> Iterator[Finding]:
    """pretraining_dataset and group_by_length."""
    if context.raw.truthy("pretraining_dataset", "group_by_length"):
        yield context.finding("`group_by_length` reads the whole of `pretraining_dataset` before the first step.", "group_by_length",
                              fix="delete `group_by_length`")


@rule("TL366", Severity.NOTE, title="How a stream is shared among processes",
      why="Unlike accelerate's own default, each process then reads and batches the stream itself, so nothing is sent from the first one.",
      bad=_CORPUS + "max_steps: 100",
      good=_CORPUS + "max_steps: 100\naccelerator_config: {split_batches: false, dispatch_batches: false}")
def shared_stream(context: Context) -> Iterator[Finding]:
    """pretraining_dataset and no split_batches or dispatch_batches."""
    missing = [key for key in ("split_batches", "dispatch_batches") if not context.raw.written(f"accelerator_config.{key}")]
    if context.raw.truthy("pretraining_dataset") and missing:
        yield context.finding(f"With `pretraining_dataset`, {' and '.join(f'`{key}`' for key in missing)} of `accelerator_config` "
                              f"{'are' if len(missing) > 1 else 'is'} set to false.", "pretraining_dataset",
                              expected="accelerator_config: {split_batches: false, dispatch_batches: false}")


@rule("TL367", Severity.ERROR, title="val_set_size of a stream",
      why="A part of the rows can only be held out when their number is known.",
      bad=(_STREAM + "\nval_set_size: 0.05", _CORPUS + "max_steps: 100\nval_set_size: 0.05"), good=_STREAM + "\nval_set_size: 0")
def held_out_of_stream(context: Context) -> Iterator[Finding]:
    """streaming or pretraining_dataset, and val_set_size."""
    key = _stream(context.raw)
    if key and context.raw.number("val_set_size"):
        yield context.finding(f"`val_set_size` does not work with `{key}`.", "val_set_size", expected="test_datasets",
                              fix="delete `val_set_size`")


@rule("TL368", Severity.ERROR, title="Several streams packed together",
      why="Rows of one stream can be packed; packing over several is not written yet, and Axolotl stops with a traceback.",
      bad=_STREAM + "\nsample_packing: true\ndatasets: [{path: a, type: alpaca}, {path: b, type: alpaca}]",
      good=_STREAM + "\nsample_packing: true\ndatasets: [{path: a, type: alpaca}]")
def packed_streams(context: Context) -> Iterator[Finding]:
    """streaming, sample_packing and more than one dataset."""
    datasets = context.raw.get("datasets")
    if context.raw.truthy("streaming", "sample_packing") and isinstance(datasets, list) and len(datasets) > 1:
        yield context.finding(f"`sample_packing` works with one stream, and there are {len(datasets)} datasets.", "sample_packing",
                              expected="one dataset, or no packing", fix="delete `sample_packing`")


@rule("TL369", Severity.WARNING, title="The weight of a streamed dataset",
      why="Streams are read as they come: every row is used, and a weight below 1 is passed over.",
      bad=_STREAM + "\ndatasets: [{path: a, type: alpaca, weight: 0.5}]", good=_STREAM + "\ndatasets: [{path: a, type: alpaca}]")
def weighted_stream(context: Context) -> Iterator[Finding]:
    """streaming and a weight below 1."""
    for index, entry in context.raw.items("datasets") if context.raw.truthy("streaming") else ():
        weight = Raw(entry).number("weight")
        if weight is not None and weight < 1:
            yield context.finding(f"`weight: {weight:g}` has no effect with `streaming`.", "datasets", index, "weight", fix="delete `weight`")


@rule("TL322", Severity.BLOCKED, title="A drawn part of a stream",
      why="Which rows are a tenth of all of them is only known when all are counted, and a stream is never read to its end for that.",
      bad=_STREAM + "\ndatasets: [{path: a, type: alpaca, shards: 10}]", good=_STREAM + "\ndatasets: [{path: a, type: alpaca}]")
def part_of_stream(context: Context) -> Iterator[Finding]:
    """streaming and shards or preprocess_shards."""
    for index, entry in context.raw.items("datasets") if context.raw.truthy("streaming") else ():
        for key in ("shards", "preprocess_shards"):
            if (Raw(entry).number(key) or 1) > 1:
                yield context.finding(f"`{key}` does not work with `streaming`: max_steps says how many rows are read.", "datasets", index, key,
                                      fix=f"delete `{key}`")


@rule("TL323", Severity.WARNING, title="Documents are cut off",
      why="Without sample_packing Axolotl makes one row of each document of a pretraining_dataset and throws away what does not fit into sequence_len - 2 "
          "tokens; it adds no end-of-text token. With sample_packing documents are cut into windows, each closed with that token.",
      bad=_CORPUS + "max_steps: 100", good=_CORPUS + "max_steps: 100\nsample_packing: true")
def cut_documents(context: Context) -> Iterator[Finding]:
    """pretraining_dataset without sample_packing."""
    config = context.config
    if context.raw.truthy("pretraining_dataset") and not config.data.sample_packing and trained_on(config.data)[0].type == "pretrain":
        yield context.finding(f"Of every document at most {config.data.sequence_len - 2:,} tokens are trained on, and no end-of-text token.",
                              "pretraining_dataset", expected="sample_packing: true", fix="sample_packing: true")


@rule("TL324", Severity.WARNING, title="Data that is not read",
      why="A pretraining_dataset takes the place of datasets, and only its first entry is read; Axolotl says nothing.",
      bad=(_CORPUS + "max_steps: 100\ndatasets: [{path: a, type: alpaca}]", "max_steps: 100\npretraining_dataset: [{path: a}, {path: b}]"),
      good=_STREAM)
def unread_data(context: Context) -> Iterator[Finding]:
    """datasets beside pretraining_dataset, or a second entry of it."""
    raw = context.raw
    if not raw.truthy("pretraining_dataset"):
        return
    if raw.truthy("datasets"):
        yield context.finding("`datasets` is not read: `pretraining_dataset` takes its place.", "datasets", expected="one of the two",
                              fix="delete `datasets`")
    if len(raw.items("pretraining_dataset")) > 1:
        yield context.finding(f"Only the first of the {len(raw.items('pretraining_dataset'))} entries of `pretraining_dataset` is read.",
                              "pretraining_dataset", expected="one entry")


@rule("TL325", Severity.BLOCKED, title="Preference data as a stream",
      why="Pairs of answers are read whole here: their trainers count them before they begin.",
      bad=_STREAM + "\nrl: dpo", good="rl: dpo")
def streamed_pairs(context: Context) -> Iterator[Finding]:
    """streaming and a preference method or a reward model."""
    if (key := _stream(context.raw)) and context.config.preference.method is not None:
        yield context.finding(f"`{key}` does not work with preference data.", key, fix=f"delete `{key}`")


def _flattened(raw: Raw) -> bool:
    """Whether batch_flattening is on for certain."""
    return raw.truthy("batch_flattening") and raw.get("batch_flattening") != "auto"


def _stream(raw: Raw) -> str | None:
    """The key that makes the training read a stream."""
    return raw.first("streaming", "pretraining_dataset")
