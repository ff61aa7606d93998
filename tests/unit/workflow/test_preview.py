"""preview as a person uses it: the first rows, one row, the worst ones, rows as they are packed; what was cut is shown as cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.helpers.tiny import write_data, write_tokenizer

from tunelab.data.gate import stopping
from tunelab.errors import UsageError
from tunelab.workflow.preview import preview, write_page


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """A config on the tiny tokenizer and 40 rows of chat, and a long one; `keys` override."""
    model, data = tmp_path / "model", write_data(tmp_path / "data.jsonl")
    write_tokenizer(model)
    (model / "config.json").write_text(json.dumps({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 400, "max_position_embeddings": 256}), encoding="utf-8")
    with data.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"messages": [{"role": "user", "content": "say red"}, {"role": "assistant", "content": "red " * 150}]}) + "\n")

    def write(**keys: object) -> str:
        settings = {"base_model": str(model), "datasets": [{"path": str(data), "type": "chat_template"}], "output_dir": str(tmp_path / "out"),
                    "sequence_len": 96, "micro_batch_size": 1, "num_epochs": 1, "learning_rate": 0.01, "bf16": False,
                    "shuffle_merged_datasets": False, **keys}
        path = tmp_path / "config.yml"
        path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
        return str(path)

    return write


def test_the_first_rows_one_row_and_no_such_row(config: Callable[..., str]) -> None:
    path = config()
    assert [row.index for row in preview(path, rows=2).rows] == [0, 1]
    [row] = preview(path, row=7).rows
    assert (row.index, row.origin.row) == (7, 8)
    result = preview(path)
    assert result.turns is not None and dict(result.turns.roles) == {"user": 41, "assistant": 41}
    assert [problem.code for problem in result.problems] == ["rows_lost"] and stopping(result.problems) == ()
    with pytest.raises(UsageError, match="no row 40"):
        preview(path, row=40)


def test_the_worst_rows_and_what_was_left_out(config: Callable[..., str], tmp_path: Path) -> None:
    result = preview(config(), rows=1, worst_first=True)
    *_, long = result.rows
    assert long.index == -1 and long.origin.row == 41 and "sequence_len is 96" in long.why[0]
    states = [token.state.value for token in long.tokens]
    assert states.index("truncated") == 96 and set(states[96:]) == {"truncated"}
    assert all(row.why for row in result.rows)
    write_page(result, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "What config.yml trains on" in page and "not trained on" in page and "left out:" in page


def test_a_row_that_is_cut_shows_what_was_cut(config: Callable[..., str]) -> None:
    result = preview(config(excess_length_strategy="truncate"), row=40)
    [row] = result.rows
    states = [token.state.value for token in row.tokens]
    assert (row.index, states[95], states[96]) == (40, "trained", "truncated") and len(states) > 96
    assert [(problem.code, problem.rows, problem.stops) for problem in result.problems] == [("truncated", 1, False)]


def test_packed_rows_are_those_of_the_first_epoch(config: Callable[..., str]) -> None:
    path = config(sample_packing=True, pad_to_sequence_len=True)
    result = preview(path, rows=100, packed=True)
    assert result.packed and all(len(row.tokens) == 96 for row in result.rows)
    assert sum(1 + len(row.others) for row in result.rows) == result.statistics.rows == 40
    assert sum(token.state.value == "pack_border" for row in result.rows for token in row.tokens) == 40 - len(result.rows)
    assert preview(path).can_pack and not preview(config()).can_pack
    with pytest.raises(UsageError, match="no packed row"):
        preview(path, row=100, packed=True)
