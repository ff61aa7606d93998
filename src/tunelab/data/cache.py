"""The cache of tokenised rows: one file per key, and the key covers everything that decides a token or a label.

The file holds plain arrays (never pickles) and is checked when it is read; one that is damaged or foreign counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from tunelab.config.sections.data import DataSection
from tunelab.data.sample import IGNORE, Origin, Sample
from tunelab.errors import StorageError

VERSION = 1
"""Raised with every change to how rows become tokens, so that no older file is hit."""


def key_of(data: DataSection, seed: int, tokenizer: str, contents: Sequence[str], templates: Sequence[str | None]) -> str:
    """The name of the cache file. `contents` are the digests of the datasets, `tokenizer` is the tokenizer's fingerprint."""
    today = date.today().isoformat() if any("strftime_now" in (template or "") for template in templates) else ""
    parts = [VERSION, metadata.version("tokenizers"), [dataset.model_dump(mode="json") for dataset in data.datasets], list(contents),
             tokenizer, list(templates), data.sequence_len, data.train_on_inputs, data.shuffle_merged_datasets, seed, today]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def save(folder: Path, key: str, samples: Sequence[Sample], numbers: dict[str, object]) -> None:
    """Write the samples and some plain numbers beside them, atomically. Raises StorageError."""
    import numpy as np

    files = list(dict.fromkeys(sample.origin.file for sample in samples))
    place = {file: number for number, file in enumerate(files)}
    about = json.dumps({"key": key, "files": files, "numbers": numbers}).encode()
    arrays: dict[str, Any] = {
        "about": np.frombuffer(about, dtype=np.uint8),
        "lengths": np.array([len(sample.input_ids) for sample in samples], dtype=np.int64),
        "ids": np.array([token for sample in samples for token in sample.input_ids], dtype=np.int32),
        "trained": np.array([label != IGNORE for sample in samples for label in sample.labels], dtype=np.bool_),
        "origins": np.array([(one.dataset, place[one.file], one.row) for one in (sample.origin for sample in samples)], dtype=np.int64)}
    temporary = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".partial")
        with os.fdopen(descriptor, "wb") as stream:
            np.savez_compressed(stream, **arrays)
        Path(temporary).replace(_file(folder, key))
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(f"The tokenised rows cannot be written: {error}.", where=str(folder),
                           next_step="Free some space, or choose another dataset_prepared_path.") from error


def load(folder: Path, key: str) -> tuple[list[Sample], dict[str, Any]] | None:
    """The samples and numbers that were saved under this key; None when there are none, or the file is damaged."""
    import numpy as np

    path = _file(folder, key)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            lengths, ids, trained, origins = (arrays[name] for name in ("lengths", "ids", "trained", "origins"))
        if about["key"] != key or not _fits_together(lengths, ids, trained, origins):
            return None
        samples = _samples(lengths, ids, np.where(trained, ids, IGNORE), origins, about["files"])
        return samples, dict(about["numbers"])
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _fits_together(lengths: Any, ids: Any, trained: Any, origins: Any) -> bool:
    return bool(lengths.sum() == len(ids) == len(trained) and origins.shape == (len(lengths), 3) and (lengths > 0).all()
                and len(ids) and ids.min() >= 0)


def _samples(lengths: Any, ids: Any, labels: Any, origins: Any, files: list[str]) -> list[Sample]:
    samples, start = [], 0
    flat_ids, flat_labels = ids.tolist(), labels.tolist()
    for length, (dataset, file, row) in zip(lengths.tolist(), origins.tolist(), strict=True):
        end = start + length
        samples.append(Sample(tuple(flat_ids[start:end]), tuple(flat_labels[start:end]), Origin(dataset, files[file], row)))
        start = end
    return samples


def _file(folder: Path, key: str) -> Path:
    return folder / f"rows-{key[:40]}.npz"
