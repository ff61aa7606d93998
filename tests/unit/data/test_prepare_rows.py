"""Which rows are used: length, duplicates, held-out datasets; and the same result from any number of processes and any size of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelab.config import Config
from tunelab.data import prepare as module
from tunelab.data import workers
from tunelab.data.prepare import Prepared, prepare
from tunelab.data.tokenizer import TextTokenizer
from tunelab.errors import DataError, RunError

MakeConfig = Callable[..., Config]


def talk(answer: str, question: str = "say") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def run(make_config: MakeConfig, tokenizer: TextTokenizer, tmp_path: Path) -> Callable[..., Prepared]:
    def run(rows: list[dict[str, Any]], tests: list[dict[str, Any]] | None = None, **keys: Any) -> Prepared:
        more = {} if tests is None else {"test_datasets": [{"path": write(tmp_path / "test.jsonl", tests), "type": "chat_template"}]}
        return prepare(make_config([{"path": write(tmp_path / "train.jsonl", rows), "type": "chat_template"}],
                                   **{"sequence_len": 64, **more, **keys}), tokenizer)

    return run


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """More processes for any number of rows, and no rows kept in memory."""
    monkeypatch.setattr(module, "_ROWS_EACH", 1)
    monkeypatch.setattr(module, "_FEW_BYTES", 0)
    monkeypatch.setattr(module, "_TASK", 7)


ROWS = [talk(f"red {number} é🙂", "say " * (number % 9 + 1)) for number in range(40)]


def test_short_rows(run: Callable[..., Prepared]) -> None:
    lengths = sorted(run(ROWS).train.lengths().tolist())  # type: ignore[attr-defined]
    prepared = run(ROWS, min_sample_len=lengths[5])
    assert sorted(prepared.train.lengths().tolist()) == [one for one in lengths if one >= lengths[5]]  # type: ignore[attr-defined]
    assert prepared.counts.too_short == sum(one < lengths[5] for one in lengths)


def test_a_cut_that_leaves_nothing_to_learn(run: Callable[..., Prepared]) -> None:
    prepared = run([*ROWS, talk("red", "x" * 99)], excess_length_strategy="truncate")
    assert (prepared.counts.truncated, prepared.counts.without_label, prepared.counts.kept) == (1, 1, 40)


def test_duplicates_on_request(run: Callable[..., Prepared]) -> None:
    rows = [talk("red"), talk("green"), talk("red"), talk("red", "say it"), talk("green")]
    assert run(rows).counts.kept == 5
    prepared = run(rows, tests=[talk("red"), talk("red"), talk("blue")], dataset_exact_deduplication=True)
    assert (len(prepared.train), len(prepared.held_out), prepared.counts.duplicates) == (3, 2, 3)
    first = run(rows, dataset_exact_deduplication=True, shuffle_merged_datasets=False)
    assert [sample.origin.row for sample in first.train] == [1, 2, 4]


def test_held_out_datasets(run: Callable[..., Prepared]) -> None:
    long = talk("red " * 40)
    prepared = run(ROWS, tests=[talk("blue"), long])
    assert (len(prepared.train), len(prepared.held_out)) == (40, 1)
    assert (prepared.counts.read, prepared.counts.kept, prepared.counts.held_out, prepared.counts.too_long) == (42, 41, 1, 1)
    assert prepared.held_out[0].origin.dataset == 1 and prepared.held_out[0].origin.file.endswith("test.jsonl")
    assert len(run(ROWS, tests=[talk("blue"), long], eval_sequence_len=512).held_out) == 2
    assert len(run([*ROWS, long], eval_sequence_len=512).train) == 40


def test_a_held_out_dataset_that_is_not_there(make_config: MakeConfig, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    train = {"path": write(tmp_path / "train.jsonl", ROWS), "type": "chat_template"}
    with pytest.raises(DataError) as error:
        prepare(make_config([train], test_datasets=[train, {"path": "./none.jsonl", "type": "chat_template"}]), tokenizer)
    assert error.value.where == "test_datasets[1].path"


def test_half_of_a_surrogate_pair(run: Callable[..., Prepared]) -> None:
    with pytest.raises(DataError, match="surrogate") as error:
        run([*ROWS, talk("\ud83d")])
    assert str(error.value.where).endswith("train.jsonl:41")


@pytest.mark.usefixtures("hurried")
class TestProcesses:
    """The work is shared, and nothing shows it."""

    def test_the_same_samples(self, run: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
        rows = [*ROWS, talk(""), talk("red " * 90)]
        shared, alone = run(rows, dataset_num_proc=3, val_set_size=4), run(rows, dataset_num_proc=1, val_set_size=4)
        assert (shared.train, shared.held_out, shared.counts) == (alone.train, alone.held_out, alone.counts)
        monkeypatch.setattr(sys, "executable", "")
        assert run(rows, dataset_num_proc=3).counts.kept == 40

    def test_the_first_broken_row_is_told(self, run: Callable[..., Prepared]) -> None:
        rows = [*ROWS, {"messages": "later"}, *ROWS, {"messages": "last"}]
        with pytest.raises(DataError) as error:
            run(rows, dataset_num_proc=2)
        assert str(error.value.where).endswith("train.jsonl:41") and error.value.next_step

    def test_what_is_our_fault_keeps_its_traceback(self) -> None:
        [task] = [workers.Task(0, [None], [0])]  # type: ignore[list-item]
        with pytest.raises(RuntimeError, match="AttributeError"):
            list(workers.made_parts([task], [None], 2))  # type: ignore[list-item]

    def test_a_process_that_dies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "_PROGRAM", ("-c", "raise SystemExit(3)"))
        with pytest.raises(RunError, match="ended unexpectedly") as error:
            list(workers.made_parts([workers.Task(0, [], [])], [], 2))
        assert "dataset_num_proc: 1" in str(error.value.next_step)

    def test_progress(self, make_config: MakeConfig, tokenizer: TextTokenizer, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        config = make_config([{"path": write(tmp_path / "a.jsonl", ROWS), "type": "chat_template"}], dataset_num_proc=2)
        prepare(config, tokenizer, progress=lambda *one: told.append(one))
        assert told == [(7, 40), (14, 40), (21, 40), (28, 40), (35, 40), (40, 40)]


def test_small_data_starts_no_process(run: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert run(ROWS, dataset_num_proc=8).counts.kept == 40


def test_choosing_from_files_that_are_not_kept(run: Callable[..., Prepared], make_config: MakeConfig, tokenizer: TextTokenizer, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config([{"path": write(tmp_path / "a.jsonl", ROWS), "type": "chat_template", "shards": 3, "shards_idx": 1, "weight": 0.5}])
    kept = prepare(config, tokenizer)
    monkeypatch.setattr(module, "_FEW_BYTES", 0)
    again = prepare(config, tokenizer)
    assert (again.train, again.counts) == (kept.train, kept.counts) and again.counts.read == 6


_BOTH = """
import sys
from pathlib import Path
from tunelab.config import read_config
from tunelab.data.prepare import prepare
from tunelab.data.tokenizer import load_tokenizer
tokenizer = load_tokenizer(Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
print(len(prepare(read_config(Path(sys.argv[1])).config_or_raise(), tokenizer).train))
"""


def test_two_at_once(make_config: MakeConfig, tokenizer: TextTokenizer, tokenizer_folder: Path, tmp_path: Path) -> None:
    """Both get whole rows, and what they leave behind is one file that is hit."""
    config = make_config([{"path": write(tmp_path / "a.jsonl", ROWS * 20), "type": "chat_template"}], dataset_prepared_path=str(tmp_path / "cache"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [subprocess.Popen([sys.executable, "-c", _BOTH, str(config.source.path), str(tokenizer_folder)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    for one in both:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in both:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [one.communicate()[0] for one in both] == ["800\n", "800\n"]
    assert len(list((tmp_path / "cache").iterdir())) == 1 and prepare(config, tokenizer).cached


def test_data_that_is_written_to_meanwhile(make_config: MakeConfig, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    config = make_config([{"path": write(path, ROWS), "type": "chat_template"}], dataset_prepared_path=str(tmp_path / "cache"))

    def write_more(done: int, total: int) -> None:
        path.write_bytes(path.read_bytes() + b"\n")

    with pytest.raises(DataError, match="written to"):
        prepare(config, tokenizer, progress=write_more)
    assert not list((tmp_path / "cache").iterdir())
