"""Ids and labels are, token for token, what Axolotl's own code made of the same config and rows (reference: axolotl/golden.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tunelab.config.sections.data import Dataset
from tunelab.data.formats import FORMATS, Context
from tunelab.data.prepare import held_out_count, shard, shuffled
from tunelab.data.sample import Origin, Row
from tunelab.data.templates import SUPPORTED, resolve_template
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer
from tunelab.errors import DataError, TunelabError

EXPECTED_CASES = 38


@pytest.fixture
def golden(shared_axolotl: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared_axolotl / "golden.json").read_text(encoding="utf-8"))
    return found


def dataset_of(case: dict[str, Any]) -> Dataset | None:
    """The case's dataset; None when a type, key or template is not one of tunelab's (it is refused aloud then)."""
    written = case["config"]["datasets"][0]
    if not isinstance(written.get("type"), str) or written["type"] not in FORMATS:
        return None
    if case["config"].get("chat_template", SUPPORTED[0]) not in SUPPORTED:
        return None
    try:
        return Dataset(**written)
    except ValidationError:
        return None


@pytest.fixture(scope="module")
def tokenizers(smol_folder: Path) -> dict[str, TextTokenizer]:
    """The two tokenizers of the reference: SmolLM2's own, and the same with a post-processor that puts BOS in front."""
    from tokenizers.processors import TemplateProcessing

    plain, with_bos = load_tokenizer(smol_folder), load_tokenizer(smol_folder)
    with_bos.backend.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", with_bos.bos_id)])
    return {"smol": plain, "smol_bos": with_bos}


def tokenised(case: dict[str, Any], dataset: Dataset, tokenizer: TextTokenizer) -> list[tuple[list[int], list[int]]] | TunelabError:
    config = case["config"]
    top = resolve_template(config.get("chat_template"), config.get("chat_template_jinja"), tokenizer.chat_template)
    template = resolve_template(dataset.chat_template, dataset.chat_template_jinja, top)
    context = Context(tokenizer, config["sequence_len"], config.get("train_on_inputs", False), template)
    try:
        samples = [sample for number, row in enumerate(case["rows"], start=1)
                   for sample in FORMATS[str(dataset.type)](Row(row, Origin(0, "x.jsonl", number)), dataset, context)]
    except TunelabError as error:
        return error
    return [(list(sample.input_ids), list(sample.labels)) for sample in samples]


def test_every_case_of_our_types_is_equal(golden: dict[str, Any], tokenizers: dict[str, TextTokenizer]) -> None:
    compared, different = 0, []
    for case in golden["sft"]:
        dataset = dataset_of(case)
        if dataset is None:
            continue
        compared += 1
        got = tokenised(case, dataset, tokenizers[case["tokenizer"]])
        # What is a KeyError in the middle of Axolotl's map is a sentence with file and line here.
        expected = [(one["input_ids"], one["labels"]) for one in case["out"]] if "out" in case else DataError
        if got != expected and not (expected is DataError and isinstance(got, DataError)):
            different.append(case["id"])
    assert not different
    assert compared == EXPECTED_CASES


@pytest.mark.parametrize("seed", [42, 7])
def test_order_split_and_shards_are_equal(golden: dict[str, Any], seed: int) -> None:
    pipeline, rows, more = golden["pipeline"], list(range(20)), list(range(100, 105))
    assert shuffled(rows, seed) == pipeline[f"shuffle_one_seed{seed}"]
    assert shuffled([*rows, *more], seed) == pipeline[f"shuffle_two_seed{seed}"]
    assert shard(rows, Dataset(path="x", shards=4), 0, seed) == pipeline[f"shards4_idx0_seed{seed}"]
    border = 20 - held_out_count(20, 0.1)
    order = shuffled(rows, seed)
    assert {"train": order[:border], "eval": order[border:]} == pipeline[f"split_0.1_seed{seed}"]

