"""preview: which tokens the model sees, on which of them it is trained, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunelab.config import Config
from tunelab.data.gate import GateProblem, gate, pairs_found
from tunelab.data.mixing import is_streamed
from tunelab.data.pair_preview import PairStatistics, pair_statistics, preview_pairs, single_answers, worst_pairs
from tunelab.data.prepare import Counts
from tunelab.data.preview import PreviewRow, Statistics, merged_reasons, preview_cut, preview_packed, statistics, worst
from tunelab.data.preview import preview as preview_rows
from tunelab.data.sample import Sample
from tunelab.data.survey import Survey, end_tokens, survey
from tunelab.data.turns import Turns, turns
from tunelab.data.whole_rows import whole_rows
from tunelab.errors import UsageError
from tunelab.runs.store import write_text
from tunelab.workflow.opening import Loaded, load_data, open_config


@dataclass(frozen=True, slots=True)
class Previewed:
    """Some rows token by token, and figures over all of them. `turns`: what only the raw rows show, where they were read for it.

    `packed`: the rows are rows of a batch, each of several samples; `can_pack`: the config lays samples out in that way, or fills rows up.
    `pairs`: figures of preference data, where a row stands for one answer of a pair.
    """

    rows: tuple[PreviewRow, ...]
    statistics: Statistics
    counts: Counts
    problems: tuple[GateProblem, ...]
    turns: Turns | None = None
    packed: bool = False
    can_pack: bool = False
    path: str = ""
    pairs: PairStatistics | None = None


def preview(path: str, *, rows: int = 3, row: int | None = None, worst_first: bool = False, packed: bool = False) -> Previewed:
    """Tokenise the data of a config and show the first rows, row number `row` (from 0), or the most doubtful ones.

    `packed`: show rows of the first epoch's batches, as samples are laid out in them. Raises ConfigError, DataError, ModelError.
    """
    opened = open_config(path, network=True)
    config = opened.config_or_raise()
    loaded = load_data(config, opened.model_or_raise())
    if loaded.prepared.width > 1:
        return replace(_pairs(loaded, config, rows, row, worst_first=worst_first, packed=packed, path=path), path=path)
    found = survey(loaded.prepared, loaded.tokenizer, end_tokens(loaded.tokenizer, config))
    if packed:
        shown = _packed_rows(loaded, config, rows, row, path)
    elif worst_first:
        shown = _worst_rows(loaded, config, found, rows)
    else:
        _check_row(row, len(loaded.prepared.train), "row", path)
        shown = _single_rows(loaded, config, [row] if row is not None else range(min(rows, len(loaded.prepared.train))))
    looked_at = loaded.prepared.counts.read if is_streamed(config.data) else None
    return replace(_with_figures(shown, loaded, config, found), turns=turns(config, looked_at), packed=packed, path=path)


def preview_of(loaded: Loaded, rows: Sequence[int], config: Config | None = None) -> Previewed:
    """The preview of data that is already loaded."""
    if config is not None and loaded.prepared.width > 1:
        return _pairs(loaded, config, len(rows))
    found = survey(loaded.prepared, loaded.tokenizer, end_tokens(loaded.tokenizer, config))
    return _with_figures(_single_rows(loaded, config, rows), loaded, config, found)


def _pairs(loaded: Loaded, config: Config, rows: int, row: int | None = None, *, worst_first: bool = False, packed: bool = False,
           path: str = "") -> Previewed:
    """The preview of preference data."""
    if packed:
        raise UsageError("Pairs of answers are not packed, so there are no packed rows to show.", where=path, next_step="Leave out --packed.")
    prepared, tokenizer = loaded.prepared, loaded.tokenizer
    found, ends = pairs_found(prepared, tokenizer, config), end_tokens(tokenizer, config)
    _check_row(row, found.train, "pair", path)
    reasons = merged_reasons(worst_pairs(found, rows)) if worst_first and row is None else {}
    numbers = list(reasons) or ([row] if row is not None else list(range(min(rows, found.train))))
    shown = preview_pairs(prepared.train, tokenizer, numbers, ends=ends, rated=found.rated)
    answers = single_answers(prepared)
    return Previewed(tuple(replace(one, why=reasons.get(one.index, ())) for one in shown),
                     statistics(answers, tokenizer, survey(answers, tokenizer, ends)), prepared.counts, gate(prepared, tokenizer, config),
                     pairs=pair_statistics(found))


def write_page(result: Previewed, path: Path) -> None:
    """Write a preview as a one-file page."""
    from tunelab.report.html import render_preview_html

    write_text(path, render_preview_html(result.rows, result.pairs or result.statistics, _title(result), counts=result.counts, problems=result.problems,
                                         turns=result.turns, packed=result.packed))


def _title(result: Previewed) -> str:
    return f"What {Path(result.path).name} trains on" if result.path else "What is trained on"


def _with_figures(rows: tuple[PreviewRow, ...], loaded: Loaded, config: Config | None, found: Survey) -> Previewed:
    prepared, tokenizer = loaded.prepared, loaded.tokenizer
    fills = config is not None and bool(config.data.sample_packing or config.data.pad_to_sequence_len)
    return Previewed(rows, statistics(prepared, tokenizer, found), prepared.counts, gate(prepared, tokenizer, config, found), can_pack=fills)


def _single_rows(loaded: Loaded, config: Config | None, rows: Sequence[int]) -> tuple[PreviewRow, ...]:
    ends = end_tokens(loaded.tokenizer, config)
    shown = preview_rows(loaded.prepared.train, loaded.tokenizer, rows, ends=ends)
    if config is None or not loaded.prepared.counts.truncated:
        return shown
    cut = {row.origin for row in shown if len(row.tokens) >= config.data.sequence_len}
    whole = whole_rows(config, loaded.tokenizer, cut)
    return tuple(_with_rest(row, whole.get(row.origin), loaded, ends) for row in shown)


def _with_rest(row: PreviewRow, whole: Sample | None, loaded: Loaded, ends: frozenset[int]) -> PreviewRow:
    """A row that was cut, with the tokens that were cut from it."""
    kept = tuple(token.id for token in row.tokens)
    if whole is None or len(whole.input_ids) <= len(kept) or tuple(whole.input_ids[:len(kept)]) != kept:
        return row
    return replace(preview_cut(whole, loaded.tokenizer, len(kept), ends=ends), index=row.index)


def _worst_rows(loaded: Loaded, config: Config, found: Survey, count: int) -> tuple[PreviewRow, ...]:
    """The most doubtful rows to train on, then the first of those that were left out."""
    reasons = merged_reasons(worst(found, count, config.data.sequence_len))
    rows = _single_rows(loaded, config, list(reasons))
    return (*(replace(row, why=reasons[row.index]) for row in rows), *_left_out(loaded, config, count))


def _left_out(loaded: Loaded, config: Config, count: int) -> Iterator[PreviewRow]:
    counts, limit, ends = loaded.prepared.counts, config.data.sequence_len, end_tokens(loaded.tokenizer, config)
    long, silent = counts.examples_too_long[:count], counts.examples_without_label[:count]
    whole = whole_rows(config, loaded.tokenizer, {*long, *silent})
    for origin in (*long, *silent):
        if origin in whole:
            tokens = len(whole[origin].input_ids)
            why = f"left out: {tokens:,} tokens, and sequence_len is {limit:,}" if origin in long else "left out: no token of it carries loss"
            yield replace(preview_cut(whole[origin], loaded.tokenizer, limit, ends=ends), why=(why,))


def _packed_rows(loaded: Loaded, config: Config, count: int, row: int | None, path: str) -> tuple[PreviewRow, ...]:
    """Rows of the first epoch's batches, in the order of the run."""
    laid_out = [one for batch in loaded.schedule.epochs[0] for one in batch]
    _check_row(row, len(laid_out), "packed row", path)
    chosen = [row] if row is not None else range(min(count, len(laid_out)))
    fill = config.data.sequence_len if config.data.pad_to_sequence_len else None
    ends = end_tokens(loaded.tokenizer, config)
    rows = [preview_packed(loaded.prepared.train, loaded.tokenizer, laid_out[index], fill_to=fill, ends=ends) for index in chosen]
    return tuple(replace(one, index=index) for index, one in zip(chosen, rows, strict=True))


def _check_row(row: int | None, count: int, noun: str, path: str) -> None:
    if row is not None and row >= count:
        raise UsageError(f"There is no {noun} {row}: the training data has {count:,} of them, counted from 0.", where=path)
