"""Datasets to tokenised samples, in Axolotl's order: read, shard, tokenise, merge, shuffle, leave out, hold out.

What is left out is counted, so that nothing disappears silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tunelab.config.config import Config
from tunelab.config.sections.data import Dataset
from tunelab.data import cache
from tunelab.data.formats import Context, find_format
from tunelab.data.formats.completion import was_cut
from tunelab.data.formats.context import fitting_edit
from tunelab.data.sample import Origin, Row, Sample
from tunelab.data.sources import RowSource, find_source
from tunelab.data.templates import resolve_template
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import DataError

DEFAULT_SEED = 42
MIN_TOKENS = 2
"""A shorter row has nothing to predict."""

Progress = Callable[[int, int], None]
T = TypeVar("T")
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows.

    `read` counts rows (after `shards`); the others count samples, which is the same except for `type: completion`, where a
    long text gives several and an empty one none (counted as too short). `kept` includes `held_out`. `cut` counts texts of
    `type: completion` that are longer than 64 x sequence_len and whose rest is not used. The examples are the first few.
    """

    read: int
    kept: int
    too_long: int
    too_short: int
    without_label: int
    held_out: int
    cut: int = 0
    examples_too_long: tuple[Origin, ...] = ()
    examples_without_label: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """Samples to train on, in order, and samples held out. `cached` says that they were read from the cache."""

    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    counts: Counts
    cached: bool


def prepare(config: Config, tokenizer: TextTokenizer, *, progress: Progress | None = None) -> Prepared:
    """Tokenise all datasets of a config and split them. `progress(done, total)` is told rows.

    Raises DataError for data that cannot be read, is not of its type, or leaves nothing to learn; ConfigError for a chat
    template that is not known.
    """
    data = config.data
    for index, dataset in enumerate(data.datasets):
        if dataset.type:
            find_format(dataset.type, index)
    folder = config.source.path.parent
    sources = [find_source(dataset, index, config_folder=folder) for index, dataset in enumerate(data.datasets)]
    contexts = [_context(config, dataset, index, tokenizer) for index, dataset in enumerate(data.datasets)]
    key = cache.key_of(data, _seed(config), tokenizer.fingerprint, [source.digest() for source in sources],
                       [context.template for context in contexts]) if data.dataset_prepared_path else ""
    if key:
        found = cache.load(Path(str(data.dataset_prepared_path)), key)
        if found is not None:
            samples, numbers = found
            return _split(samples, _counts_from(numbers, samples), config, cached=True)
    samples, counts = _tokenise_all(config, sources, contexts, progress)
    if key:
        cache.save(Path(str(data.dataset_prepared_path)), key, samples, _counts_to(counts))
    return _split(samples, counts, config, cached=False)


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """The items in the order that the `datasets` library's shuffle(seed) gives."""
    import numpy as np

    return [items[int(index)] for index in np.random.default_rng(seed).permutation(len(items))]


def shard(rows: Sequence[T], dataset: Dataset, index: int, seed: int) -> list[T]:
    """The part of the rows that `shards` and `shards_idx` keep: shuffled, then one of the contiguous parts."""
    if dataset.shards is None:
        return list(rows)
    wanted = dataset.shards_idx or 0
    if wanted >= dataset.shards:
        raise DataError(f"shards_idx is {wanted}; expected 0 to {dataset.shards - 1}, as shards is {dataset.shards}.",
                        where=f"datasets[{index}].shards_idx", next_step="Write shards_idx: 0")
    size, extra = divmod(len(rows), dataset.shards)
    start = size * wanted + min(wanted, extra)
    part = shuffled(rows, seed)[start:start + size + (wanted < extra)]
    if not part:
        raise DataError(f"Part {wanted} of {dataset.shards} is empty: the dataset has {len(rows)} rows.",
                        where=f"datasets[{index}].shards", next_step="Lower `shards`, or delete it.")
    return part


def held_out_count(rows: int, val_set_size: float) -> int:
    """How many rows are held out: a share is rounded up. Raises DataError when none is left to train on."""
    if val_set_size >= 1 and not float(val_set_size).is_integer():
        raise DataError(f"val_set_size is {val_set_size}; expected a share below 1 or a whole number of rows.", where="val_set_size",
                        next_step=f"Write val_set_size: {round(val_set_size)}")
    count = ceil(val_set_size * rows) if val_set_size < 1 else int(val_set_size)
    if count >= rows:
        raise DataError(f"val_set_size: {val_set_size:g} holds out {count} of {rows} rows and leaves none to train on.",
                        where="val_set_size", next_step="Lower it, or add rows.")
    return count


def _seed(config: Config) -> int:
    return DEFAULT_SEED if config.run.seed is None else config.run.seed


def _context(config: Config, dataset: Dataset, index: int, tokenizer: TextTokenizer) -> Context:
    template = resolve_template(dataset.chat_template, dataset.chat_template_jinja, tokenizer.chat_template,
                                where=f"datasets[{index}].chat_template")
    return Context(tokenizer, config.data.sequence_len, config.data.train_on_inputs, template)


def _tokenise_all(config: Config, sources: Sequence[RowSource], contexts: Sequence[Context],
                  progress: Progress | None) -> tuple[list[Sample], Counts]:
    """Everything up to the split."""
    data, seed = config.data, _seed(config)
    rows = [shard(source.rows(), dataset, index, seed)
            for index, (source, dataset) in enumerate(zip(sources, data.datasets, strict=True))]
    total, done = sum(map(len, rows)), 0
    merged: list[Sample] = []
    empty = cut = 0
    for index, (part, dataset, context) in enumerate(zip(rows, data.datasets, contexts, strict=True)):
        tokenise = find_format(_type_name(dataset, index, part), index)
        for row in part:
            samples = tokenise(row, dataset, context)
            merged += samples
            empty += not samples
            cut += dataset.type == "completion" and bool(samples) and was_cut(samples, context)
            done += 1
            if progress is not None and (done % 100 == 0 or done == total):
                progress(done, total)
    if data.shuffle_merged_datasets:
        merged = shuffled(merged, seed)
    kept, counts = _leave_out(merged, data.sequence_len, total)
    return kept, replace(counts, too_short=counts.too_short + empty, cut=cut)


def _type_name(dataset: Dataset, index: int, rows: Sequence[Row]) -> str:
    if dataset.type:
        return dataset.type
    fitting = fitting_edit(rows[0].values) if rows else None
    raise DataError("The dataset has no `type`, which says how a row becomes a prompt and an answer.", where=f"datasets[{index}].type",
                    next_step=f"Its columns fit: {fitting}" if fitting else "Write: type: chat_template")


def _leave_out(samples: Sequence[Sample], sequence_len: int, read: int) -> tuple[list[Sample], Counts]:
    """Leave out rows that are too long, too short, or teach nothing. Raises DataError when none is left."""
    fitting = [sample for sample in samples if MIN_TOKENS <= len(sample.input_ids) <= sequence_len]
    kept = [sample for sample in fitting if sample.supervised]
    long = [sample for sample in samples if len(sample.input_ids) > sequence_len]
    silent = [sample for sample in fitting if not sample.supervised]
    if not kept:
        _nothing_left(read, long, silent, sequence_len)
    return kept, Counts(
        read=read, kept=len(kept), too_long=len(long), too_short=len(samples) - len(fitting) - len(long), without_label=len(silent),
        held_out=0, examples_too_long=_first(long), examples_without_label=_first(silent))


def _nothing_left(read: int, long: Sequence[Sample], silent: Sequence[Sample], sequence_len: int) -> NoReturn:
    """Say why of the more frequent reason, at its first row in the order of the data."""
    message = f"None of the {read} rows can be trained on: {len(long)} too long, {len(silent)} without a token that carries loss."
    if long and len(long) >= len(silent):
        first = min(long, key=_place)
        longest = max(len(sample.input_ids) for sample in long)
        raise DataError(f"{message} This row has {len(first.input_ids)} tokens; sequence_len is {sequence_len}.", where=str(first.origin),
                        next_step=f"Raise it: sequence_len: {longest} takes in every row, within the model's own limit.")
    if silent:
        raise DataError(f"{message} This row has a prompt and no answer to learn.", where=str(min(silent, key=_place).origin),
                        next_step="Check that answers are not empty, and roles, roles_to_train, train_on_eos and the segments' labels.")
    raise DataError(f"None of the {read} rows holds any text.", where="datasets", next_step="Check the column that the type reads.")


def _first(samples: Sequence[Sample]) -> tuple[Origin, ...]:
    return tuple(sample.origin for sample in sorted(samples, key=_place)[:_EXAMPLES])


def _place(sample: Sample) -> tuple[int, str, int]:
    return sample.origin.dataset, sample.origin.file, sample.origin.row


def _split(samples: Sequence[Sample], counts: Counts, config: Config, *, cached: bool) -> Prepared:
    """Hold out the last rows."""
    count = held_out_count(len(samples), config.data.val_set_size)
    border = len(samples) - count
    return Prepared(tuple(samples[:border]), tuple(samples[border:]), replace(counts, held_out=count), cached)


def _counts_to(counts: Counts) -> dict[str, object]:
    """As plain JSON, for the cache."""
    return {"numbers": [counts.read, counts.too_long, counts.too_short, counts.without_label, counts.cut],
            "examples": [[[one.dataset, one.file, one.row] for one in examples]
                         for examples in (counts.examples_too_long, counts.examples_without_label)]}


def _counts_from(saved: Mapping[str, Any], samples: Sequence[Sample]) -> Counts:
    read, too_long, too_short, without_label, cut = saved["numbers"]
    long, silent = (tuple(Origin(dataset, file, row) for dataset, file, row in examples) for examples in saved["examples"])
    return Counts(read=read, kept=len(samples), too_long=too_long, too_short=too_short, without_label=without_label, held_out=0, cut=cut,
                  examples_too_long=long, examples_without_label=silent)
