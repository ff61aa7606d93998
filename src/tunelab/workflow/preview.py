"""preview: which tokens the model sees, and on which of them it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelab.data.gate import GateProblem, gate
from tunelab.data.prepare import Counts
from tunelab.data.preview import PreviewRow, Statistics, statistics
from tunelab.data.preview import preview as preview_rows
from tunelab.errors import UsageError
from tunelab.runs.store import write_text
from tunelab.workflow.opening import Loaded, load_data, open_config


@dataclass(frozen=True, slots=True)
class Previewed:
    """Some rows token by token, and figures over all of them."""

    rows: tuple[PreviewRow, ...]
    statistics: Statistics
    counts: Counts
    problems: tuple[GateProblem, ...]


def preview(path: str, *, rows: int = 3, row: int | None = None) -> Previewed:
    """Tokenise the data of a config and show the first rows, or row number `row` (from 0). Raises ConfigError, DataError, ModelError."""
    opened = open_config(path, network=True)
    loaded = load_data(opened.config_or_raise(), opened.model_or_raise())
    count = len(loaded.prepared.train)
    if row is not None and row >= count:
        raise UsageError(f"There is no row {row}: the training data has {count} rows, counted from 0.", where=path)
    return preview_of(loaded, [row] if row is not None else range(min(rows, count)))


def preview_of(loaded: Loaded, rows: Sequence[int]) -> Previewed:
    """The preview of data that is already loaded."""
    prepared, tokenizer = loaded.prepared, loaded.tokenizer
    return Previewed(preview_rows(prepared.train, tokenizer, rows), statistics(prepared, tokenizer), prepared.counts,
                     gate(prepared, tokenizer))


def write_page(result: Previewed, path: Path) -> None:
    """Write a preview as a one-file page."""
    from tunelab.report.html import render_preview_html

    write_text(path, render_preview_html(result.rows, result.statistics, "What is trained on"))
