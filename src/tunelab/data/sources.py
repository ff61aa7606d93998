"""Where the rows of a dataset are: local files and folders, or a dataset on the Hub.

Relative paths are relative to the working directory, as in Axolotl.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tunelab.config.sections.data import Dataset
from tunelab.data.readers import SUFFIXES, format_of, read_file
from tunelab.data.sample import Origin, Row
from tunelab.errors import DataError, needs

_SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
                "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}


@dataclass(frozen=True, slots=True)
class RowSource:
    """A dataset that was found: local files of one format, or (`files` empty) the rows that the Hub gave."""

    index: int
    file_format: str
    files: tuple[Path, ...]
    fetched: tuple[Row, ...] = ()

    def rows(self) -> list[Row]:
        """All rows, in the order of the files. Raises DataError with file and line."""
        if not self.files:
            return list(self.fetched)
        return [row for file in self.files for row in read_file(file, self.file_format, self.index)]

    def digest(self) -> str:
        """A hash of the content: of the files' names and bytes, or of the fetched rows."""
        digest = hashlib.sha256(self.file_format.encode())
        for file in self.files:
            digest.update(f"|{file}|".encode())
            with _readable(file).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        for row in self.fetched:
            digest.update(json.dumps(row.values, sort_keys=True, default=repr).encode())
        return digest.hexdigest()


def read_rows(dataset: Dataset, index: int, *, config_folder: Path | None = None) -> list[Row]:
    """All rows of `datasets[index]`. `config_folder` only serves to find out that a path was meant relative to the config.

    Raises DataError when there is nothing to read, with the place and what to do; MissingPartError for Parquet and the Hub
    where the train extra is not installed.
    """
    return find_source(dataset, index, config_folder=config_folder).rows()


def find_source(dataset: Dataset, index: int, *, config_folder: Path | None = None) -> RowSource:
    """Find the files of a dataset, or fetch it from the Hub. Raises as `read_rows` does."""
    where = f"datasets[{index}].path"
    if "://" in dataset.path:
        raise DataError(f"{dataset.path} is an address; tunelab reads local files and datasets of the Hub.", where=where,
                        next_step="Download the file and write its path.")
    path = Path(dataset.path).expanduser()
    if path.is_dir():
        return _in_folder(path, dataset, index)
    if path.is_file():
        return _in_files([path], dataset, index)
    if dataset.path in ("json", "csv", "text", "parquet") and dataset.data_files:
        return _in_files(_named_files(Path(), dataset, index), dataset, index, dataset.path)
    if _is_surely_local(dataset.path):
        raise DataError(f"There is no file or folder {path.absolute()}.", where=where, next_step=_nearby(path, config_folder))
    return RowSource(index, "hub", (), tuple(_from_hub(dataset, index, config_folder)))


def _in_files(files: Sequence[Path], dataset: Dataset, index: int, file_format: str | None = None) -> RowSource:
    if dataset.split not in (None, "train"):
        raise DataError(f"split is {dataset.split!r}, and a local file has only the split train.", where=f"datasets[{index}].split",
                        next_step="Delete `split`, and put the rows of other splits into files of their own.")
    formats = {dataset.ds_type or file_format or format_of(file) or "json" for file in files}
    if len(formats) > 1:
        raise DataError(f"The files are of several formats: {', '.join(sorted(formats))}.", where=f"datasets[{index}].path",
                        next_step="Make one entry under `datasets` for each format, or choose one with ds_type.")
    return RowSource(index, formats.pop(), tuple(files))


def _in_folder(folder: Path, dataset: Dataset, index: int) -> RowSource:
    """A folder's data files (also in its subfolders), sorted; of the split that is asked for when the names tell splits apart."""
    where = f"datasets[{index}].path"
    if dataset.data_files:
        return _in_files(_named_files(folder, dataset, index), dataset, index)
    files = [file for file in _files_below(folder) if _is_wanted(file, dataset.ds_type)]
    files = _of_split(files, folder, dataset.split or "train", index)
    if not files:
        raise DataError(f"The folder {folder.absolute()} holds no data file ({', '.join(SUFFIXES)}).", where=where,
                        next_step="Name the files: data_files: [FILE], with ds_type when the names do not tell the format.")
    return _in_files(files, dataset.model_copy(update={"split": None}), index)


def _files_below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*")
                  if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _is_wanted(file: Path, ds_type: str | None) -> bool:
    file_format = format_of(file)
    return file_format is not None and ds_type in (None, file_format, "jsonl" if file_format == "json" else None)


def _of_split(files: Sequence[Path], folder: Path, split: str, index: int) -> list[Path]:
    """As on the Hub: names like test-0.parquet or validation/part.jsonl put a file into a split, all others are train."""
    splits = {file: _split_of(file.relative_to(folder)) for file in files}
    chosen = [file for file in files if splits[file] == split]
    if files and not chosen:
        raise DataError(f"No file of the folder belongs to the split {split!r}; there are {', '.join(sorted(set(splits.values())))}.",
                        where=f"datasets[{index}].split", next_step="Choose one: split: NAME, or name the files: data_files: [FILE]")
    return chosen


def _split_of(path: Path) -> str:
    words = re.split(r"[^a-z]+", path.as_posix().lower())
    return next((_SPLIT_WORDS[word] for word in reversed(words) if word in _SPLIT_WORDS), "train")


def _named_files(folder: Path, dataset: Dataset, index: int) -> list[Path]:
    names = [dataset.data_files] if isinstance(dataset.data_files, str) else list(dataset.data_files or ())
    files: list[Path] = []
    for name in names:
        found = sorted(folder.glob(name)) if any(sign in name for sign in "*?[") and not Path(name).is_absolute() else [folder / name]
        if not found or not all(file.is_file() for file in found):
            raise DataError(f"There is no file {(folder / name).absolute()}.", where=f"datasets[{index}].data_files",
                            next_step="Correct the name; it is relative to `path`.")
        files += found
    return files


def _readable(file: Path) -> Path:
    try:
        file.open("rb").close()
    except OSError as error:
        raise DataError(f"The file cannot be read: {error}.", where=str(file), next_step="Check its permissions.") from error
    return file


def _is_surely_local(path: str) -> bool:
    """Whether a path cannot be a Hub id (NAME or ORG/NAME)."""
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or "\\" in path or ":" in path or format_of(Path(path)) is not None


def _nearby(path: Path, config_folder: Path | None) -> str:
    """What to do about a path that is not there."""
    beside = config_folder / path if config_folder is not None else None
    if beside is not None and beside.exists():
        return (f"It stands beside the config; paths are relative to the working directory: write path: {beside}, "
                f"or run from {config_folder}.")
    return f"Correct the path; relative paths start at {Path.cwd()}."


def _from_hub(dataset: Dataset, index: int, config_folder: Path | None) -> Iterable[Row]:
    with needs("train", "Reading a dataset of the Hub"):
        import datasets
    _ask_hub(dataset, index, config_folder, Path(datasets.config.HF_DATASETS_CACHE))
    try:
        loaded = datasets.load_dataset(dataset.path, dataset.name, revision=dataset.revision, data_files=dataset.data_files,
                                       split=dataset.split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"The dataset {dataset.path} cannot be loaded from the Hub: {error}", where=f"datasets[{index}]",
                        next_step="Check name, split, revision and data_files.") from error
    if dataset.split is None:
        if "train" not in loaded:
            raise DataError(f"The dataset {dataset.path} has no split train; it has {', '.join(map(str, loaded))}.",
                            where=f"datasets[{index}].split", next_step="Choose one of them: split: NAME")
        loaded = loaded["train"]
    return (Row(dict(values), Origin(index, dataset.path, number)) for number, values in enumerate(loaded, start=1))


def _ask_hub(dataset: Dataset, index: int, config_folder: Path | None, cache: Path) -> None:
    """Ask once, briefly, whether the Hub knows the dataset: the loader itself retries for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        HfApi().dataset_info(dataset.path, timeout=10)
    except RepositoryNotFoundError as error:
        _not_found(dataset, index, config_folder, "the Hub knows no dataset of that name (or it is private)", error)
    except Exception as error:  # offline, DNS, proxy, time-out: each HTTP library has its own names for them
        if not (cache / dataset.path.replace("/", "___")).is_dir():
            _not_found(dataset, index, config_folder, f"the Hub could not be reached ({type(error).__name__})", error)


def _not_found(dataset: Dataset, index: int, config_folder: Path | None, about_hub: str, error: Exception) -> NoReturn:
    path = Path(dataset.path)
    raise DataError(f"There is no local file or folder {path.absolute()}, and {about_hub}.", where=f"datasets[{index}].path",
                    next_step=f"For a local file: {_nearby(path, config_folder)} For a dataset of the Hub: check name and connection."
                    ) from error
