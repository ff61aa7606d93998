"""What is trained on is visible token by token, in figures, and faults in all rows are found before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunelab.data.gate import gate
from tunelab.data.prepare import Counts, Prepared
from tunelab.data.preview import TokenState, preview, statistics
from tunelab.data.sample import IGNORE, Origin, Sample
from tunelab.data.tokenizer import TextTokenizer

BOS, END = 1, 2


def sample(*ids: int, context: int = 1, row: int = 1) -> Sample:
    """A row whose first `context` tokens carry no loss."""
    return Sample(ids, (*(IGNORE,) * context, *ids[context:]), Origin(0, "x.jsonl", row))


def prepared(*samples: Sample) -> Prepared:
    return Prepared(samples, (), Counts(len(samples), len(samples), 0, 0, 0, 0), False)


def test_each_token_says_what_training_does_with_it(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("<|im_start|>a<|im_end|>🙂<|im_end|>")
    [row] = preview([sample(*ids, context=3)], tokenizer, [0])
    assert [token.text for token in row.tokens] == ["<|im_start|>", "a", "<|im_end|>", "", "", "", "🙂", "<|im_end|>"]
    assert [token.id for token in row.tokens] == ids
    assert [token.state for token in row.tokens] == [
        TokenState.CONTEXT, TokenState.CONTEXT, TokenState.END_OF_TURN_UNTRAINED, *[TokenState.TRAINED] * 4, TokenState.END_OF_TURN_TRAINED]
    assert row.supervised == 5


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


def test_statistics(tokenizer: TextTokenizer) -> None:
    samples = [sample(*range(40, 40 + length), END) for length in (1, 2, 3, 99)] + [sample(40, END), sample(BOS, BOS, 50)]
    figures = statistics(prepared(*samples), tokenizer)
    assert (figures.rows, figures.tokens, figures.supervised) == (6, 114, 108)
    assert figures.share == pytest.approx(108 / 114)
    assert (figures.shortest, figures.median, figures.mean, figures.p95, figures.longest) == (2, 3, 19, 100, 100)
    assert (figures.duplicates, figures.end_never_trained, figures.double_bos) == (1, 1, 1)
    assert len(figures.histogram) == 12
    assert sum(bucket.count for bucket in figures.histogram) == 6
    assert figures.histogram[0].lower == 2 and figures.histogram[-1].upper >= 100


def test_one_length_still_makes_a_histogram(tokenizer: TextTokenizer) -> None:
    histogram = statistics(prepared(sample(40, END)), tokenizer).histogram
    assert [bucket.count for bucket in histogram] == [1] + [0] * 11


def test_the_gate_lets_good_rows_pass(tokenizer: TextTokenizer) -> None:
    assert gate(prepared(sample(BOS, 40, END), sample(40, 41)), tokenizer) == ()


def test_the_gate_finds_an_end_that_is_never_learnt(tokenizer: TextTokenizer) -> None:
    masked = Sample((40, 41, END), (IGNORE, 41, IGNORE), Origin(0, "x.jsonl", 1))
    [untrained] = gate(prepared(masked), tokenizer)
    assert untrained.code == "untrained_end" and "train_on_eos" in untrained.fix and "<|im_end|>" in untrained.message
    [absent] = gate(prepared(sample(40, 41)), tokenizer)
    assert "No row contains" in absent.message and "eos_token" in absent.fix
    [nameless] = gate(prepared(masked), replace(tokenizer, eos_id=None, eos_token=None))
    assert "names no end-of-text token" in nameless.message


def test_the_gate_finds_a_double_bos(tokenizer: TextTokenizer) -> None:
    [problem] = gate(prepared(sample(40, END), sample(BOS, BOS, 40, END, row=9)), tokenizer)
    assert (problem.code, problem.rows, problem.of) == ("double_bos", 1, 2)
    assert f"{Path('x.jsonl')}:9" in problem.message
