"""The base model is the one that the makers name as such, wherever they say it and however; and no other model that a card mentions."""

from __future__ import annotations

import time

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


@pytest.mark.parametrize(("lines", "expected"), [
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
    (["base_model: ./outputs/checkpoint-500"], []), (["base_model: /home/me/run3"], []), (["base_model: C:\\models\\first"], []), (["base_model: /workspace/llama-3-8b/"], ["llama-3-8b"]),
    (["base_model: ''"], []), (["base_model: null"], []), (["base_model: None"], []), (["base_model: 7"], []), (["base_model: true"], []),
    (["base_model: [[], {}, 3, null]"], []), (["base_model: '[More Information Needed]'"], []), (["base_model: '{{ base_model }}'"], []),
    (["base_model: PLACEHOLDER_BASE_MODEL"], []), (["base_model: your-username/your-base-model"], []),
    (["base_model: https://huggingface.co/datasets/a/b"], []), (["base_model: 'google/flan-t5-base, google/flan-t5-large'"], ["google/flan-t5-base", "google/flan-t5-large"]),
])
def test_metadata_in_every_form(lines: list[str], expected: list[str]) -> None:
    assert list(base_of(front(*lines)).values) == expected


@pytest.mark.parametrize(("sentence", "expected"), [
    ("This model is a fine-tuned version of [distilbert-base-uncased](https://huggingface.co/distilbert-base-uncased) on the None dataset.", "distilbert-base-uncased"),
    ("This model is a fine-tuned version of [google/t5](https://huggingface.co/google/flan-t5-base) on [x/y](https://huggingface.co/datasets/x/y).", "google/flan-t5-base"),
    ("This model is a fine-tuned version of [./out/run3](https://huggingface.co/./out/run3) on an unknown dataset.", None),
    ("- **Finetuned from model :** unsloth/llama-3-8b-bnb-4bit", "unsloth/llama-3-8b-bnb-4bit"),
    ("- **Finetuned from model [optional]:** [More Information Needed]", None),
    ("- **Finetuned from model [optional]:** google/gemma-2b", "google/gemma-2b"),
    ("**Base model:** Mistral 7B", "Mistral 7B"), ("Base Model: `bert-base-chinese`", "bert-base-chinese"), ("* Base: **Qwen2.5-1.5B-Instruct**", "Qwen2.5-1.5B-Instruct"),
    ("| Base Model | meta-llama/Llama-3.1-8B |\n|---|---|\n| Epochs | 3 |", "meta-llama/Llama-3.1-8B"),
    ("| Model | Base model | Size |\n|---|---|---|\n| my-model | EleutherAI/pythia-1.4b | 1.4B |", "EleutherAI/pythia-1.4b"),
    ("## Base model\n\n[GPT-J 6B](https://huggingface.co/EleutherAI/gpt-j-6b)", "EleutherAI/gpt-j-6b"),
    ("It was fine-tuned from Llama 2 13B on our tickets.", "Llama 2 13B"), ("A finetune of Phi-2 for poems.", "Phi-2"), ("QLoRA finetune of Yi-34B-200K.", "Yi-34B-200K"),
    ("This is a DPO fine-tuned version of teknium/OpenHermes-2.5-Mistral-7B.", "teknium/OpenHermes-2.5-Mistral-7B"),
    ("We fine-tuned Falcon-7B on the Dolly dataset.", "Falcon-7B"), ("I fine-tuned the `google/mt5-small` model on XSum.", "google/mt5-small"),
    ("The model was obtained by fine-tuning BioBERT on NCBI disease.", "BioBERT"), ("RoBERTa-large fine-tuned on MNLI.", "RoBERTa-large"),
    ("# T5-base fine-tuned on SQuAD for question generation", "T5-base"), ("Trained on top of GPT-NeoX-20B with LoRA.", "GPT-NeoX-20B"),
    ("This model is finetuned on `Helsinki-NLP/opus-mt-en-inc` for Bangla.", "Helsinki-NLP/opus-mt-en-inc"), ("Fine-tuned on the Alpaca dataset.", None),
    ("This model was fine-tuned using the Salesforce/codet5-large model.", "Salesforce/codet5-large"), ("Based on Meta Llama 3 8B Instruct, with more humour.", "Meta Llama 3 8B Instruct"),
    ("The encoder is initialized from xlm-roberta-base.", "xlm-roberta-base"), ("Continued pre-training of Llama-2-7b on Japanese text.", "Llama-2-7b"),
    ("We use [BERTimbau](https://huggingface.co/neuralmind/bert-base-portuguese-cased) as the base model.", "neuralmind/bert-base-portuguese-cased"),
    ("Built on top of StarCoder2-7B.", "StarCoder2-7B"), ("The base model is `HuggingFaceTB/SmolLM2-135M`.", "HuggingFaceTB/SmolLM2-135M"), ("Uses Gemma-2-9b as its backbone.", "Gemma-2-9b"),
    ("A LoRA adapter for [Llama-2-7b](https://huggingface.co/meta-llama/Llama-2-7b-hf).", "meta-llama/Llama-2-7b-hf"), ("Load the adapter on top of `TinyLlama/TinyLlama-1.1B-Chat-v1.0`.", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
    ("A LoRA fine-tuned adapter for **translation**, based\non `facebook/nllb-200-distilled-600M`.", "facebook/nllb-200-distilled-600M"), ("Base Model [X](https://huggingface.co/a/x-7b)", "a/x-7b"),
    ("A supervised finetuned (SFT) version of LLaMA 2 developed by us.\n\n- **Base Architecture:** LLaMA 2 7B flavour", "LLaMA 2 7B"), ("h2oGPT clone of [Llama 2](https://huggingface.co/meta-llama/Llama-2-70b-chat-hf).", "meta-llama/Llama-2-70b-chat-hf"),
    ("A chat model, instruction-tuned from [Pothana](https://huggingface.co/dvitvaai/pothana-base-300M).", "dvitvaai/pothana-base-300M"), ("`distilroberta-base` fine-tuned (all weights) to route concerns.", "distilroberta-base"),
    ("It uses [mpnet](https://huggingface.co/sentence-transformers/paraphrase-mpnet-base-v2) as the Sentence Transformer embedding model.", "sentence-transformers/paraphrase-mpnet-base-v2"),
    ("These are LoRA adaption weights for runwayml/stable-diffusion-v1-5.", "runwayml/stable-diffusion-v1-5"), ("We used the pretrained [`nreimers/MiniLM-L6-H384-uncased`](https://huggingface.co/nreimers/MiniLM-L6-H384-uncased) model and fine-tuned it on 1B pairs.", "nreimers/MiniLM-L6-H384-uncased"),
    ("This is the [roberta-base](https://huggingface.co/roberta-base) model, fine-tuned using the SQuAD2.0 dataset.", "roberta-base"), ("# BART (large-sized model), fine-tuned on CNN Daily Mail", "BART"),
    ("This is a roBERTa-base model trained on ~58M tweets and finetuned for sentiment analysis.", "roBERTa-base"), ("bert-base-NER is a fine-tuned BERT model. This model is a *bert-base-cased* model that was fine-tuned on CoNLL-2003.", "bert-base-cased"),
    ("X is built by further training the BERT language model in the finance domain.", "BERT"), ("A fine-tuned checkpoint of [DistilRoBERTa-base](https://huggingface.co/distilroberta-base).", "distilroberta-base"),
    ("[Google's T5](https://ai.googleblog.com/t5) fine-tuned on SQuAD.", "T5"), ("X-Instruct is a 7B causal decoder-only model built by us based on Falcon-7B and finetuned on chats.", "Falcon-7B"), ("It was built by finetuning MPT-7B on ShareGPT.", "MPT-7B"),
    ("- **Finetuned from model:** [LLaMA](https://arxiv.org/abs/2302.13971).", "LLaMA"), ("Fine-tuned [facebook/wav2vec2-large-xlsr-53](https://huggingface.co/facebook/wav2vec2-large-xlsr-53) on Dutch using Common Voice.", "facebook/wav2vec2-large-xlsr-53"),
    ("These models are based on pretrained T5 (Raffel et al., 2020) and fine-tuned with instructions.", "T5"), ("Wizard Mega is a Llama 13B model fine-tuned on the ShareGPT dataset.", "Llama 13B"),
    ("模型基于 bert-base-chinese 微调。", "bert-base-chinese"), ("基于Qwen-7B微调的医疗模型", "Qwen-7B"), ("基座模型：[Baichuan2-13B-Base](https://huggingface.co/baichuan-inc/Baichuan2-13B-Base)", "baichuan-inc/Baichuan2-13B-Base"),
    ("本模型在 ChatGLM2-6B 的基础上进行指令微调。", "ChatGLM2-6B"), ("以LLaMA-2-7B为底座训练。", "LLaMA-2-7B"),
    ("ベースモデル：[rinna/youri-7b](https://huggingface.co/rinna/youri-7b)", "rinna/youri-7b"), ("[cyberagent/open-calm-7b](https://huggingface.co/cyberagent/open-calm-7b)をベースに、指示データでファインチューニングしました。", "cyberagent/open-calm-7b"),
    ("meta-llama/Llama-2-7b-chat-hfに対して日本語の追加事前学習を行ったモデルです。", "meta-llama/Llama-2-7b-chat-hf"),
    ("`klue/roberta-large` 기반, 감성대화말뭉치로 파인튜닝.", "klue/roberta-large"), ("베이스 모델: beomi/llama-2-ko-7b", "beomi/llama-2-ko-7b"), ("이 모델은 EleutherAI/polyglot-ko-5.8b를 파인튜닝한 모델입니다.", "EleutherAI/polyglot-ko-5.8b"),
    ("Das Modell basiert auf LeoLM/leo-mistral-hessianai-7b.", "LeoLM/leo-mistral-hessianai-7b"), ("Eine feinabgestimmte Version von `deepset/gbert-base`.", "deepset/gbert-base"),
    ("Ce modèle est basé sur camembert-base.", "camembert-base"), ("- **Modèle de base** : `camembert-base`", "camembert-base"), ("Une version affinée de Mistral-7B-v0.1.", "Mistral-7B-v0.1"),
    ("Modelo basado en dccuchile/bert-base-spanish-wwm-cased.", "dccuchile/bert-base-spanish-wwm-cased"), ("Modelo base: PlanTL-GOB-ES/roberta-base-bne", "PlanTL-GOB-ES/roberta-base-bne"),
    ("Este modelo é uma versão ajustada do neuralmind/bert-base-portuguese-cased.", "neuralmind/bert-base-portuguese-cased"), ("Modello basato su Minerva-3B-base-v1.0.", "Minerva-3B-base-v1.0"),
    ("Модель основана на ai-forever/rugpt3large_based_on_gpt2.", "ai-forever/rugpt3large_based_on_gpt2"), ("Базовая модель: Vikhrmodels/Vikhr-7B-instruct_0.4", "Vikhrmodels/Vikhr-7B-instruct_0.4"), ("Дообученная версия cointegrated/rubert-tiny2.", "cointegrated/rubert-tiny2"),
    ("dbmdz/bert-base-turkish-cased modeli temel alınarak eğitildi.", "dbmdz/bert-base-turkish-cased"), ("Mô hình được tinh chỉnh từ vinai/phobert-base.", "vinai/phobert-base"), ("Model ini berbasis indobenchmark/indobert-base-p1.", "indobenchmark/indobert-base-p1"),
])
def test_a_sentence(sentence: str, expected: str | None) -> None:
    assert base_of(f"# My model\n\n{sentence}\n").value == expected


@pytest.mark.parametrize("text", [
    "It is better than Llama-2-7b-chat and Mistral-7B-Instruct-v0.2.", "License: Llama 2 Community License.", "Built with Llama. Llama 3 is licensed under the Meta Llama 3 Community License.",
    "Trained with LLaMA-Factory and DeepSpeed.", "Data was generated with GPT-4.", "## Related models\n\n- [other](https://huggingface.co/a/other-7b)\n- [mistralai/Mistral-7B-v0.1](https://huggingface.co/mistralai/Mistral-7B-v0.1)",
    "```python\nfrom transformers import AutoModel\nm = AutoModel.from_pretrained('someone/bert-thing')\n```", "| Model | Score |\n|---|---|\n| Llama-2-7b | 5 |\n| my-model | 6 |",
    "The tokenizer is based on Llama-2.", "Pretrained from scratch on 1T tokens, with the architecture of Llama.", "My-model is a decoder-only transformer, trained on 8 A100 for three days.",
    "The answers of the training data come from Vicuna.", "Evaluated with BERTScore and judged by Prometheus.", "Fine-tuned with LoRA using Unsloth.", "[More Information Needed]",
    "This model was converted by llama.cpp.", "You can fine-tune this model on your data.", "Follow me on https://huggingface.co/someone or see [docs](https://huggingface.co/docs/transformers).",
    "@article{touvron2023llama, title={Llama 2: Open Foundation and Fine-Tuned Chat Models}}", "This model uses the Alpaca prompt format.",
])
def test_other_models_are_no_base_models(text: str) -> None:
    assert base_of(f"# My model\n\n{text}\n").values == ()


def test_the_own_name_is_never_the_base_model() -> None:
    text = "# Zephyr 7B Gemma\n\nZephyr 7B Gemma fine-tuned on deita. zephyr-7b-gemma is a fine-tuned version of google/gemma-7b.\n"
    assert base_of(text, name="HuggingFaceH4/zephyr-7b-gemma", is_hub_id=True).values == ("google/gemma-7b",)
    assert base_of(front("base_model: me/thing"), name="me/thing", is_hub_id=True).values == ()


def test_the_direct_parent_is_the_answer_and_the_root_is_said() -> None:
    answer = base_of("# Sea shanties\n\nA LoRA of [OpenHermes](https://huggingface.co/teknium/OpenHermes-2.5-Mistral-7B), which is itself a fine-tuned version of "
                     "[Mistral](https://huggingface.co/mistralai/Mistral-7B-v0.1).\n")
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
    answer = base_of(front("base_model: mistralai/Mistral-7B-v0.1") + "This is a fine-tuned version of Mistral 7B.\n",
                     adapter={"base_model_name_or_path": "unsloth/mistral-7b-v0.1-bnb-4bit", "peft_type": "LORA"})
    assert [one.value for one in answer.candidates] == ["mistralai/Mistral-7B-v0.1"]
    assert {entry.kind for entry in answer.candidates[0].evidence} == {"card metadata", "card text", "adapter_config.json"}


def test_every_source_alone() -> None:
    assert base_of("# X\n", adapter={"base_model_name_or_path": "a/b-7b", "peft_type": "LORA"}).values == ("a/b-7b",)
    assert base_of("# X\n", adapter={"base_model_name_or_path": "/mnt/first", "peft_type": "LORA"}).values == ()
    assert base_of("# X\n", config={"_name_or_path": "a/b-7b"}).values == ("a/b-7b",)
    assert base_of("# X\n", tags=("base_model:finetune:a/b-7b", "base_model:a/b-7b")).values == ("a/b-7b",)
    assert base_of("# X\n", parents=(("adapter", "a/b-7b"),)).values == ("a/b-7b",)
    assert base_of("# X\n\n<details><summary>See axolotl config</summary>\n\n```yaml\nbase_model: a/b-7b\nadapter: qlora\nmicro_batch_size: 2\n```\n</details>\n").values == ("a/b-7b",)
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
    assert set(base_of("# X\n\nX is a merge of the following models using mergekit:\n* [OpenPipe/mistral-ft-optimized-1218](https://huggingface.co/OpenPipe/mistral-ft-optimized-1218)\n"
                       "* [mlabonne/NeuralHermes-2.5-Mistral-7B](https://huggingface.co/mlabonne/NeuralHermes-2.5-Mistral-7B)\n").values) == both
    assert set(base_of("# X\n\nThis is a SLERP merge of OpenPipe/mistral-ft-optimized-1218 and mlabonne/NeuralHermes-2.5-Mistral-7B.\n").values) == both
    local = RECIPE.replace("OpenPipe/mistral-ft-optimized-1218", "./merges/first")
    assert base_of(f"# X\n\n{local}").values == ("mlabonne/NeuralHermes-2.5-Mistral-7B",)


@pytest.mark.parametrize("text", [
    "This repo contains GGUF format model files for [Teknium's OpenHermes 2.5](https://huggingface.co/teknium/OpenHermes-2.5-Mistral-7B).",
    "Original model: [OpenHermes](https://huggingface.co/teknium/OpenHermes-2.5-Mistral-7B)", "Original model: https://huggingface.co/teknium/OpenHermes-2.5-Mistral-7B",
    "static quants of https://huggingface.co/teknium/OpenHermes-2.5-Mistral-7B", "Quantized version of teknium/OpenHermes-2.5-Mistral-7B",
    "This model was converted to GGUF format from [`teknium/OpenHermes-2.5-Mistral-7B`](https://huggingface.co/teknium/OpenHermes-2.5-Mistral-7B) using llama.cpp.",
    "Exllama v2 quantizations of [OpenHermes](https://huggingface.co/teknium/OpenHermes-2.5-Mistral-7B)", "AWQ (4 bit, group size 128) of `teknium/OpenHermes-2.5-Mistral-7B`.",
    "GGUF of teknium/OpenHermes-2.5-Mistral-7B\n\n# Original model card: OpenHermes\n\nOpenHermes is a fine-tuned version of mistralai/Mistral-7B-v0.1.\n\n- **Base model:** mistralai/Mistral-7B-v0.1",
])
def test_what_was_packed(text: str) -> None:
    assert base_of(f"# OpenHermes 2.5 - GGUF\n\n{text}\n", name="OpenHermes-2.5-Mistral-7B-GGUF").values == ("teknium/OpenHermes-2.5-Mistral-7B",)


def test_a_base_model_has_none() -> None:
    assert base_of("# Ocean 7B\n\nOcean 7B is a base model pretrained from scratch on 1.2T tokens. It uses the Llama architecture.\n").values == ()


@pytest.mark.parametrize("text", ["fine-tuned version of " * 4000, "[" * 60_000, "base model: " * 8000, "[a](" * 20_000, "a/" * 40_000, "fine-tuned " * 9000, "Llama-" * 15_000, "Mistral 7B " * 8000,
                                  "based on the " * 7000, "GGUF " * 18_000, "- base_model: a/b\n" * 6000, "基于" * 40_000, "x" * 100_000, "`" * 100_000, "* _" * 30_000, "merge of a/b-7b, " * 5000,
                                  "**Base model**: [x]" * 5000, "<a href=" * 12_000, "which is a fine-tuned version of Llama 2. " * 2500, "quantized of for from " * 4500, "| Base model | x |\n" * 5000])
def test_no_card_takes_long(text: str) -> None:
    record = ModelRecord("x", read_card(f"# X\n\n{text}"))
    len(record.card.blocks)
    begun = time.perf_counter()
    read_base_model(record, read_kind(record), None)
    assert time.perf_counter() - begun < 3
