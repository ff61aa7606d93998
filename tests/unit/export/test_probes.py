"""What two models are asked."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.tiny import write_tokenizer

from tunelab.data.sample import IGNORE, Origin, Sample
from tunelab.data.tokenizer import load_tokenizer
from tunelab.export.probes import MAX_PROBES, MAX_TOKENS, Probe, from_samples, shipped

ORIGIN = Origin(0, "x", 1)


def test_a_row_is_compared_where_its_answer_is_predicted() -> None:
    one = Sample((5, 6, 7, 8), (IGNORE, IGNORE, 7, 8), ORIGIN)
    assert from_samples([one]) == (Probe((5, 6, 7, 8), 2),)
    assert list(Probe((5, 6, 7, 8), 2).positions) == [1, 2, 3] and Probe((5, 6, 7, 8), 2).prompt == (5, 6)


def test_rows_without_an_answer_in_reach_are_passed_over() -> None:
    late = Sample(tuple(range(MAX_TOKENS + 5)), (IGNORE,) * (MAX_TOKENS + 4) + (1,), ORIGIN)
    whole = Sample((5, 6, 7), (5, 6, 7), ORIGIN)
    assert from_samples([late]) == ()
    assert from_samples([late, *[whole] * (MAX_PROBES + 3)]) == (Probe((5, 6, 7), 1),) * MAX_PROBES


def test_shipped_prompts_stand_in_the_chat_template(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    probes = shipped(tokenizer)
    assert len(probes) >= 6
    assert all(tokenizer.decode(probe.prompt).endswith("<|im_start|>assistant\n") and len(probe.positions) == len(probe.ids) for probe in probes)
