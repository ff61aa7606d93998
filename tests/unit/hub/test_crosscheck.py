"""Two places that cannot both be right are a finding that shows both; ordinary cards have none."""

from __future__ import annotations

import pytest

from tunelab.hub.card import read_card
from tunelab.hub.crosscheck import TITLES, CardFinding, cross_check
from tunelab.hub.evidence import Answer, Candidate, Evidence
from tunelab.hub.fields.base_model import read_base_model
from tunelab.hub.fields.kind import read_kind
from tunelab.hub.record import ModelRecord
from tunelab.hub.sheet import ModelSheet

MISTRAL = "mistralai/Mistral-7B-v0.1"


def said(*values: str, kind: str = "card metadata") -> Answer:
    return Answer(tuple(Candidate(value, 0.9, (Evidence(kind, value, "README.md", 2),)) for value in values), many=True)  # type: ignore[arg-type]


def findings(
    text: str = "# X\n", *, licence: str = "", data: tuple[str, ...] = (), fields: dict[str, object] | None = None, **more: object
) -> dict[str, CardFinding]:
    record = ModelRecord(str(more.pop("name", "me/x")), read_card(text), is_hub_id=True, **more)  # type: ignore[arg-type]
    kind = read_kind(record)
    sheet = ModelSheet(
        record,
        kind=kind,
        base_model=read_base_model(record, kind, None),
        licence=said(licence) if licence else Answer(),
        datasets=said(*data),
        **(fields or {}),
    )  # type: ignore[arg-type]
    found = cross_check(record, sheet)
    assert all(one.evidence and one.message.endswith(".") and one.code in TITLES for one in found)
    return {one.code: one for one in found}


def base(name: str, body: str = "# X\n") -> str:
    return f"---\nbase_model: {name}\n---\n{body}"


def lora(name: str) -> dict[str, object]:
    return {"base_model_name_or_path": name, "peft_type": "LORA", "r": 16}


def test_metadata_against_the_adapter_and_against_the_text() -> None:
    found = findings(base("meta-llama/Llama-2-7b-hf"), adapter=lora(MISTRAL))["TH101"]
    assert found.severity == "error" and {entry.kind for entry in found.evidence} == {"card metadata", "adapter_config.json"}
    assert found.message == f"The card's metadata name meta-llama/Llama-2-7b-hf as the base model, adapter_config.json {MISTRAL}."
    assert "TH101" in findings(base(MISTRAL, "# X\n\nThis model is a fine-tuned version of meta-llama/Llama-2-13b-hf.\n"))
    assert "TH101" in findings("# X\n\nFine-tuned from Llama 3.1.\n", adapter=lora("unsloth/llama-3-8b-bnb-4bit"))
    assert "TH101" in findings(base("Qwen/Qwen2.5-7B"), parents=(("finetune", "Qwen/Qwen2.5-0.5B"),))


@pytest.mark.parametrize(
    ("metadata", "text", "adapter"),
    [
        (MISTRAL, "A fine-tuned version of Mistral 7B.", "unsloth/Mistral-7b-v0.1-bnb-4bit"),
        ("NousResearch/Llama-2-7b-hf", "Based on Llama 2.", "meta-llama/Llama-2-7b-hf"),
        ("meta-llama/Llama-3.1-8B", "Based on Llama 3 8B.", "unsloth/Meta-Llama-3.1-8B"),
        ("teknium/OpenHermes-2.5-Mistral-7B", "Fine-tuned from Mistral-7B-v0.1.", ""),
        ("google/flan-t5-base", "Based on T5.", ""),
        ("me/my-own-merge-7b", "Based on Mistral 7B.", ""),
        ("distilbert-base-uncased", "Fine-tuned from BERT.", ""),
        ("meta-llama/Llama-2-7b-chat-hf", "Based on Llama-2-7b.", ""),
        (MISTRAL, "It does better than Llama-2-13b-chat and Falcon-40B.", ""),
    ],
)
def test_names_of_one_model_and_its_forebears_are_no_contradiction(metadata: str, text: str, adapter: str) -> None:
    assert "TH101" not in findings(base(metadata, f"# X\n\n{text}\n"), adapter=lora(adapter) if adapter else {})


def test_the_architecture() -> None:
    found = findings(base("meta-llama/Meta-Llama-3-8B"), config={"model_type": "mistral"})["TH102"]
    assert found.severity == "error" and found.evidence[1].quote == "model_type: mistral"
    for name, written in (
        (MISTRAL, "mistral"),
        ("meta-llama/Llama-2-7b-hf", "llama"),
        ("google/gemma-3-4b-it", "gemma3"),
        ("HuggingFaceH4/zephyr-7b-beta", "mistral"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen2"),
        ("FacebookAI/xlm-roberta-base", "xlm-roberta"),
        ("google-bert/bert-base-cased", "bert"),
        ("openai-community/gpt2", "gpt2"),
        ("microsoft/phi-2", "phi"),
        ("me/unheard-of", "llama"),
        ("google/flan-t5-small", "t5"),
        ("facebook/opt-125m", "opt"),
        ("HuggingFaceTB/SmolLM2-135M", "llama"),
        ("EleutherAI/pythia-70m", "gpt_neox"),
        ("microsoft/Phi-3-mini-4k-instruct", "phi3"),
    ):
        assert "TH102" not in findings(base(name), config={"model_type": written}), name


@pytest.mark.parametrize(
    "name",
    [
        "HuggingFaceH4/zephyr-7b-beta",
        "meta-llama/Llama-3.2-1B-Instruct",
        "google/gemma-2-2b-it",
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        "alignment-handbook/zephyr-7b-sft-full",
    ],
)
def test_a_base_that_was_tuned_before_is_said(name: str) -> None:
    assert findings(base(name))["TH103"].severity == "note"
    assert "TH103" not in findings(base(name, "# X\n\nGGUF quants of it.\n"), name="me/x-GGUF")


def test_a_base_that_the_card_calls_a_fine_tune() -> None:
    found = findings("# X\n\nA LoRA of [Foo-7B](https://huggingface.co/org/foo-7b), which is itself a fine-tuned version of Falcon-7B.\n")["TH103"]
    assert "Falcon-7B" in found.message and len(found.evidence) == 2
    assert "TH103" not in findings(base(MISTRAL))


@pytest.mark.parametrize(
    ("name", "licence", "clash"),
    [
        ("meta-llama/Llama-2-7b-hf", "apache-2.0", True),
        ("unsloth/llama-3-8b-bnb-4bit", "mit", True),
        ("google/gemma-2b", "apache-2.0", True),
        ("CohereForAI/c4ai-command-r-v01", "mit", True),
        ("Qwen/Qwen2.5-3B-Instruct", "apache-2.0", True),
        ("meta-llama/Llama-3.1-8B", "llama3", True),
        ("lmsys/vicuna-7b-v1.5", "apache-2.0", True),
        ("Sao10K/L3-8B-Stheno-v3.2", "mit", True),
        ("meta-llama/Llama-2-7b-hf", "llama2", False),
        ("meta-llama/Llama-3.1-8B", "llama3.1", False),
        (MISTRAL, "apache-2.0", False),
        ("Qwen/Qwen2.5-7B", "apache-2.0", False),
        (MISTRAL, "cc-by-nc-4.0", False),
        ("meta-llama/Llama-2-7b-hf", "cc-by-nc-4.0", False),
        ("meta-llama/Llama-2-7b-hf", "other", False),
        ("google/gemma-2b", "gemma", False),
        ("facebook/nllb-200-distilled-600M", "cc-by-nc-4.0", False),
        ("google/flan-t5-base", "apache-2.0", False),
        ("bert-base-uncased", "mit", False),
        ("HuggingFaceH4/zephyr-7b-beta", "mit", False),
        ("openlm-research/open_llama_7b_v2", "apache-2.0", False),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "apache-2.0", False),
        ("bigcode/starcoder2-3b", "bigcode-openrail-m", False),
    ],
)
def test_the_licence_of_the_base(name: str, licence: str, clash: bool) -> None:
    assert ("TH104" in findings(base(name), licence=licence)) == clash


def test_the_licence_of_the_data() -> None:
    assert findings(licence="apache-2.0", data=("tatsu-lab/alpaca",))["TH105"].severity == "warning"
    assert findings(licence="mit", data=("anon8231489123/ShareGPT_Vicuna_unfiltered",))["TH105"].severity == "note"
    for licence, name in (
        ("cc-by-nc-4.0", "tatsu-lab/alpaca"),
        ("apache-2.0", "databricks/databricks-dolly-15k"),
        ("mit", "stanfordnlp/imdb"),
        ("apache-2.0", "HuggingFaceH4/no_robots"),
        ("apache-2.0", "OpenAssistant/oasst1"),
    ):
        assert "TH105" not in findings(licence=licence, data=(name,)), name


def test_the_size_in_the_name() -> None:
    found = findings(name="me/Tiny-7B", tensors={"BF16": 1_100_048_384})["TH106"]
    assert found.message == "The name says 7B parameters, and there are 1.10B."
    assert "TH106" in findings(
        name="me/thing-13b",
        config={
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": 2048,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "intermediate_size": 5632,
            "vocab_size": 32000,
        },
    )
    for name, tensors in (
        ("me/Llama-3-8B", {"BF16": 8_030_261_248}),
        ("me/Mixtral-8x7B", {"BF16": 46_702_792_704}),
        ("me/thing-7B-GPTQ", {"I32": 900_000_000, "F16": 200_000_000}),
        ("me/gpt", {"F32": 5}),
        ("me/gemma-7b", {"BF16": 8_537_680_896}),
        ("me/Qwen3-30B-A3B", {"BF16": 30_532_122_624}),
        ("me/opt-125m", {"F32": 125_239_296}),
    ):
        assert "TH106" not in findings(name=name, tensors=tensors), name


def test_a_lora_setting() -> None:
    rank = {"lora_r": Answer((Candidate("8", 0.9, (Evidence("card text", "r = 8", "README.md", 5),)),))}
    assert "8" in findings(adapter=lora(MISTRAL), fields={"hyperparameters": rank})["TH107"].message
    assert "TH107" not in findings(adapter=lora(MISTRAL) | {"r": 8}, fields={"hyperparameters": rank})


def test_the_pipeline_tag() -> None:
    text = "---\npipeline_tag: text-classification\n---\n# X\n"
    assert "TH108" in findings(text, config={"architectures": ["LlamaForCausalLM"]})
    chat = {"task": Answer((Candidate("chat", 0.8, (Evidence("card text", "A chat model.", "README.md", 5),)),))}
    assert "TH108" in findings(text, fields=chat)
    assert "TH108" not in findings(text, config={"architectures": ["BertForSequenceClassification"]})
    assert "TH108" not in findings(text.replace("text-classification", "text-generation"), config={"architectures": ["LlamaForCausalLM"]}, fields=chat)


def test_a_place_on_a_disk() -> None:
    found = findings(base("./outputs/checkpoint-500"))["TH109"]
    assert found.severity == "warning" and found.evidence[0].line == 2
    assert findings(adapter=lora("/workspace/llama-3-8b"))["TH109"].severity == "note"


def test_the_card_of_another_model() -> None:
    assert "TH110" in findings(base(MISTRAL, "# Mistral-7B-v0.1\n\nA large language model.\n"), name="me/poems-7b")
    assert "TH110" not in findings(base(MISTRAL, "# Poems 7B\n"), name="me/poems-7b")


def test_the_relation_and_the_files() -> None:
    text = f"---\nbase_model: {MISTRAL}\nbase_model_relation: finetune\n---\n# X\n"
    assert "TH111" in findings(text, adapter=lora(MISTRAL), files={"adapter_model.safetensors": 1})
    assert "TH111" not in findings(text, adapter=lora(MISTRAL), files={"adapter_model.safetensors": 1, "model.safetensors": 9})


def test_two_licences() -> None:
    licences = Answer(
        (
            Candidate("mit", 0.9, (Evidence("card metadata", "license: mit", "README.md", 2),)),
            Candidate("apache-2.0", 0.8, (Evidence("card text", "License: Apache 2.0", "README.md", 9),)),
        )
    )
    record = ModelRecord("me/x", read_card("# X\n"))
    assert [one.code for one in cross_check(record, ModelSheet(record, licence=licences))] == ["TH112"]


@pytest.mark.parametrize(
    "broken",
    [
        {"config": {"model_type": 7, "architectures": "x", "hidden_size": "a", "num_hidden_layers": -1}},
        {"adapter": {"r": "x", "peft_type": [], "base_model_name_or_path": 5}},
        {"tensors": {}, "parameters": 0},
        {"config": {"hidden_size": 10**9, "num_hidden_layers": 10**9, "model_type": "llama", "num_attention_heads": 0}},
    ],
)
def test_nonsense_is_survived(broken: dict[str, object]) -> None:
    findings(base("a/b-7b"), name="me/x-7b", **broken)


def test_the_gravest_come_first() -> None:
    record = ModelRecord("me/x", read_card(base("HuggingFaceH4/zephyr-7b-beta")), adapter=lora("Qwen/Qwen2.5-7B-Instruct"))
    sheet = ModelSheet(record, kind=read_kind(record), base_model=read_base_model(record, read_kind(record), None))
    assert [one.severity for one in cross_check(record, sheet)] == ["error", "note"]
