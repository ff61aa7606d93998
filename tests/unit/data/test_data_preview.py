"""What is trained on is visible token by token and in figures over all rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelab.config import Config
from tunelab.data.prepare import Counts, Prepared, prepare
from tunelab.data.preview import Language, TokenState, merged_reasons, preview, preview_cut, preview_packed, statistics, worst
from tunelab.data.sample import IGNORE, Origin, Sample
from tunelab.data.survey import survey
from tunelab.data.tokenizer import TextTokenizer
from tunelab.data.turns import turns

BOS, END, PAD = 1, 2, 0


def sample(*ids: int, context: int = 1, row: int = 1) -> Sample:
    """A row whose first `context` tokens carry no loss."""
    return Sample(ids, (*(IGNORE,) * context, *ids[context:]), Origin(0, "x.jsonl", row))


def prepared(*samples: Sample, held_out: tuple[Sample, ...] = ()) -> Prepared:
    count = len(samples) + len(held_out)
    return Prepared(samples, held_out, Counts(count, count, 0, 0, 0, len(held_out)), False)


def test_each_token_says_what_training_does_with_it(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("<|im_start|>a<|im_end|>🙂<|im_end|>")
    [row] = preview([sample(*ids, context=3)], tokenizer, [0])
    assert [token.text for token in row.tokens] == ["<|im_start|>", "a", "<|im_end|>", "", "", "", "🙂", "<|im_end|>"]
    assert [token.id for token in row.tokens] == ids
    assert [token.state for token in row.tokens] == [
        TokenState.CONTEXT, TokenState.CONTEXT, TokenState.END_OF_TURN_UNTRAINED, *[TokenState.TRAINED] * 4, TokenState.END_OF_TURN_TRAINED]
    assert [token.joined for token in row.tokens] == [False] * 3 + [True] * 3 + [False] * 2
    assert [token.special for token in row.tokens] == [True, False, True, False, False, False, False, True]
    assert row.supervised == 5


def test_other_tokens_can_end_a_turn(tokenizer: TextTokenizer) -> None:
    [row] = preview([sample(40, 41, 50)], tokenizer, [0], ends={41})
    assert [token.state for token in row.tokens] == [TokenState.CONTEXT, TokenState.END_OF_TURN_TRAINED, TokenState.TRAINED]


def test_the_first_token_is_never_learnt(tokenizer: TextTokenizer) -> None:
    one = sample(50, 51, END, context=0)
    [row] = preview([one], tokenizer, [0])
    assert row.tokens[0].state is TokenState.CONTEXT
    assert row.supervised == one.supervised == 2


def test_rows_are_chosen_by_number(tokenizer: TextTokenizer) -> None:
    rows = preview([sample(50, END, row=number) for number in range(5)], tokenizer, [3, 1])
    assert [(row.index, row.origin.row) for row in rows] == [(3, 3), (1, 1)]
    with pytest.raises(IndexError):
        preview([], tokenizer, [0])


def test_a_packed_row_shows_its_borders_and_its_padding(tokenizer: TextTokenizer) -> None:
    samples = [sample(40, 41, END, row=1), sample(BOS, 51, row=2)]
    row = preview_packed(samples, tokenizer, [1, 0], fill_to=8)
    assert [token.state.value for token in row.tokens] == [
        "context", "trained", "pack_border", "trained", "end_of_turn_trained", "padding", "padding", "padding"]
    assert [token.id for token in row.tokens] == [BOS, 51, 40, 41, END, PAD, PAD, PAD]
    assert row.tokens[-1].text == "<|endoftext|>"
    assert (row.origin.row, [other.row for other in row.others]) == (2, [1])
    assert len(preview_packed(samples, tokenizer, [0]).tokens) == 3


def test_what_is_behind_the_limit_is_truncated(tokenizer: TextTokenizer) -> None:
    row = preview_cut(sample(40, 41, 42, END), tokenizer, 2)
    assert [token.state.value for token in row.tokens] == ["context", "trained", "truncated", "truncated"]
    assert (row.index, row.supervised) == (-1, 1)


def test_statistics(tokenizer: TextTokenizer) -> None:
    samples = [sample(*range(40, 40 + length), END) for length in (1, 2, 3, 99)] + [sample(40, END), sample(BOS, BOS, 50)]
    figures = statistics(prepared(*samples, held_out=(sample(7, 8, 9),)), tokenizer)
    assert (figures.rows, figures.tokens, figures.supervised) == (6, 114, 108)
    assert figures.share == pytest.approx(108 / 114)
    assert (figures.shortest, figures.median, figures.mean, figures.p95, figures.longest) == (2, 3, 19, 100, 100)
    assert (figures.duplicates, figures.end_never_trained, figures.double_bos, figures.open_end) == (1, 1, 1, 1)
    assert len(figures.histogram) == 12
    assert [sum(getattr(bucket, name) for bucket in figures.histogram) for name in ("count", "tokens", "supervised")] == [6, 114, 108]
    assert figures.histogram[0].lower == 2 and figures.histogram[-1].upper >= 100


def test_one_length_still_makes_a_histogram(tokenizer: TextTokenizer) -> None:
    histogram = statistics(prepared(sample(40, END)), tokenizer).histogram
    assert [bucket.count for bucket in histogram] == [1] + [0] * 11


def test_languages_are_those_of_the_trained_text(tokenizer: TextTokenizer) -> None:
    def row(prompt: str, answer: str) -> Sample:
        before, after = tokenizer.encode(prompt), tokenizer.encode(answer)
        return Sample((*before, *after), (*[IGNORE] * len(before), *after), Origin(0, "x.jsonl", 1))

    english = "What is the capital of France, and where is it?"
    figures = statistics(prepared(row(english, "Das ist die Stadt Paris."), row(english, "東京です。"), row(english, "Ich weiß es nicht."),
                                  row("Was ist das?", "42")), tokenizer)
    assert figures.languages == (Language("German", 2), Language("Japanese", 1), Language("undetermined", 1))
    assert figures.language_rows == 4


def test_the_survey_says_the_same_however_the_samples_are_kept(tokenizer: TextTokenizer) -> None:
    np = pytest.importorskip("numpy")
    rows = [sample(BOS, BOS, 40, END), sample(40, 41, END, context=2), sample(50, 51, PAD, PAD, PAD, PAD), sample(40, 41, END, context=2)]
    masked = Sample((40, 41, 42, END), (IGNORE, 41, 42, IGNORE), Origin(1, "y.jsonl", 1))
    found = survey(prepared(*rows, held_out=(rows[0], masked)), tokenizer)
    assert found.train == 4 and len(found) == 6
    for name, expected in {"lengths": [4, 3, 6, 3, 4, 4], "supervised": [3, 1, 5, 1, 3, 2], "dataset": [0, 0, 0, 0, 0, 1],
                           "trains_end": [1, 1, 0, 1, 1, 0], "open_end": [0, 0, 1, 0, 0, 0], "unlearnt_end": [0, 0, 0, 0, 0, 1],
                           "double_bos": [1, 0, 0, 0, 1, 0], "trained_padding": [0, 0, 1, 0, 0, 0], "same_as": [0, 1, 2, 1, 0, 5]}.items():
        assert getattr(found, name).astype(int).tolist() == expected, name
    assert not np.any(found.new_tokens)


def test_the_worst_rows_come_first(tokenizer: TextTokenizer) -> None:
    rows = [sample(*range(40, 48), context=1), sample(40, 41, 42, END, context=3), sample(50, END), sample(50, END),
            sample(*range(60, 70), END), sample(50, END)]
    chosen = merged_reasons(worst(survey(prepared(*rows), tokenizer), 1, 8))
    assert {index: [why.split(":")[0] for why in reasons] for index, reasons in chosen.items()} == {
        0: ["cut"], 1: ["least trained"], 2: ["duplicate"], 4: ["longest"]}
    assert chosen[2] == ("duplicate: 3 rows are the same",)


def test_roles_and_empty_answers_of_the_raw_rows(tmp_path: Path, make_config: Callable[..., Config], lines: Callable[[list[Any]], Path]) -> None:
    chat = lines([{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "judge", "value": ""}]},
                  {"conversations": [{"from": "system", "value": ""}, {"from": "human", "value": "a"}, {"from": "gpt", "value": " \n"}]},
                  {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "", "tool_calls": [{}]}, {"from": "gpt"}]}])
    other = tmp_path / "alpaca.jsonl"
    other.write_text("".join(json.dumps({"instruction": "x", "output": one}) + "\n" for one in ("fine", "", None)), encoding="utf-8")
    config = make_config([{"path": str(chat), "type": "chat_template", "field_messages": "conversations",
                           "message_property_mappings": {"role": "from", "content": "value"}}, {"path": str(other), "type": "alpaca"}])
    found = turns(config)
    assert found.rows == 6
    assert dict(found.roles) == {"assistant": 4, "user": 3, "judge": 1, "system": 1}
    assert found.empty_answers == 4 and [place.row for place in found.empty_places] == [2, 3, 2, 3]


def test_a_completion_cut_inside_a_character_shows_no_replacement_character(
        tokenizer: TextTokenizer, make_config: Callable[..., Config], lines: Callable[[list[Any]], Path]) -> None:
    data = lines([{"text": "🙂" * 9}])
    ready = prepare(make_config([{"path": str(data), "type": "completion"}], sequence_len=7), tokenizer)
    text = "".join(token.text for row in preview(ready.train, tokenizer, range(len(ready.train))) for token in row.tokens)
    assert "\ufffd" not in text and "🙂" in text
