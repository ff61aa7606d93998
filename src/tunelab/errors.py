"""The one error tree, and how an error is put into words.

    TunelabError                 a failure that a person can act on: a sentence, a place, a next step
    ├── UsageError       exit 2  what was asked for cannot be done as written
    │   ├── ConfigError          the YAML: carries every finding, not just the first
    │   ├── DataError            a dataset, a row, a column
    │   ├── ModelError           a model that is not there or is not what the config says
    │   └── FolderError          an output folder that is not free for this
    ├── RunError         exit 1  it was a fair request and something went wrong on the way
    │   ├── StorageError         disk full, read-only, a file damaged on disk
    │   ├── LockedError          another process is writing to the same folder
    │   ├── RunnerError          a model did not answer
    │   ├── HubError             the model hub cannot be reached, or refuses
    │   ├── LostWorkerError      another process of the same run ended
    │   └── MissingPartError     an optional part (an extra) is not installed
    └── Interrupted      exit 130 the person stopped it; what was done is saved

Anything else that escapes is our bug and keeps its traceback. Only `cli.main` renders this tree.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunelab.config.finding import Finding


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grew over the allowed file size",
    errno.EACCES: "permission was denied",
    errno.EPERM: "permission was denied",
    errno.EROFS: "the file system is read-only",
}


class TunelabError(Exception):
    """A failure with a remedy.

    `message` is one sentence (what, found, expected), `where` names the place (file, line, key),
    `next_step` is what to do now, as a command or an edit where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        step = f" {self.next_step}" if self.next_step else ""
        return f"{place}{self.message}{step}"


class UsageError(TunelabError):
    """What was asked for cannot be done as written."""

    exit_code = 2


class ConfigError(UsageError):
    """The config has errors; `findings` holds all of them."""

    def __init__(self, message: str, *, findings: Sequence[Finding] = (), where: str | None = None,
                 next_step: str | None = None) -> None:
        super().__init__(message, where=where, next_step=next_step)
        self.findings = tuple(findings)


class DataError(UsageError):
    """A dataset cannot be read, or its rows are not what the config says."""


class ModelError(UsageError):
    """A model or tokenizer is missing, or is not what the config says."""


class FolderError(UsageError):
    """A folder that already holds something else, or does not hold what is needed."""


class RunError(TunelabError):
    """Something went wrong while doing what was asked."""


class StorageError(RunError):
    """Writing or reading a file failed: disk full, no permission, damaged."""


class LockedError(RunError):
    """Another process holds the folder."""


class RunnerError(RunError):
    """A model did not answer a prompt."""


class HubError(RunError):
    """The model hub cannot be reached, refuses, or answers what is no answer."""


class LostWorkerError(RunError):
    """Another process of the same run ended, so that this one cannot go on."""


class MissingPartError(RunError):
    """An optional part of tunelab is not installed."""

    def __init__(self, package: str, extra: str, doing: str) -> None:
        super().__init__(f"{doing} needs the package {package!r}, which is not installed.",
                         next_step=f"Install it with: pip install 'tunelab[{extra}]'")


class Interrupted(TunelabError):
    """Stopped by the person (Ctrl-C, SIGTERM); everything up to here is saved."""

    exit_code = 130


@contextmanager
def storage_errors(path: Path, doing: str, next_step: str = "Free some space or choose another folder, then run the command again.") -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that says what was being written where."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"{doing} failed: {reason}.", where=str(path), next_step=next_step) from error


@contextmanager
def needs(extra: str, doing: str) -> Iterator[None]:
    """Turn a missing optional package, imported inside the block, into a `MissingPartError`."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if not name or name == "tunelab":
            raise
        raise MissingPartError(name, extra, doing) from error
