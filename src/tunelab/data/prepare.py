"""Datasets to tokenised samples, in Axolotl's order: read, choose, tokenise, merge, shuffle, leave out, hold out.

What is left out is counted, so that nothing disappears silently.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, fields, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tunelab.config.config import Config
from tunelab.config.sections.data import Dataset
from tunelab.data import cache
from tunelab.data.counts import Counts, Tally, from_json, nothing_left, to_json, together
from tunelab.data.dedup import without_duplicates
from tunelab.data.formats import Context, find_format, format_for, pretrain
from tunelab.data.formats.pair_tokens import find_pair_format
from tunelab.data.mixing import DEFAULT_SEED, chooses, held_out_count, is_streamed, merged, pieces, seed_of, shard, shuffled, trained_on
from tunelab.data.pairs import entries_as_read, spread, width_of
from tunelab.data.parts import Work
from tunelab.data.sample import Row, Sample
from tunelab.data.samples import Samples, encode
from tunelab.data.sources import RowSource, find_source
from tunelab.data.stream import Stream, stream_of
from tunelab.data.templates import resolve_template
from tunelab.data.tokenizer import TextTokenizer
from tunelab.data.workers import Task, cores, made_parts
from tunelab.errors import DataError, TunelabError

__all__ = ["DEFAULT_SEED", "MIN_TOKENS", "Counts", "Prepared", "Progress", "context_of", "held_out_count", "prepare", "shard", "shuffled"]

MIN_TOKENS = 2
"""A shorter row has nothing to predict; min_sample_len says otherwise."""

Progress = Callable[[int, int], None]

_TASK = 100
"""Rows that are tokenised at a time."""

_ROWS_EACH, _BYTES_EACH = 8000, 2**23
"""A process is worth its start when it has so much to do: it begins with an empty memory of words."""

_FEW_BYTES = 2**25
"""Files up to this size are read once and kept; larger ones are read once to count their rows and once more to tokenise them."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Samples to train on, in order, and samples held out. `cached` says that they were read from the cache.

    `width`: how many samples make a row: one, or the two of a pair (data.pairs).
    """

    train: Sequence[Sample]
    held_out: Sequence[Sample]
    counts: Counts
    cached: bool
    width: int = 1

    def fingerprint(self) -> str:
        """A hash of every token and label that is trained on or held out, in order."""
        parts = [part if isinstance(part, Samples) else encode(part) for part in (self.train, self.held_out)]
        return hashlib.sha256("|".join(part.digest() for part in parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Group:
    """Datasets whose rows are put together: those to train on, or test_datasets. `first` is the number of the first one of them."""

    config: Config
    key: str
    datasets: tuple[Dataset, ...]
    first: int
    sources: tuple[RowSource, ...]
    contexts: tuple[Context, ...]
    longest: int
    processes: int = 1

    @property
    def seed(self) -> int:
        return seed_of(self.config)

    @property
    def width(self) -> int:
        return width_of(self.config)

    @property
    def stream(self) -> Stream | None:
        """How it is read when it is not read whole."""
        return stream_of(self.config, self.processes) if self.key == "datasets" and is_streamed(self.config.data) else None


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a dataset: how many there are, which are used (in their order), and a look at the first."""

    source: RowSource
    kept: tuple[Row, ...] | None
    pieces: Sequence[Any] | None
    total: int
    first: Row | None

    def numbered(self) -> Iterator[tuple[int, Row]]:
        """The rows to use with their numbers, in the order of the files."""
        rows = enumerate(self.source.rows() if self.kept is None else self.kept)
        if self.pieces is None:
            return rows
        wanted = {number for piece in self.pieces for number in piece.tolist()}
        return ((number, row) for number, row in rows if number in wanted)


def prepare(config: Config, tokenizer: TextTokenizer, *, progress: Progress | None = None, processes: int = 1) -> Prepared:
    """Tokenise all datasets of a config and split them. `progress(done, total)` is told rows; `processes` are those of the training, whose
    number decides how much of a stream the steps take.

    Raises DataError for data that cannot be read, is not of its type, or leaves nothing to learn; ConfigError for a chat
    template that is not known.
    """
    train = _group(config, tokenizer, "datasets", trained_on(config.data) if is_streamed(config.data) else entries_as_read(config, "datasets"), 0)
    train = replace(train, processes=processes)
    tests = entries_as_read(config, "test_datasets")
    test = _group(config, tokenizer, "test_datasets", tests, len(train.datasets)) if tests else None
    samples, counts, cached = _made(train, progress)
    width = train.width
    if test is None:
        rows = len(samples) // width
        last = rows - held_out_count(rows, config.data.val_set_size)
        return Prepared(samples[:last * width], samples[last * width:], replace(counts, held_out=rows - last), cached, width)
    held_out, about, also_cached = _made(test, progress)
    return Prepared(samples, held_out, together(counts, replace(about, held_out=len(held_out) // width)), cached and also_cached, width)


def context_of(config: Config, dataset: Dataset, index: int, tokenizer: TextTokenizer) -> Context:
    """What the rows of a dataset are tokenised with. Raises ConfigError for a chat template that is not known."""
    model = config.model
    template = resolve_template(dataset.chat_template, dataset.chat_template_jinja, tokenizer.chat_template,
                                where=f"datasets[{index}].chat_template")
    return Context(tokenizer, config.data.sequence_len, config.data.train_on_inputs, template,
                   None if model.eot_tokens is None else tuple(model.eot_tokens), model.chat_template_kwargs or {},
                   dataset.chat_template or model.chat_template)


def _group(config: Config, tokenizer: TextTokenizer, key: str, datasets: tuple[Dataset, ...], first: int) -> _Group:
    """Find everything that is to be read, before anything is."""
    data, folder, split = config.data, config.source.path.parent, "train" if key == "datasets" else "test"
    try:
        for index, dataset in enumerate(datasets):
            if config.preference.method is not None:
                find_pair_format(config.preference.method, dataset, index)
            elif dataset.type:
                find_format(dataset.type, index)
        streams = is_streamed(data) and key == "datasets"
        sources = tuple(find_source(dataset, index, config_folder=folder, default_split=split, streams=streams) for index, dataset in enumerate(datasets))
        contexts = tuple(context_of(config, dataset, index, tokenizer) for index, dataset in enumerate(datasets))
    except TunelabError as error:
        raise _in(key, error) from error
    longest = data.sequence_len if key == "datasets" or config.preference.method is not None else data.eval_sequence_len or data.sequence_len
    sources = tuple(replace(source, index=first + index) for index, source in enumerate(sources))
    return _Group(config, key, datasets, first, sources, contexts, longest)


def _in(key: str, error: TunelabError) -> TunelabError:
    """The error with its place among test_datasets when that is where it happened."""
    if error.where and error.where.startswith("datasets["):
        error.where = key + error.where.removeprefix("datasets")
    return error


def _made(group: _Group, progress: Progress | None) -> tuple[Samples, Counts, bool]:
    """The samples of a group, from the cache where it has them."""
    path = group.config.data.dataset_prepared_path
    if not path:
        writer = cache.Writer(Path(tempfile.gettempdir()) if group.stream else None)
        try:
            return *_tokenised(group, writer, progress), False
        finally:
            writer.close()
    stamps = [source.stamp() for source in group.sources]
    key = cache.key_of(_options(group), group.contexts[0].tokenizer.fingerprint, [source.digest() for source in group.sources],
                       [context.template for context in group.contexts])
    found = cache.load(Path(path), key)
    if found is not None:
        return found[0], from_json(found[1]), True
    writer = cache.Writer(Path(path))
    try:
        samples, counts = _tokenised(group, writer, progress)
        if stamps != [source.stamp() for source in group.sources]:
            raise DataError("The data was written to while it was being read.", where=group.key, next_step="Run again when it is done.")
        writer.keep(key, samples, to_json(counts))
        return samples, counts, False
    finally:
        writer.close()


def _options(group: _Group) -> list[Any]:
    """Everything in the config that decides tokens, labels, which rows are used, or their order."""
    data, folder = group.config.data, group.contexts[0].tokenizer.folder
    keys = ("sequence_len", "train_on_inputs", "shuffle_before_merging_datasets", "shuffle_merged_datasets", "excess_length_strategy",
            "min_sample_len", "dataset_exact_deduplication", "curriculum_sampling")
    contexts = [[str(getattr(context, one.name)) for one in fields(context) if one.name != "tokenizer"] for context in group.contexts]
    stream, mistral = group.stream, [part.lower() for part in folder.parts[-3:] if "mistral" in part.lower()]
    return [[dataset.model_dump(mode="json") for dataset in group.datasets], [getattr(data, key) for key in keys], group.first, group.longest,
            None if stream is None else astuple(stream), group.seed, group.config.preference.method, contexts, mistral]


def _tokenised(group: _Group, writer: cache.Writer, progress: Progress | None) -> tuple[Samples, Counts]:
    """Everything up to the split: the samples to use in their order, and what became of the others."""
    import numpy as np

    if group.stream is not None:
        return _streamed(group, group.stream, writer, progress)
    try:
        rows = [_rows(source, dataset, group.seed) for source, dataset in zip(group.sources, group.datasets, strict=True)]
        works = [_work(group, number, one.first) for number, one in enumerate(rows)]
        total, done, tally = sum(one.total for one in rows), 0, Tally()
        made: list[list[Any]] = [[] for _ in rows]
        used: list[list[Any]] = [[] for _ in rows]
        for task, part in made_parts(_tasks(rows), works, _processes(group, total)):
            writer.add(part.samples)
            made[task.work].append(part.rows)
            used[task.work].append(part.used)
            tally += part.tally
            done += len(task.rows)
            if progress is not None:
                progress(done, total)
    except TunelabError as error:
        raise _in(group.key, error) from error
    samples = writer.whole()
    if not len(samples):
        nothing_left(tally, group.longest)
    of_sample = np.cumsum(np.concatenate([np.zeros(0, np.bool_), *chain(*used)])) - 1  # made units -> used ones
    of_sample[~np.concatenate([np.zeros(0, np.bool_), *chain(*used)])] = -1
    order = of_sample[merged(_orders(rows, made), group.config.data, group.seed)]
    samples = samples.select(spread(order[order >= 0], group.width))
    kept = without_duplicates(samples, group.width) if group.config.data.dataset_exact_deduplication else samples
    return kept, tally.counts(len(kept) // group.width, (len(samples) - len(kept)) // group.width)


def _streamed(group: _Group, stream: Stream, writer: cache.Writer, progress: Progress | None) -> tuple[Samples, Counts]:
    """The samples of a stream in its order, as many as the steps need or as there are."""
    works = [_work(group, number, next(source.rows(), None)) for number, source in enumerate(group.sources)]
    processes = min(group.config.data.dataset_num_proc or cores(), max(1, max(stream.tokens // 2**21, stream.samples // _ROWS_EACH)))
    samples, tokens, tally = 0, 0, Tally()
    with closing(made_parts(stream.tasks(group.sources), works, processes)) as parts:
        for _, part in parts:
            writer.add(part.samples)
            samples, tokens, tally = samples + len(part.samples), tokens + int(part.samples.starts[-1]), tally + part.tally
            share = stream.share(samples, tokens)
            if progress is not None:
                progress(tally.read, max(tally.read, round(tally.read / share) if share else 0))
            if share >= 1:
                break
    found = writer.whole()
    if not len(found):
        nothing_left(tally, group.longest)
    return found, tally.counts(len(found), 0)


def _rows(source: RowSource, dataset: Dataset, seed: int) -> _Rows:
    """Count the rows and choose among them; small files stay in memory meanwhile."""
    kept = tuple(source.rows()) if source.files and source.bytes() <= _FEW_BYTES else None
    first = kept[0] if kept else next(source.rows(), None)
    count = len(kept) if kept is not None else source.count()
    chosen = pieces(count, dataset, source.index, seed) if chooses(dataset) else None
    return _Rows(source, kept, chosen, count if chosen is None else sum(map(len, chosen)), first)


def _work(group: _Group, number: int, first: Row | None) -> Work:
    dataset, data, context = group.datasets[number], group.config.data, group.contexts[number]
    method = group.config.preference.method
    excess = data.excess_length_strategy or "drop"
    if excess == "drop":
        context = replace(context, longest=group.longest)
    if group.stream is not None and dataset.type == "pretrain" and not data.sample_packing:
        return Work(dataset, context, pretrain.whole, data.sequence_len - 2, data.min_sample_len or MIN_TOKENS, "truncate")
    tokenise = find_pair_format(method, dataset, number) if method is not None else format_for(dataset, number, None if first is None else first.values)
    return Work(dataset, context, tokenise, group.longest, 0 if method is not None else data.min_sample_len or MIN_TOKENS, excess)


def _tasks(rows: Sequence[_Rows]) -> Iterator[Task]:
    for number, one in enumerate(rows):
        numbered = one.numbered()
        while part := list(islice(numbered, _TASK)):
            yield Task(number, [row for _, row in part], [place for place, _ in part])


def _processes(group: _Group, total: int) -> int:
    asked = group.config.data.dataset_num_proc
    worth = max(total // _ROWS_EACH, sum(source.bytes() for source in group.sources) // _BYTES_EACH)
    return max(1, min(asked or cores(), worth, -(-total // _TASK)))


def _orders(rows: Sequence[_Rows], made: Sequence[Sequence[Any]]) -> list[Any]:
    """The numbers of the samples of each piece of the data, counted over all of it, in the order of their rows."""
    import numpy as np

    orders, start = [], 0
    for one, parts in zip(rows, made, strict=True):
        of_row = np.concatenate([np.zeros(0, np.int64), *parts])
        if one.pieces is None:
            orders.append(np.arange(start, start + len(of_row)))
        for piece in one.pieces or ():
            rank = np.full(max(int(of_row.max(initial=-1)), int(piece.max(initial=-1))) + 1, -1, dtype=np.int64)
            rank[piece] = np.arange(len(piece))
            inside = np.flatnonzero(rank[of_row] >= 0)
            orders.append(start + inside[np.argsort(rank[of_row[inside]], kind="stable")])
        start += len(of_row)
    return orders
