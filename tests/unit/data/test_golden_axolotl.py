"""Ids and labels are, token for token, what Axolotl's own code made of the same config and rows.

Two sets of cases: the reference beside a checkout (axolotl/golden.json), and our own in `golden/`, made by Axolotl 0.21.0 from rows that
look for the corners. Each deviation is listed in docs/design/data-deviations.md and named here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunelab.config import Config, read_config
from tunelab.config.sections.data import Dataset
from tunelab.data.formats import Context, format_for
from tunelab.data.formats.preference import Judged, find_preference
from tunelab.data.formats.reward import REWARD_TYPES, OddsPair, RewardPair
from tunelab.data.prepare import context_of, held_out_count, shard, shuffled
from tunelab.data.sample import Origin, Row
from tunelab.data.templates import resolve_template
from tunelab.data.tokenizer import TextTokenizer, tokenizer_for
from tunelab.errors import TunelabError

OWN = Path(__file__).parent / "golden"

DEVIATIONS = frozenset({
    "reflection:chat: the corrected answer is printed",
    "chat_template: the template's own terminator is trained",
    "chat_template: keys of messages in a loop of another name",
    "chat_template: tool calls that the search cannot replace",
    "llama2_chat: answers are trained with any tokenizer",
    "pretokenised: padding is left out",
})
"""Cases that differ on purpose, by the start of their id."""

Outcome = list[dict[str, Any]] | TunelabError


@pytest.fixture
def golden(shared_axolotl: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared_axolotl / "golden.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def tokenised(smol_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Outcome]:
    """Run one case: its config is read as a file is, its rows go through the format that the config asks for."""
    folder = tmp_path_factory.mktemp("golden")
    loaded: dict[str, TextTokenizer] = {}

    def context_for(config: Config, name: str) -> Context:
        """As a run makes it; the tokenizer is loaded once for all configs that differ only in the template."""
        key = name + config.model.model_dump_json(include={"special_tokens", "tokens", "added_tokens_overrides"})
        if key not in loaded:
            bare = config.model.model_copy(update={"chat_template": None, "chat_template_jinja": None})
            loaded[key] = with_post_processor(tokenizer_for(smol_folder, bare), name)
        dataset, model, tokenizer = config.data.datasets[0], config.model, loaded[key]
        own = resolve_template(model.chat_template, model.chat_template_jinja, tokenizer.chat_template)
        return replace(context_of(config, dataset, 0, tokenizer), template=resolve_template(dataset.chat_template, dataset.chat_template_jinja, own))

    def run(case: dict[str, Any]) -> Outcome:
        path = folder / "config.yaml"
        path.write_text(json.dumps({"base_model": "smol", "learning_rate": 1e-4, "micro_batch_size": 1, **case["config"]}, indent=1), encoding="utf-8")
        config = read_config(path).config
        try:
            context = context_for(config, case.get("tokenizer", "smol"))
            rows = [Row(row, Origin(0, "x.jsonl", number)) for number, row in enumerate(case["rows"], start=1)]
            return outputs(config, config.data.datasets[0], rows, context)
        except TunelabError as error:
            return error

    return run


def with_post_processor(tokenizer: TextTokenizer, name: str) -> TextTokenizer:
    """SmolLM2's own tokenizer, or the same with a post-processor that puts BOS in front (and EOS behind)."""
    from tokenizers.processors import TemplateProcessing

    tokens = [("<|im_start|>", tokenizer.token_id("<|im_start|>")), ("<|im_end|>", tokenizer.token_id("<|im_end|>"))]
    if name != "smol":
        single = "<|im_start|> $A" + (" <|im_end|>" if name == "smol_bos_eos" else "")
        tokenizer.backend.post_processor = TemplateProcessing(single=single, special_tokens=tokens)
    return tokenizer


def outputs(config: Config, dataset: Dataset, rows: list[Row], context: Context) -> list[dict[str, Any]]:
    rl = config.raw.text("rl")
    if rl:
        return [_texts(find_preference(rl, dataset, 0)(row, dataset, context)) for row in rows]
    if dataset.type_name in REWARD_TYPES:
        return [_ids(REWARD_TYPES[dataset.type_name](row, dataset, context)) for row in rows]
    tokenise = format_for(dataset, 0, rows[0].values)
    return [{"input_ids": list(sample.input_ids), "labels": list(sample.labels)} for row in rows for sample in tokenise(row, dataset, context)]


def _texts(one: Any) -> dict[str, Any]:
    if isinstance(one, Judged):
        return {"prompt": one.prompt, "completion": one.completion} | ({} if one.label is None else {"label": one.label})
    return {"prompt": one.prompt, "chosen": one.chosen, "rejected": one.rejected}


def _ids(one: Any) -> dict[str, Any]:
    if isinstance(one, RewardPair):
        return {"chosen_ids": list(one.chosen_ids), "rejected_ids": list(one.rejected_ids)}
    found = {"input_ids": list(one.input_ids), "labels": list(one.labels)}
    if isinstance(one, OddsPair):
        found |= {"rejected_ids": list(one.rejected_ids), "rejected_labels": list(one.rejected_labels),
                  "prompt_attention_mask": [1] * one.prompt_length + [0] * (len(one.labels) - one.prompt_length)}
    return found


def is_equal(got: Outcome, case: dict[str, Any]) -> bool:
    """Everything that we give is what Axolotl gives. What is a KeyError in the middle of its map is a sentence with file and line here."""
    if "out" not in case or isinstance(got, TunelabError):
        return "out" not in case and isinstance(got, TunelabError)
    return len(got) == len(case["out"]) and all(
        all(theirs.get(key) == value for key, value in ours.items()) for ours, theirs in zip(got, case["out"], strict=True))


def test_every_reference_case_is_equal(golden: dict[str, Any], tokenised: Callable[[dict[str, Any]], Outcome]) -> None:
    cases = [*golden["sft"], *golden["rl"]]
    assert [case["id"] for case in cases if not is_equal(tokenised(case), case)] == []
    assert len(cases) == 64


def own_cases() -> list[dict[str, Any]]:
    return [case for path in sorted(OWN.glob("*.json")) for case in json.loads(path.read_text(encoding="utf-8"))]


def test_every_case_of_our_own_is_equal_or_a_named_deviation(tokenised: Callable[[dict[str, Any]], Outcome]) -> None:
    cases = own_cases()
    different = [case["id"] for case in cases if not is_equal(tokenised(case), case)]
    assert [name for name in different if not name.startswith(tuple(DEVIATIONS))] == []
    assert all(any(name.startswith(one) for name in different) for one in DEVIATIONS)
    assert len(cases) == 328


@pytest.mark.parametrize("seed", [42, 7])
def test_order_split_and_shards_are_equal(golden: dict[str, Any], seed: int) -> None:
    pipeline, rows, more = golden["pipeline"], list(range(20)), list(range(100, 105))
    assert shuffled(rows, seed) == pipeline[f"shuffle_one_seed{seed}"]
    assert shuffled([*rows, *more], seed) == pipeline[f"shuffle_two_seed{seed}"]
    assert shard(rows, Dataset(path="x", shards=4), 0, seed) == pipeline[f"shards4_idx0_seed{seed}"]
    border = 20 - held_out_count(20, 0.1)
    order = shuffled(rows, seed)
    assert {"train": order[:border], "eval": order[border:]} == pipeline[f"split_0.1_seed{seed}"]
