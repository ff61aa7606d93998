"""A fine-tune, an adapter, a merge, a quantised copy and a base model are told apart, and what says so is shown."""

from __future__ import annotations

import pytest

from tunelab.hub.card import read_card
from tunelab.hub.evidence import Answer
from tunelab.hub.fields.kind import read_kind
from tunelab.hub.record import ModelRecord


def kind_of(text: str = "# X\n", **more: object) -> Answer:
    return read_kind(ModelRecord(str(more.pop("name", "me/x")), read_card(text), is_hub_id=True, **more))  # type: ignore[arg-type]


def front(*lines: str, body: str = "# X\n") -> str:
    return "\n".join(("---", *lines, "---", body))


UNSLOTH = """# Uploaded  model

- **Developed by:** me
- **License:** apache-2.0
- **Finetuned from model :** unsloth/llama-3-8b-bnb-4bit

This llama model was trained 2x faster with [Unsloth](https://github.com/unslothai/unsloth) and Huggingface's TRL library.
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"text": front("base_model: a/b", "base_model_relation: quantized")}, "quantized"),
        ({"text": front("base_model: a/b", "base_model_relation: merge")}, "merge"),
        ({"parents": (("adapter", "a/b"),)}, "adapter"),
        ({"tags": ("base_model:quantized:a/b",)}, "quantized"),
        ({"tags": ("base_model:finetune:a/b",)}, "finetune"),
        ({"adapter": {"peft_type": "LORA", "base_model_name_or_path": "a/b"}}, "adapter"),
        ({"text": front("library_name: peft")}, "adapter"),
        ({"library": "peft"}, "adapter"),
        ({"files": {"adapter_model.safetensors": 3, "adapter_config.json": 1}}, "adapter"),
        ({"text": front("tags: [merge, mergekit]")}, "merge"),
        ({"text": "# X\n\n```yaml\nmodels:\n  - model: a/b-7b\n  - model: c/d-7b\nmerge_method: ties\nbase_model: e/f-7b\n```\n"}, "merge"),
        ({"text": "# X\n\nX is a merge of [a/b-7b](https://huggingface.co/a/b-7b) and c/d-7b.\n"}, "merge"),
        ({"text": front("base_model: [a/b-7b, c/d-7b]")}, "merge"),
        ({"files": {"x.Q4_K_M.gguf": 9}}, "quantized"),
        ({"name": "me/x-GGUF"}, "quantized"),
        ({"name": "me/x-AWQ"}, "quantized"),
        ({"name": "me/x-4.0bpw-exl2"}, "quantized"),
        ({"name": "me/x-i1-GGUF"}, "quantized"),
        ({"name": "me/x-bnb-4bit"}, "quantized"),
        ({"config": {"quantization_config": {"quant_method": "gptq", "bits": 4}}}, "quantized"),
        ({"text": front("quantized_by: me")}, "quantized"),
        ({"text": "# X\n\nGGUF quants of a/b-7b.\n"}, "quantized"),
        ({"text": "# X\n\nThis is a quantized version of a/b.\n"}, "quantized"),
        ({"text": "# X\n\nA LoRA adapter for Mistral 7B.\n"}, "adapter"),
        ({"name": "me/x-lora"}, "adapter"),
        ({"text": "# X\n\nWe fine-tuned Falcon 7B on tickets.\n"}, "finetune"),
        ({"text": front("base_model: a/b")}, "finetune"),
        ({"text": front("tags: [generated_from_trainer]")}, "finetune"),
        ({"text": "# X\n\nX is a base model, pretrained from scratch on 2T tokens. It can be fine-tuned.\n"}, "base"),
        ({"text": "# X\n\nPretrained model on English language using a masked language modeling (MLM) objective.\n"}, "base"),
        ({}, None),
    ],
)
def test_each_source_alone(given: dict[str, object], expected: str | None) -> None:
    answer = kind_of(**given)
    assert answer.value == expected
    assert all(one.evidence for one in answer.candidates)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"text": UNSLOTH, "config": {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}}, "finetune"),
        ({"text": front("tags: [gguf, unsloth, llama, trl]", body=UNSLOTH)}, "finetune"),
        ({"text": UNSLOTH, "files": {"model-q4.gguf": 4, "model.safetensors": 5}}, "finetune"),
        ({"text": front("tags: [merge, mergekit]", body="# X - GGUF\n\nGGUF quants of a/b-7b.\n"), "name": "me/x-GGUF"}, "quantized"),
        ({"text": "# X\n\nAWQ quant of a/b.\n\n# Original model card\n\nWe fine-tuned Llama 2 with LoRA adapters.\n", "name": "me/x-AWQ"}, "quantized"),
        ({"text": "# X\n\nWe fine-tuned it rather than training from scratch.\n"}, "finetune"),
        ({"text": "# X\n\nFine-tuned with QLoRA; the LoRA adapter was merged into the base model.\n"}, "finetune"),
        ({"text": "# X\n\nWe fine-tuned a/b-7b. If you want a quantized version of this model, see me/x-GGUF.\n"}, "finetune"),
        ({"text": "# X\n\nFine-tuned with QLoRA (4-bit NF4 quantization + LoRA adapters).\n", "adapter": {"peft_type": "LORA"}}, "adapter"),
        ({"text": "# X\n\nPretrained on 1T tokens of text. You can use the raw model, but it is mostly meant to be fine-tuned on a task.\n"}, "base"),
    ],
)
def test_the_narrower_word_wins_and_nothing_is_mistaken(given: dict[str, object], expected: str) -> None:
    assert kind_of(**given).value == expected


def test_a_remark_on_a_weak_place_is_not_the_answers() -> None:
    assert kind_of("# X\n\nThis model is a fine-tuned version of gpt2.\n").candidates[0].note == ""
    assert kind_of(front("base_model: a/b")).candidates[0].note


def test_the_places_are_shown() -> None:
    answer = kind_of(front("base_model: a/b", "base_model_relation: adapter", body="# X\n\nLoRA weights for a/b.\n"))
    assert {(entry.kind, entry.line) for entry in answer.candidates[0].evidence} >= {("card metadata", 3), ("card text", 7)}


@pytest.mark.parametrize(
    "lines", [["base_model_relation: [1, {}]"], ["tags: 7"], ["tags: {a: b}"], ["library_name: [x]"], ["quantized_by: null"], ["base_model: {}"]]
)
def test_wrong_types_are_survived(lines: list[str]) -> None:
    kind_of(front(*lines), config={"quantization_config": [1]}, adapter={"peft_type": 3})
