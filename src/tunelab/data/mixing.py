"""Which rows of a dataset are used, and in which order the samples of all datasets stand: shards, weights, merging, shuffling.

The order is that of Axolotl 0.21 with the same seed: its shuffle is `numpy.random.default_rng(seed).permutation`, of each dataset or
of all samples together. Without a seed in the config it draws another order every time; here that is the fixed DEFAULT_SEED.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, TypeVar

from tunelab.config.config import Config
from tunelab.config.sections.data import DataSection, Dataset
from tunelab.errors import DataError

DEFAULT_SEED = 42

T = TypeVar("T")


def is_streamed(data: DataSection) -> bool:
    """Whether rows are read in order, as far as the steps need them."""
    return bool(data.streaming or data.pretraining_dataset)


def seed_of(config: Config) -> int:
    """The number that all randomness of a run starts from."""
    return DEFAULT_SEED if config.run.seed is None else config.run.seed


def trained_on(data: DataSection) -> tuple[Dataset, ...]:
    """What is trained on: the entries of `datasets`, or of pretraining_dataset the first, the only one that counts, as such an entry: what
    reads plain text takes its column from `field`."""
    if not data.pretraining_dataset:
        return tuple(data.datasets)
    one = data.pretraining_dataset[0]
    return (Dataset(path=one.path, type=one.type, name=one.name, split=one.split, revision=one.revision, data_files=one.data_files, ds_type=one.ds_type,
                    field=one.text_column),)


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """The items in the order that the `datasets` library's shuffle(seed) gives."""
    return [items[index] for index in permutation(len(items), seed).tolist()]


def permutation(count: int, seed: int) -> Any:
    """The order of `count` things, (count,) int64."""
    import numpy as np

    return np.random.default_rng(seed).permutation(count)


def chooses(dataset: Dataset) -> bool:
    """Whether anything but all rows in their order is used of a dataset."""
    return bool(dataset.shards or dataset.preprocess_shards) or _is_part(dataset)


def pieces(count: int, dataset: Dataset, index: int, seed: int) -> list[Any]:
    """The rows to use of `count`, as row numbers from 0 in their order; several pieces where the config wants them apart.

    `shards`: shuffled, then one of the contiguous parts; `preprocess_shards`: all of these parts; `weight`: of each piece, shuffled
    (again), the first share. Raises DataError when nothing is left.
    """
    import numpy as np

    if dataset.shards:
        found = [_shard(count, dataset.shards, dataset.shards_idx or 0, index, seed)]
    elif dataset.preprocess_shards:
        order, parts = permutation(count, seed), dataset.preprocess_shards
        found = [order[start:stop] for start, stop in (_part(count, parts, number) for number in range(parts))]
    else:
        found = [np.arange(count, dtype=np.int64)]
    if _is_part(dataset):
        found = [piece[permutation(len(piece), seed)[:_weighted(len(piece), dataset)]] for piece in found]
    return found


def shard(rows: Sequence[T], dataset: Dataset, index: int, seed: int) -> list[T]:
    """The rows that `shards`, `preprocess_shards` and `weight` keep, in their order."""
    return [rows[number] for piece in pieces(len(rows), dataset, index, seed) for number in piece.tolist()]


def merged(parts: Sequence[Any], data: DataSection, seed: int) -> Any:
    """The order of all samples, given those of each dataset (arrays of sample numbers)."""
    import numpy as np

    if len(parts) > 1 and data.shuffle_before_merging_datasets:
        parts = [part[permutation(len(part), seed)] for part in parts]
    whole = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    in_order = not data.shuffle_merged_datasets or (data.curriculum_sampling and len(parts) == 1)
    return whole if in_order else whole[permutation(len(whole), seed)]


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


def _shard(count: int, shards: int, wanted: int, index: int, seed: int) -> Any:
    if wanted >= shards:
        raise DataError(f"shards_idx is {wanted}; expected 0 to {shards - 1}, as shards is {shards}.",
                        where=f"datasets[{index}].shards_idx", next_step="Write shards_idx: 0")
    start, stop = _part(count, shards, wanted)
    if start == stop:
        raise DataError(f"Part {wanted} of {shards} is empty: the dataset has {count} rows.", where=f"datasets[{index}].shards",
                        next_step="Lower `shards`, or delete it.")
    return permutation(count, seed)[start:stop]


def _part(count: int, parts: int, wanted: int) -> tuple[int, int]:
    """The borders of one of several contiguous parts of nearly the same size, the first ones larger."""
    size, extra = divmod(count, parts)
    start = size * wanted + min(wanted, extra)
    return start, start + size + (wanted < extra)


def _is_part(dataset: Dataset) -> bool:
    return dataset.weight is not None and dataset.weight < 1


def _weighted(count: int, dataset: Dataset) -> int:
    return min(count, max(1, int(count * (dataset.weight or 1)))) if count else 0
