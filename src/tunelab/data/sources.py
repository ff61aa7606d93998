"""Where the rows of a dataset are: local files, folders and patterns, or a dataset on the Hub.

Relative paths are relative to the working directory, as in Axolotl. Rows are read one after the other, never all at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from tunelab.config.sections.data import Dataset
from tunelab.data.readers import READERS, SUFFIXES, count_rows, format_of, read_file
from tunelab.data.sample import Origin, Row
from tunelab.errors import DataError, needs

_SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
                "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}


_SLICE = re.compile(r"(?P<split>[\w.-]+)\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\]")
_SIGNS = "*?["


@dataclass(frozen=True, slots=True)
class RowSource:
    """A dataset that was found: local files of one format, or (`files` empty) a dataset of the Hub as the datasets library gives it.

    `part` is the slice of the rows that `split: train[:10%]` asks for; `commit` that of a dataset of the Hub, where it was asked.
    """

    index: int
    file_format: str
    files: tuple[Path, ...]
    hub: Any = None
    part: tuple[str | None, str | None] | None = None
    commit: str = ""

    def rows(self) -> Iterator[Row]:
        """All rows, in the order of the files. Raises DataError with file and line."""
        rows = self._rows()
        if self.part is not None:
            yield from islice(rows, *self._borders(self._count()))
        else:
            yield from rows

    def count(self) -> int:
        """How many rows there are, when all of them can be read."""
        if self.part is None:
            return self._count()
        start, stop = self._borders(self._count())
        return max(0, stop - start)

    def bytes(self) -> int:
        """The size of the files; of a dataset of the Hub, which is not in files here, 0."""
        return sum(_readable(file).stat().st_size for file in self.files)

    def stamp(self) -> list[tuple[int, int]]:
        """Size and time of the files: equal before and after reading when nobody wrote to them meanwhile."""
        return [(about.st_size, about.st_mtime_ns) for about in (_readable(file).stat() for file in self.files)]

    def digest(self) -> str:
        """A hash of the content: of the files' names and bytes, or of the rows of the Hub."""
        digest = hashlib.sha256(f"{self.file_format}{self.part}".encode())
        for file in self.files:
            digest.update(f"|{file}|".encode())
            with _readable(file).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        digest.update(self.commit.encode())
        if not self.files and not self.commit:
            for row in self._rows():
                digest.update(f"{row.origin.file}{json.dumps(row.values, sort_keys=True, default=repr)}".encode())
        return digest.hexdigest()

    def _rows(self) -> Iterator[Row]:
        for file in self.files:
            yield from read_file(file, self.file_format, self.index)
        if not self.files:
            path, data = self.hub
            yield from (Row(dict(values), Origin(self.index, path, number)) for number, values in enumerate(data, start=1))

    def _count(self) -> int:
        return sum(count_rows(file, self.file_format) for file in self.files) if self.files else len(self.hub[1])

    def _borders(self, count: int) -> tuple[int, int]:
        """The slice in rows; percents are rounded to the closest row, as the datasets library does it."""
        start, stop = self.part or (None, None)
        found = []
        for text, otherwise in ((start, 0), (stop, count)):
            value = otherwise if text is None else round(count * int(text[:-1]) / 100) if text.endswith("%") else int(text)
            found.append(min(max(value + count if value < 0 else value, 0), count))
        return found[0], found[1]


def read_rows(dataset: Dataset, index: int, *, config_folder: Path | None = None) -> list[Row]:
    """All rows of `datasets[index]`. `config_folder` only serves to find out that a path was meant relative to the config.

    Raises DataError when there is nothing to read, with the place and what to do; MissingPartError for Parquet and the Hub
    where the train extra is not installed.
    """
    return list(find_source(dataset, index, config_folder=config_folder).rows())


def find_source(dataset: Dataset, index: int, *, config_folder: Path | None = None, default_split: str = "train",
                streams: bool = False) -> RowSource:
    """Find the files of a dataset, or fetch it from the Hub; with `streams` its rows are only fetched as they are read.

    A file has only the split train; where there are several and `split` names none, it is `default_split`. Raises as `read_rows` does.
    """
    where = f"datasets[{index}].path"
    if "://" in dataset.path:
        raise DataError(f"{dataset.path} is an address; tunelab reads local files and datasets of the Hub.", where=where,
                        next_step="Download the file and write its path.")
    path = Path(dataset.path).expanduser()
    sliced = _SLICE.fullmatch(dataset.split or "")
    if sliced is not None and (path.exists() or _has_signs(dataset.path)):
        whole = find_source(dataset.model_copy(update={"split": sliced["split"]}), index, config_folder=config_folder)
        return replace(whole, part=(sliced["start"], sliced["stop"]))
    if path.is_dir():
        return _in_folder(path, dataset, index, default_split)
    if path.is_file():
        return _in_files([path], dataset, index)
    if dataset.path in READERS and dataset.data_files:
        return _in_files(_named_files(Path(), dataset, index), dataset, index, dataset.path)
    if _has_signs(dataset.path) and (files := _matching(path)):
        return _in_files(files, dataset, index)
    if _is_surely_local(dataset.path):
        raise DataError(f"There is no file or folder {path.absolute()}.", where=where, next_step=_nearby(path, config_folder))
    rows, commit = _from_hub(dataset, index, config_folder, default_split, streams)
    return RowSource(index, "hub", (), (dataset.path, rows), commit=commit)


def _has_signs(name: str) -> bool:
    return any(sign in name for sign in _SIGNS)


def _matching(pattern: Path) -> list[Path]:
    """The data files that a path with * or ? stands for, sorted."""
    fixed = [part for part in pattern.parts if not _has_signs(part)]
    first = next(number for number, part in enumerate(pattern.parts) if _has_signs(part))
    root = Path(*fixed[:first])
    return sorted(file for file in root.glob("/".join(pattern.parts[first:])) if file.is_file())


def _in_files(files: Sequence[Path], dataset: Dataset, index: int, file_format: str | None = None) -> RowSource:
    if dataset.split not in (None, "train"):
        raise DataError(f"split is {dataset.split!r}, and a local file has only the split train.", where=f"datasets[{index}].split",
                        next_step="Delete `split`, and put the rows of other splits into files of their own.")
    formats = {dataset.ds_type or file_format or format_of(file) or "json" for file in files}
    if len(formats) > 1:
        raise DataError(f"The files are of several formats: {', '.join(sorted(formats))}.", where=f"datasets[{index}].path",
                        next_step="Make one entry under `datasets` for each format, or choose one with ds_type.")
    return RowSource(index, formats.pop(), tuple(files))


def _in_folder(folder: Path, dataset: Dataset, index: int, default_split: str) -> RowSource:
    """A folder's data files (also in its subfolders), sorted; of the split that is asked for when the names tell splits apart."""
    where = f"datasets[{index}].path"
    if dataset.data_files:
        return _in_files(_named_files(folder, dataset, index), dataset, index)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _saved(folder, dataset.split or default_split, index)
    files = [file for file in _files_below(folder) if _is_wanted(file, dataset.ds_type)]
    files = _of_split(files, folder, dataset.split or default_split, index)
    if not files:
        raise DataError(f"The folder {folder.absolute()} holds no data file ({', '.join(SUFFIXES)}).", where=where,
                        next_step="Name the files: data_files: [FILE], with ds_type when the names do not tell the format.")
    return _in_files(files, dataset.model_copy(update={"split": None}), index)


def _saved(folder: Path, split: str, index: int) -> RowSource:
    """A folder that the datasets library's save_to_disk wrote: Arrow files, in a folder for each split when there are several."""
    if (folder / "dataset_dict.json").is_file():
        if not (folder / split / "state.json").is_file():
            raise DataError(f"The saved dataset has no split {split!r}.", where=f"datasets[{index}].split",
                            next_step=f"Choose one of its folders: {', '.join(sorted(one.name for one in folder.iterdir() if one.is_dir()))}")
        folder = folder / split
    try:
        named = json.loads((folder / "state.json").read_text(encoding="utf-8"))["_data_files"]
        files = tuple(folder / Path(one["filename"]).name for one in named)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("state.json does not name the files of this saved dataset.", where=str(folder / "state.json"),
                        next_step="Save the dataset again, or name the files: data_files: data-*.arrow, ds_type: arrow") from error
    return RowSource(index, "arrow", files)


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
        found = _matching(folder / name) if _has_signs(name) else [folder / name]
        if not found or not all(file.is_file() for file in found):  # Axolotl takes the names relative to the working directory
            found = _matching(Path(name)) if _has_signs(name) else [Path(name)]
        if not found or not all(file.is_file() for file in found):
            raise DataError(f"There is no file {(folder / name).absolute()}.", where=f"datasets[{index}].data_files",
                            next_step="Correct the name; it is relative to `path`, or else to the working directory.")
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
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or "\\" in path or ":" in path or format_of(Path(path)) is not None \
        or _has_signs(path)


def _nearby(path: Path, config_folder: Path | None) -> str:
    """What to do about a path that is not there."""
    beside = config_folder / path if config_folder is not None else None
    if beside is not None and beside.exists():
        return (f"It stands beside the config; paths are relative to the working directory: write path: {beside}, "
                f"or run from {config_folder}.")
    return f"Correct the path; relative paths start at {Path.cwd()}."


def _from_hub(dataset: Dataset, index: int, config_folder: Path | None, default_split: str, streams: bool) -> tuple[Any, str]:
    """The rows, and what names their content: a commit, or with no connection nothing, when the copy on this disk is read."""
    with needs("train", "Reading a dataset of the Hub"):
        import datasets
    commit = _ask_hub(dataset, index, config_folder, Path(datasets.config.HF_DATASETS_CACHE))
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(dataset.path, dataset.name, revision=commit or dataset.revision, data_files=dataset.data_files, split=dataset.split,
                                       streaming=streams)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise _refused(dataset, index, error) from error
    if dataset.split is None:
        if default_split not in loaded:
            raise DataError(f"The dataset {dataset.path} has no split {default_split}; it has {', '.join(map(str, loaded))}.",
                            where=f"datasets[{index}].split", next_step="Choose one of them: split: NAME")
        loaded = loaded[default_split]
    return loaded, commit


def _refused(dataset: Dataset, index: int, error: Exception) -> DataError:
    """The library's words for what it cannot load, as a sentence at the key that it is about."""
    said, where = " ".join(str(error).split()), f"datasets[{index}]"
    options = re.search(r"\[(.*?)\]", said)
    shown = options[1].replace("'", "") if options else "none"
    if "Config name is missing" in said or said.startswith("BuilderConfig"):
        found = f"has no configuration {dataset.name!r}" if dataset.name else "has several configurations"
        return DataError(f"The dataset {dataset.path} {found}; it has {shown}.", where=f"{where}.name",
                         next_step=f"Choose one of them: name: {shown.split(', ')[0]}")
    if "Unknown split" in said or "Bad split" in said or "nstruction" in said:
        return DataError(f"The dataset {dataset.path} has no split {dataset.split!r}{f'; it has {shown}' if options else ''}.", where=f"{where}.split",
                         next_step=f"Choose one of them: split: {shown.split(', ')[0]}" if options else "Write a name: split: train")
    if "data file" in said or "data_files" in said:
        return DataError(f"The dataset {dataset.path} has no file {dataset.data_files!r}.", where=f"{where}.data_files",
                         next_step="Correct the names; they are relative to the repository.")
    if "scripts are no longer supported" in said:
        return DataError(f"The dataset {dataset.path} needs a Python script of its own to be read, which is not run.", where=f"{where}.path",
                         next_step="Use its Parquet copy: revision: refs/convert/parquet")
    return DataError(f"The dataset {dataset.path} cannot be loaded from the Hub: {said}", where=where,
                     next_step="Check name, split, revision and data_files.")


def _ask_hub(dataset: Dataset, index: int, config_folder: Path | None, cache: Path) -> str:
    """Ask once, briefly, whether the Hub knows the dataset, and which commit it is at: the loader itself retries for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return HfApi().dataset_info(dataset.path, revision=dataset.revision, timeout=10).sha or ""
    except GatedRepoError as error:
        raise DataError(f"The dataset {dataset.path} is gated: the Hub gives it only to those who accepted its terms and are logged in.",
                        where=f"datasets[{index}].path", next_step="Accept them on its page, then: hf auth login") from error
    except RevisionNotFoundError as error:
        raise DataError(f"The dataset {dataset.path} has no revision {dataset.revision!r}.", where=f"datasets[{index}].revision",
                        next_step="Write a branch, tag or commit that its page lists, or delete `revision`.") from error
    except RepositoryNotFoundError as error:
        _not_found(dataset, index, config_folder, "the Hub knows no dataset of that name (or it is private)", error)
    except Exception as error:  # offline, DNS, proxy, time-out: each HTTP library has its own names for them
        if not (cache / dataset.path.replace("/", "___")).is_dir():
            status = getattr(getattr(error, "response", None), "status_code", None)
            why = f"it answered with status {status}" if status else type(error).__name__
            _not_found(dataset, index, config_folder, f"the Hub could not be asked ({why})", error)
        return ""


def _not_found(dataset: Dataset, index: int, config_folder: Path | None, about_hub: str, error: Exception) -> NoReturn:
    path = Path(dataset.path)
    raise DataError(f"There is no local file or folder {path.absolute()}, and {about_hub}.", where=f"datasets[{index}].path",
                    next_step=f"For a local file: {_nearby(path, config_folder)} For a dataset of the Hub: check name and connection."
                    ) from error
