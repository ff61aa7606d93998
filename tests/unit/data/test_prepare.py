"""Rows to samples in order, everything that is left out counted, and a cache that no changed input hits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelab.config import Config
from tunelab.config.sections.model import SpecialTokens
from tunelab.data.prepare import Prepared, held_out_count, prepare
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer
from tunelab.errors import ConfigError, DataError, StorageError

MakeConfig = Callable[..., Config]
Lines = Callable[[list[Any]], Path]


def talk(answer: str, question: str = "say") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def rows(count: int) -> list[dict[str, Any]]:
    return [talk(f"red {number}") for number in range(count)]


def order(prepared: Prepared) -> list[int]:
    return [sample.origin.row for sample in (*prepared.train, *prepared.held_out)]


def test_every_row_is_accounted_for(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    path = lines([*rows(10), talk("red " * 200), talk(""), {"messages": [{"role": "user", "content": "hm"}]}])
    config = make_config([{"path": str(path), "type": "chat_template"}], sequence_len=64, val_set_size=0.25)
    prepared = prepare(config, tokenizer)
    counts = prepared.counts
    assert (counts.read, counts.kept, counts.too_long, counts.too_short, counts.without_label, counts.held_out) == (13, 10, 1, 0, 2, 3)
    assert (len(prepared.train), len(prepared.held_out), prepared.cached) == (7, 3, False)
    assert [origin.row for origin in counts.examples_too_long] == [11]
    assert [origin.row for origin in counts.examples_without_label] == [12, 13]


def test_empty_and_endless_completions_are_counted(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    path = lines([{"text": ""}, {"text": "red green"}, {"text": "<|im_start|>" * 300}])
    counts = prepare(make_config([{"path": str(path), "type": "completion"}], sequence_len=4), tokenizer).counts
    assert (counts.read, counts.too_short, counts.cut) == (3, 1, 1)


def test_empty_conversations_are_left_out_and_counted(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    path = lines([*rows(5), {"messages": []}])
    config = make_config([{"path": str(path), "type": "chat_template"}], sequence_len=64)
    counts = prepare(config, tokenizer).counts
    assert (counts.read, counts.kept, counts.too_short) == (6, 5, 1)


def test_order_follows_the_seed(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    datasets = [{"path": str(lines(rows(20))), "type": "chat_template"}]
    default = order(prepare(make_config(datasets), tokenizer))
    assert default == order(prepare(make_config(datasets, seed=42), tokenizer)) != list(range(1, 21))
    assert sorted(default) == list(range(1, 21))
    assert order(prepare(make_config(datasets, seed=7), tokenizer)) != default
    assert order(prepare(make_config(datasets, shuffle_merged_datasets=False), tokenizer)) == list(range(1, 21))


def test_held_out_rows_are_the_last(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    datasets = [{"path": str(lines(rows(20))), "type": "chat_template"}]
    whole = order(prepare(make_config(datasets), tokenizer))
    prepared = prepare(make_config(datasets, val_set_size=3), tokenizer)
    assert [sample.origin.row for sample in prepared.held_out] == whole[-3:]


@pytest.mark.parametrize(("count", "size", "expected"), [(20, 0.1, 2), (21, 0.1, 3), (3, 0.01, 1), (20, 0, 0), (20, 1, 1), (20, 5, 5)])
def test_a_share_is_rounded_up(count: int, size: float, expected: int) -> None:
    assert held_out_count(count, size) == expected


@pytest.mark.parametrize(("count", "size"), [(3, 3), (3, 0.9), (20, 1.5)])
def test_a_split_that_leaves_nothing_is_refused(count: int, size: float) -> None:
    with pytest.raises(DataError) as error:
        held_out_count(count, size)
    assert error.value.where == "val_set_size"


def test_shards_part_the_rows(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    path = str(lines(rows(10)))
    parts = [order(prepare(make_config([{"path": path, "type": "chat_template", "shards": 3, "shards_idx": index}]), tokenizer))
             for index in range(3)]
    assert [len(part) for part in parts] == [4, 3, 3]
    assert sorted(row for part in parts for row in part) == list(range(1, 11))
    for shards, index in ((3, 3), (11, 10)):
        with pytest.raises(DataError, match=r"datasets\[0\]\.shards"):
            prepare(make_config([{"path": path, "type": "chat_template", "shards": shards, "shards_idx": index}]), tokenizer)


def test_several_datasets_keep_their_origins(make_config: MakeConfig, tmp_path: Path, lines: Lines, tokenizer: TextTokenizer) -> None:
    text = tmp_path / "more.txt"
    text.write_text("red\ngreen\n", encoding="utf-8")
    config = make_config([{"path": str(lines(rows(2))), "type": "chat_template"}, {"path": str(text), "type": "completion"}])
    origins = {(sample.origin.dataset, Path(sample.origin.file).name, sample.origin.row) for sample in prepare(config, tokenizer).train}
    assert origins == {(0, "rows.jsonl", 1), (0, "rows.jsonl", 2), (1, "more.txt", 1), (1, "more.txt", 2)}


@pytest.mark.parametrize(("data", "words", "line", "step"), [
    ([talk("red " * 50), talk("red " * 80)], "too long", 1, "sequence_len: "), ([talk(""), talk("")], "no answer", 1, "answers"),
    ([talk(""), talk("red " * 80, "x" * 99)], "1 too long, 1 without", 2, "sequence_len: ")])
def test_nothing_left_names_a_row_and_the_reason(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer, data: list[Any],
                                                 words: str, line: int, step: str) -> None:
    config = make_config([{"path": str(lines(data)), "type": "chat_template"}], sequence_len=32)
    with pytest.raises(DataError, match=words) as error:
        prepare(config, tokenizer)
    assert str(error.value.where).endswith(f"rows.jsonl:{line}")
    assert step in str(error.value.next_step)


def test_only_empty_texts(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    with pytest.raises(DataError, match="any text"):
        prepare(make_config([{"path": str(lines([{"text": ""}])), "type": "completion"}]), tokenizer)


def test_a_missing_type_is_guessed_aloud(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    with pytest.raises(DataError) as error:
        prepare(make_config([{"path": str(lines(rows(1)))}]), tokenizer)
    assert error.value.where == "datasets[0].type" and "type: chat_template" in str(error.value.next_step)


def test_an_unknown_type_is_said_before_anything_is_read(make_config: MakeConfig, tokenizer: TextTokenizer) -> None:
    with pytest.raises(DataError, match="sharegpt"):
        prepare(make_config([{"path": "./nowhere.jsonl", "type": "sharegpt"}]), tokenizer)


def test_a_datasets_own_template(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    path = str(lines(rows(1)))
    template = "{% for m in messages %}{{ m.content }}|{% endfor %}"
    config = make_config([{"path": path, "type": "chat_template", "chat_template": "jinja", "chat_template_jinja": template}])
    assert tokenizer.decode(prepare(config, tokenizer).train[0].input_ids) == "say|red 0|"
    with pytest.raises(ConfigError, match=r"datasets\[0\]\.chat_template"):
        prepare(make_config([{"path": path, "type": "chat_template", "chat_template": "vicuna"}]), tokenizer)


def test_progress_reaches_the_total(make_config: MakeConfig, lines: Lines, tokenizer: TextTokenizer) -> None:
    told: list[tuple[int, int]] = []
    prepare(make_config([{"path": str(lines(rows(250))), "type": "chat_template"}]), tokenizer, progress=lambda *one: told.append(one))
    assert told == [(100, 250), (200, 250), (250, 250)]


class TestCache:
    """The second preparation reads what the first wrote, exactly; a change of anything that matters makes a new one."""

    @pytest.fixture
    def run(self, make_config: MakeConfig, tmp_path: Path, tokenizer: TextTokenizer) -> Callable[..., Prepared]:
        def run(path: Path, dataset: dict[str, Any] | None = None, with_tokenizer: TextTokenizer = tokenizer, **keys: Any) -> Prepared:
            config = make_config([{"path": str(path), "type": "chat_template", **(dataset or {})}],
                                 **{"dataset_prepared_path": str(tmp_path / "cache"), "sequence_len": 64, **keys})
            return prepare(config, with_tokenizer)

        return run

    def test_a_hit_is_equal(self, run: Callable[..., Prepared], lines: Lines) -> None:
        path = lines([*rows(20), talk("é🙂"), talk(""), talk("red " * 90)])
        first, second = run(path, val_set_size=0.2), run(path, val_set_size=0.2)
        assert (first.cached, second.cached) == (False, True)
        assert (first.train, first.held_out, first.counts) == (second.train, second.held_out, second.counts)

    def test_the_split_is_made_anew(self, run: Callable[..., Prepared], lines: Lines) -> None:
        path = lines(rows(20))
        run(path)
        again = run(path, val_set_size=5)
        assert again.cached and again.counts.held_out == len(again.held_out) == 5

    @pytest.mark.parametrize("change", [
        {"sequence_len": 65}, {"train_on_inputs": True}, {"seed": 1}, {"shuffle_merged_datasets": False},
        {"dataset": {"train_on_eos": "none"}}, {"dataset": {"shards": 2}}, {"dataset": {"roles_to_train": ["user"]}},
        {"dataset": {"chat_template": "chatml"}}])
    def test_a_changed_setting_misses(self, run: Callable[..., Prepared], lines: Lines, change: dict[str, Any]) -> None:
        path = lines(rows(20))
        run(path)
        assert not run(path, **change).cached

    def test_changed_rows_miss(self, run: Callable[..., Prepared], lines: Lines) -> None:
        run(lines(rows(20)))
        assert not run(lines([*rows(19), talk("blue 19")])).cached

    def test_a_changed_tokenizer_or_template_file_misses(self, run: Callable[..., Prepared], lines: Lines, tokenizer_folder: Path,
                                                         tmp_path: Path) -> None:
        path, template = lines(rows(5)), tmp_path / "own.jinja"
        options = {"chat_template": "jinja", "chat_template_jinja": str(template)}
        template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}", encoding="utf-8")
        run(path, options)
        assert run(path, options).cached
        template.write_text("{% for m in messages %}{{ m.content }}!{% endfor %}", encoding="utf-8")
        assert not run(path, options).cached
        run(path)
        other = load_tokenizer(tokenizer_folder, special_tokens=SpecialTokens(additional_special_tokens=["red"]))
        assert not run(path, with_tokenizer=other).cached

    @pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: b"", lambda data: b"\x80\x04K\x01." * 9,
                                        lambda data: data[:len(data) // 2] + b"\0\0\0\0" + data[len(data) // 2 + 4:]])
    def test_a_damaged_file_is_made_anew(self, run: Callable[..., Prepared], lines: Lines, tmp_path: Path,
                                         damage: Callable[[bytes], bytes]) -> None:
        path = lines(rows(50))
        first = run(path)
        [file] = (tmp_path / "cache").iterdir()
        file.write_bytes(damage(file.read_bytes()))
        again = run(path)
        assert (again.cached, again.train) == (False, first.train)
        assert run(path).cached

    def test_no_path_no_cache(self, run: Callable[..., Prepared], lines: Lines, tmp_path: Path) -> None:
        run(lines(rows(2)), dataset_prepared_path=None)
        assert not (tmp_path / "cache").exists()

    def test_a_folder_that_cannot_be_written(self, run: Callable[..., Prepared], lines: Lines, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(StorageError):
            run(lines(rows(2)), dataset_prepared_path=str(tmp_path / "file" / "cache"))
