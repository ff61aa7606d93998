"""The base model is the one that the makers name as such, wherever they say it and however; and no other model that a card mentions."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tunelab.hub.card import read_card
from tunelab.hub.evidence import Answer
from tunelab.hub.fields.base_model import read_base_model
from tunelab.hub.fields.kind import read_kind
from tunelab.hub.fields.training import read_axolotl
from tunelab.hub.record import ModelRecord


def base_of(text: str, **more: object) -> Answer:
    record = ModelRecord(str(more.pop("name", "my-model")), read_card(text), **more)  # type: ignore[arg-type]
    return read_base_model(record, read_kind(record), read_axolotl(record))


def front(*lines: str) -> str:
    return "\n".join(("---", *lines, "---", "# My model", ""))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["base_model: mistralai/Mistral-7B-v0.1"], ["mistralai/Mistral-7B-v0.1"]),
        (["base_model:", "- mistralai/Mistral-7B-v0.1"], ["mistralai/Mistral-7B-v0.1"]),
        (["base_model: [a/x-7b, b/y-7b]", "tags: [merge]"], ["a/x-7b", "b/y-7b"]),
        (["base_model: https://huggingface.co/meta-llama/Llama-2-7b-hf/tree/main"], ["meta-llama/Llama-2-7b-hf"]),
        (["base_model: huggingface.co/meta-llama/Llama-2-7b-hf"], ["meta-llama/Llama-2-7b-hf"]),
        (["base_model: meta-llama/Llama-2-7b-hf@8cca527"], ["meta-llama/Llama-2-7b-hf"]),
        (["base_model: bert-base-uncased"], ["bert-base-uncased"]),
        (["base_model: Mistral 7B"], ["Mistral 7B"]),
        (["base_model: {name: Qwen/Qwen2.5-7B, revision: main}"], ["Qwen/Qwen2.5-7B"]),
        (["base_model:", "- name: Qwen/Qwen2.5-7B"], ["Qwen/Qwen2.5-7B"]),
        (["base_model: /root/.cache/huggingface/hub/models--meta-llama--Llama-2-7b-hf/snapshots/8cca"], ["meta-llama/Llama-2-7b-hf"]),
        (["base_model: ./outputs/checkpoint-500"], []),
        (["base_model: /home/me/run3"], []),
        (["base_model: C:\\models\\first"], []),
        (["base_model: /workspace/llama-3-8b/"], ["llama-3-8b"]),
        (["base_model: ''"], []),
        (["base_model: null"], []),
        (["base_model: None"], []),
        (["base_model: 7"], []),
        (["base_model: true"], []),
        (["base_model: [[], {}, 3, null]"], []),
        (["base_model: '[More Information Needed]'"], []),
        (["base_model: '{{ base_model }}'"], []),
        (["base_model: PLACEHOLDER_BASE_MODEL"], []),
        (["base_model: your-username/your-base-model"], []),
        (["base_model: https://huggingface.co/datasets/a/b"], []),
        (["base_model: 'google/flan-t5-base, google/flan-t5-large'"], ["google/flan-t5-base", "google/flan-t5-large"]),
    ],
)
def test_metadata_in_every_form(lines: list[str], expected: list[str]) -> None:
    assert list(base_of(front(*lines)).values) == expected


# name, kind ("": not checked), base models, the card with its line ends written out: what a careful reader finds.
ORIGINS = [line.split("\t") for line in Path(__file__).with_name("origins.tsv").read_text(encoding="utf-8").splitlines()[1:]]


def test_there_are_many_ways_to_say_it() -> None:
    assert len(ORIGINS) > 200


@pytest.mark.parametrize(("name", "kind", "bases", "text"), ORIGINS, ids=range(len(ORIGINS)))
def test_ways_to_say_it(name: str, kind: str, bases: str, text: str) -> None:
    record = ModelRecord(name, read_card(re.sub(r"\\(.)", lambda found: "\n" if found.group(1) == "n" else found.group(1), text)))
    said = read_kind(record)
    assert set(read_base_model(record, said, read_axolotl(record)).values) == {one for one in bases.split(" + ") if one}
    assert kind in ("", said.value)


def test_the_own_name_is_never_the_base_model() -> None:
    text = "# Zephyr 7B Gemma\n\nZephyr 7B Gemma fine-tuned on deita. zephyr-7b-gemma is a fine-tuned version of google/gemma-7b.\n"
    assert base_of(text, name="HuggingFaceH4/zephyr-7b-gemma", is_hub_id=True).values == ("google/gemma-7b",)
    assert base_of(front("base_model: me/thing"), name="me/thing", is_hub_id=True).values == ()


def test_the_direct_parent_is_the_answer_and_the_root_is_said() -> None:
    answer = base_of(
        "# Sea shanties\n\nA LoRA of [OpenHermes](https://huggingface.co/teknium/OpenHermes-2.5-Mistral-7B), which is itself a fine-tuned version of "
        "[Mistral](https://huggingface.co/mistralai/Mistral-7B-v0.1).\n"
    )
    assert answer.value == "teknium/OpenHermes-2.5-Mistral-7B"
    assert "mistralai/Mistral-7B-v0.1" in answer.candidates[0].note
    assert [one.value for one in answer.candidates[1:]] == ["mistralai/Mistral-7B-v0.1"]
    answer = base_of("# X\n\nThis model is based on Vicuna-7B. Vicuna-7B is a fine-tuned version of LLaMA-7B.\n")
    assert answer.value == "Vicuna-7B"
    answer = base_of("# Skiff\n\nSkiff is a model that is finetuned from stabilityai/stablelm-3b-4e1t.\n")
    assert answer.value == "stabilityai/stablelm-3b-4e1t"


def test_a_name_for_what_the_table_knows() -> None:
    answer = base_of("# X\n\nFine-tuned from Mistral 7B.\n")
    assert answer.value == "Mistral 7B" and "mistralai/Mistral-7B-v0.1" in answer.candidates[0].note


def test_names_of_one_model_are_one_candidate() -> None:
    answer = base_of(
        front("base_model: mistralai/Mistral-7B-v0.1") + "This is a fine-tuned version of Mistral 7B.\n",
        adapter={"base_model_name_or_path": "unsloth/mistral-7b-v0.1-bnb-4bit", "peft_type": "LORA"},
    )
    assert [one.value for one in answer.candidates] == ["mistralai/Mistral-7B-v0.1"]
    assert {entry.kind for entry in answer.candidates[0].evidence} == {"card metadata", "card text", "adapter_config.json"}


def test_every_source_alone() -> None:
    assert base_of("# X\n", adapter={"base_model_name_or_path": "a/b-7b", "peft_type": "LORA"}).values == ("a/b-7b",)
    assert base_of("# X\n", adapter={"base_model_name_or_path": "/mnt/first", "peft_type": "LORA"}).values == ()
    assert base_of("# X\n", config={"_name_or_path": "a/b-7b"}).values == ("a/b-7b",)
    assert base_of("# X\n", tags=("base_model:finetune:a/b-7b", "base_model:a/b-7b")).values == ("a/b-7b",)
    assert base_of("# X\n", parents=(("adapter", "a/b-7b"),)).values == ("a/b-7b",)
    assert base_of(
        "# X\n\n<details><summary>See axolotl config</summary>\n\n```yaml\nbase_model: a/b-7b\nadapter: qlora\nmicro_batch_size: 2\n```\n</details>\n"
    ).values == ("a/b-7b",)
    code = "from peft import PeftModel\nbase = AutoModelForCausalLM.from_pretrained('a/b-7b')\nmodel = PeftModel.from_pretrained(base, 'me/x-lora')\n"
    assert base_of(f"# X\n\n```python\n{code}```\n").values == ("a/b-7b",)


def test_a_name_is_a_hint_and_no_statement() -> None:
    answer = base_of("# Poems\n", name="me/mistral-7b-poems", is_hub_id=True)
    assert answer.values == () and [one.value for one in answer.candidates] == ["mistralai/Mistral-7B-v0.1"]


RECIPE = """```yaml
slices:
  - sources:
      - model: OpenPipe/mistral-ft-optimized-1218
        layer_range: [0, 32]
      - model: mlabonne/NeuralHermes-2.5-Mistral-7B
        layer_range: [0, 32]
merge_method: slerp
base_model: OpenPipe/mistral-ft-optimized-1218
```
"""


def test_all_parents_of_a_merge() -> None:
    both = {"OpenPipe/mistral-ft-optimized-1218", "mlabonne/NeuralHermes-2.5-Mistral-7B"}
    assert set(base_of(f"# X\n\n{RECIPE}").values) == both
    assert (
        set(
            base_of(
                "# X\n\nX is a merge of the following models using mergekit:\n* [OpenPipe/mistral-ft-optimized-1218](https://huggingface.co/OpenPipe/mistral-ft-optimized-1218)\n"
                "* [mlabonne/NeuralHermes-2.5-Mistral-7B](https://huggingface.co/mlabonne/NeuralHermes-2.5-Mistral-7B)\n"
            ).values
        )
        == both
    )
    assert set(base_of("# X\n\nThis is a SLERP merge of OpenPipe/mistral-ft-optimized-1218 and mlabonne/NeuralHermes-2.5-Mistral-7B.\n").values) == both
    local = RECIPE.replace("OpenPipe/mistral-ft-optimized-1218", "./merges/first")
    assert base_of(f"# X\n\n{local}").values == ("mlabonne/NeuralHermes-2.5-Mistral-7B",)


def test_a_base_model_has_none() -> None:
    assert base_of("# Ocean 7B\n\nOcean 7B is a base model pretrained from scratch on 1.2T tokens. It uses the Llama architecture.\n").values == ()


@pytest.mark.parametrize(
    "text",
    [
        "fine-tuned version of " * 4000,
        "[" * 60_000,
        "base model: " * 8000,
        "[a](" * 20_000,
        "a/" * 40_000,
        "fine-tuned " * 9000,
        "Llama-" * 15_000,
        "Mistral 7B " * 8000,
        "based on the " * 7000,
        "GGUF " * 18_000,
        "- base_model: a/b\n" * 6000,
        "基于" * 40_000,
        "x" * 100_000,
        "`" * 100_000,
        "* _" * 30_000,
        "merge of a/b-7b, " * 5000,
        "**Base model**: [x]" * 5000,
        "<a href=" * 12_000,
        "which is a fine-tuned version of Llama 2. " * 2500,
        "quantized of for from " * 4500,
        "| Base model | x |\n" * 5000,
    ],
)
def test_no_card_takes_long(text: str) -> None:
    record = ModelRecord("x", read_card(f"# X\n\n{text}"))
    len(record.card.blocks)
    begun = time.perf_counter()
    read_base_model(record, read_kind(record), None)
    assert time.perf_counter() - begun < 3
