"""Streams: as many rows as the steps need, in an order that does not depend on anything else; documents as Axolotl cuts them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from tunelab.config import Config
from tunelab.data.gate import gate
from tunelab.data.prepare import prepare
from tunelab.data.sources import RowSource
from tunelab.data.stream import through_buffer
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer
from tunelab.errors import ConfigError, DataError
from tunelab.planning.schedule import make_schedule

MakeConfig = Callable[..., Config]
Lines = Callable[[list[Any]], Path]
WORDS = ("red", "green", "blue")


def documents(rows: int) -> list[dict[str, Any]]:
    return [{"text": " ".join(WORDS[(row + word) % 3] for word in range(1 + row % 30))} for row in range(rows)]


def test_the_buffer_is_that_of_the_datasets_library() -> None:
    datasets = pytest.importorskip("datasets")
    stream = datasets.IterableDataset.from_generator(lambda: ({"n": number} for number in range(100)))
    assert list(through_buffer(range(100), 16, 7)) == [row["n"] for row in stream.shuffle(seed=7, buffer_size=16)]
    assert list(through_buffer(range(5), 1, 7)) == list(range(5)) and sorted(through_buffer(range(5), 99, 7)) == list(range(5))
    assert max(islice(through_buffer(count(), 10, 1), 100)) < 100 + 10


@pytest.mark.parametrize("packing", [True, False])
def test_no_more_is_read_than_the_steps_need(packing: bool, make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer,
                                             monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, read, rows = lines(documents(3000)), list[int](), RowSource.rows
    monkeypatch.setattr(RowSource, "rows", lambda self: (read.append(row.origin.row) or row for row in rows(self)))
    keys: dict[str, Any] = {"streaming": True, "max_steps": 10, "micro_batch_size": 2, "sequence_len": 64, "sample_packing": packing,
                            "streaming_multipack_buffer_size": 50, "dataset_prepared_path": str(tmp_path / "cache")}
    config = make_config([{"path": str(path), "type": "completion"}], **keys)
    prepared = prepare(config, tokenizer)
    assert max(read) < (1200 if not packing else 600)
    schedule = make_schedule(config, [len(one.input_ids) for one in prepared.train], [])
    assert schedule.steps.total == 10 and len(schedule.epochs) == 1
    rows_used = sum(len(rows) for step in range(10) for rows in schedule.micro_batches(step))
    assert rows_used == 20
    again = prepare(config, tokenizer)
    assert again.cached and again.fingerprint() == prepared.fingerprint()
    more = make_config([{"path": str(path), "type": "completion"}], **{**keys, "max_steps": 11, "dataset_num_proc": 2})
    assert len(prepare(more, tokenizer).train) >= len(prepared.train)


def test_a_stream_without_a_cache_and_one_that_ends_early(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    path = lines(documents(30))
    config = make_config([{"path": str(path), "type": "completion"}], streaming=True, max_steps=100, sequence_len=64, shuffle_merged_datasets=False)
    prepared = prepare(config, tokenizer)
    assert [sample.origin.row for sample in prepared.train] == list(range(1, 31)) and not prepared.cached
    schedule = make_schedule(config, [len(one.input_ids) for one in prepared.train], [])
    assert schedule.steps.total == 100 and len(schedule.epochs) == 4
    lines([{"text": "red"}, {"text": 7}])
    with pytest.raises(DataError) as error:
        prepare(config, tokenizer)
    assert str(error.value.where).endswith("rows.jsonl:2")


def test_documents_are_windows_when_packed_and_cut_off_when_not(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    long = "red green " * 60
    corpus = [{"path": str(lines([{"body": "red"}, {"body": long}, {"body": ""}])), "text_column": "body", "skip": 1}]
    ids = tokenizer.encode(long)
    keys: dict[str, Any] = {"pretraining_dataset": corpus, "max_steps": 4, "sequence_len": 32, "shuffle_merged_datasets": False}
    packed = prepare(make_config([], sample_packing=True, **keys), tokenizer)
    windows = [list(sample.input_ids) for sample in packed.train]
    assert all(window[-1] == tokenizer.eos_id and len(window) <= 32 for window in windows) and packed.train[0].labels == packed.train[0].input_ids
    assert [window[:-1] for window in windows] == [ids[start:start + 31] for start in range(0, len(ids) - 15, 16)]
    plain = make_config([], **keys)
    cut = prepare(plain, tokenizer)
    assert [list(sample.input_ids) for sample in cut.train] == [ids[:30]] and cut.counts.truncated == 1 and cut.counts.too_short == 1
    assert [(one.code, one.stops) for one in gate(cut, tokenizer, plain) if one.code in ("truncated", "untrained_end")] == [
        ("untrained_end", False), ("truncated", False)]


@pytest.mark.parametrize("bos", [False, True])
def test_windows_are_those_of_the_tokenizers_library(tokenizer_folder: Path, bos: bool) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    if bos:
        tokenizer.backend.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    for words in range(0, 120, 7):
        text, length = " ".join(WORDS[word % 3] for word in range(words)) or "a", 16 + words % 40
        tokenizer.backend.enable_truncation(length - 1, stride=(length - 1) // 2)
        encoding = tokenizer.backend.encode(text)
        wanted = [encoding.ids, *(one.ids for one in encoding.overflowing)]
        tokenizer.backend.no_truncation()
        assert tokenizer.encode_windows(text, length - 1, (length - 1) // 2) == wanted


def test_rows_too_short_for_windows_are_refused(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    config = make_config([], pretraining_dataset=[{"path": str(lines(documents(3)))}], max_steps=1, sequence_len=8, sample_packing=True)
    with pytest.raises(ConfigError, match="too short for windows"):
        prepare(config, tokenizer)
