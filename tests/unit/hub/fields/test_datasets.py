"""Which data a model was trained on: what each way of saying it gives, and what is not said of this model's training."""

from __future__ import annotations

import time

import pytest

from tunelab.hub.card import read_card
from tunelab.hub.evidence import NOT_STATED, Answer, Candidate, Evidence
from tunelab.hub.fields.datasets import read_datasets
from tunelab.hub.fields.training import read_axolotl
from tunelab.hub.record import ModelRecord

_QUANTIZED = Answer((Candidate("quantized", 0.9, (Evidence("tag", "gguf"),)),))
_BASE = Answer((Candidate("base", 0.9, (Evidence("tag", "base"),)),))


def _read(text: str, kind: Answer = NOT_STATED, **record: object) -> Answer:
    made = ModelRecord("a/model", read_card(text), **record)  # type: ignore[arg-type]
    return read_datasets(made, read_axolotl(made), kind)


def _names(text: str, kind: Answer = NOT_STATED, **record: object) -> set[str]:
    return set(_read(text, kind, **record).values)


@pytest.mark.parametrize(("front", "names"), [
    ("datasets: imdb", {"imdb"}),
    ("datasets:\n- imdb\n- tatsu-lab/alpaca", {"imdb", "tatsu-lab/alpaca"}),
    ("datasets: [squad, https://huggingface.co/datasets/rajpurkar/squad_v2]", {"squad", "rajpurkar/squad_v2"}),
    ("datasets: imdb, yelp_polarity", {"imdb", "yelp_polarity"}),
    ("datasets:\n- name: glue\n  type: nyu-mll/glue\n- dataset: c4", {"nyu-mll/glue", "c4"}),
    ("datasets:\n- [a/b, c/d]", {"a/b", "c/d"}),
    ("datasets:\n- 7\n- true\n- {}\n- []\n- null\n- a/b", {"a/b"}),
    ("datasets:\n- custom\n- None\n- unknown\n- '[More Information Needed]'\n- generator\n- json\n- your_dataset\n- '<dataset>'", set()),
    ("datasets: {a: b}", {"a"}),
    ("datasets: ''", set()),
    ("tags: ['dataset:samsum', summarization]", {"samsum"}),
    ("datasets: ./data/train.jsonl", {"./data/train.jsonl"}),
])
def test_metadata_of_any_shape(front: str, names: set[str]) -> None:
    assert _names(f"---\n{front}\n---\n# A model\n") == names


def test_the_hubs_tags_and_the_metadata_are_two_witnesses() -> None:
    (one,) = _read("---\ndatasets: [imdb]\n---\n", tags=("dataset:imdb", "en")).candidates
    assert one.confidence > 0.95 and {entry.kind for entry in one.evidence} == {"card metadata", "tag"}


@pytest.mark.parametrize(("text", "names"), [
    ("This model is a fine-tuned version of [t5-small](https://huggingface.co/t5-small) on the xsum dataset.", {"xsum"}),
    ("This model is a fine-tuned version of [bert](https://huggingface.co/bert) on the emotion dataset.", {"emotion"}),
    ("This model is a fine-tuned version of [x](https://huggingface.co/a/x) on the samsum and the xsum datasets.", {"samsum", "xsum"}),
    ("This model is a fine-tuned version of [w](https://huggingface.co/f/w) on the MOZILLA-FOUNDATION/COMMON_VOICE_7_0 - SV-SE dataset.", {"mozilla-foundation/common_voice_7_0"}),
    ("This model is a fine-tuned version of [gpt2](https://huggingface.co/gpt2) on the None dataset.", set()),
    ("This model is a fine-tuned version of [gpt2](https://huggingface.co/gpt2) on an unknown dataset.", set()),
    ("This model is a fine-tuned version of [gpt2](https://huggingface.co/gpt2) on the generator dataset.", set()),
    ("This model was trained from scratch on the imagefolder dataset.", set()),
    ("It has been trained using [TRL](https://github.com/huggingface/trl) on the [trl-lib/Capybara](https://huggingface.co/datasets/trl-lib/Capybara) dataset.", {"trl-lib/Capybara"}),
    ("A LoRA fine-tuned on [Dolly](https://huggingface.co/datasets/databricks/databricks-dolly-15k).", {"databricks/databricks-dolly-15k"}),
    ("The model was fine-tuned on the IMDB movie reviews dataset.", {"IMDB"}),
    ("We trained it on OpenHermes-2.5 and SlimOrca for two epochs.", {"OpenHermes-2.5", "SlimOrca"}),
    ("Finetuned on teknium/OpenHermes-2.5 for 3 epochs on 8 A100 GPUs.", {"teknium/OpenHermes-2.5"}),
    ("It was trained on the `knkarthick/dialogsum` dataset using a single T4.", {"knkarthick/dialogsum"}),
    ("**Dataset:** samsum", {"samsum"}),
    ("- **Dataset used:** [squad_v2](https://huggingface.co/datasets/squad_v2)", {"squad_v2"}),
    ("- **Training data:** OpenAssistant, ShareGPT (filtered) and Dolly", {"OpenAssistant", "ShareGPT", "Dolly"}),
    ("Trained on: tatsu-lab/alpaca", {"tatsu-lab/alpaca"}),
    ("- Datasets:\n  - a-b/one\n  - c-d/two\n- Epochs: 3", {"a-b/one", "c-d/two"}),
    ("| Setting | Value |\n|---|---|\n| Dataset | yahma/alpaca-cleaned |\n| Epochs | 3 |", {"yahma/alpaca-cleaned"}),
    ("## Training data\n\n| Dataset | Rows |\n|---|---|\n| [a/b-c](https://huggingface.co/datasets/a/b-c) | 10 |\n| OpenOrca | 20 |", {"a/b-c", "OpenOrca"}),
    ("## Datasets\n\n- [a/b-c](https://huggingface.co/datasets/a/b-c): chats\n- **MetaMathQA**: sums", {"a/b-c", "MetaMathQA"}),
    ("It was trained on the following datasets:\n\n* Pure-Dove\n* No Robots\n", {"Pure-Dove", "No Robots"}),
    ("Das Modell wurde auf dem GermanQuAD-Datensatz feinabgestimmt.", {"GermanQuAD"}),
    ("Le modèle a été affiné sur le jeu de données [allocine](https://huggingface.co/datasets/tblard/allocine).", {"tblard/allocine"}),
    ("El modelo fue entrenado con el dataset `somosnlp/recetas`.", {"somosnlp/recetas"}),
    ("Модель дообучена на датасете IlyaGusev/gazeta.", {"IlyaGusev/gazeta"}),
    ("本模型在 BelleGroup/train_1M_CN 数据集上进行微调。", {"BelleGroup/train_1M_CN"}),
    ("kunishou/databricks-dolly-15k-ja データセットを使用してファインチューニングしました。", {"kunishou/databricks-dolly-15k-ja"}),
    ("heegyu/open-korean-instructions 데이터셋으로 학습했습니다.", {"heegyu/open-korean-instructions"}),
])
def test_ways_to_say_it(text: str, names: set[str]) -> None:
    assert _names(f"# A model\n\n{text}\n") == names


@pytest.mark.parametrize("text", [
    "The model was evaluated on the MMLU benchmark and the HellaSwag dataset.",
    "## Evaluation\n\nWe report accuracy on [piqa](https://huggingface.co/datasets/piqa).",
    "## Results\n\n| Dataset | F1 |\n|---|---|\n| CoNLL | 0.9 |\n| OntoNotes | 0.8 |",
    "BERT was pretrained on BookCorpus and English Wikipedia.",
    "The base model, Mistral-7B, was trained on the RefinedWeb dataset.",
    "## Training data\n\n[More Information Needed]",
    "## Training data\n\nMore information needed",
    "It was trained on Google Colab with a Tesla T4 GPU using Unsloth and Huggingface's TRL library.",
    "This model was trained 2x faster with [Unsloth](https://github.com/unslothai/unsloth).",
    "The model was trained on 8 NVIDIA A100 GPUs for 3 days using DeepSpeed ZeRO-3.",
    "It was trained on a large dataset of high-quality English conversations.",
    "Trained on synthetic data generated by GPT-4.",
    "```python\nfrom datasets import load_dataset\nload_dataset('wikitext')\n```",
    "- Datasets 2.14.5\n- Tokenizers 0.14.0",
    "It can be fine-tuned on the SQuAD dataset.",
    "The model has not been trained on the Pile dataset.",
    "### Training Hyperparameters\n\n- `dataset_batch`: None\n- overwrite_output_dir: False",
    "## Citation\n\n@article{x, title={The GLUE dataset}}",
    "See the [data-sheet](https://github.com/a/b) for the input/output dataset format.",
])
def test_what_is_not_its_training_data(text: str) -> None:
    assert _names(f"# A model\n\n{text}\n") == set()


@pytest.mark.parametrize(("front", "text", "names"), [
    ("imdb", "Fine-tuned on [IMDB](https://huggingface.co/datasets/stanfordnlp/imdb).", {"stanfordnlp/imdb"}),
    ("tatsu-lab/alpaca", "It was fine-tuned on the Alpaca dataset.", {"tatsu-lab/alpaca"}),
    ("rajpurkar/squad", "It was fine-tuned on the SQuAD v1.1 dataset.", {"rajpurkar/squad"}),
    ("databricks/databricks-dolly-15k", "**Dataset:** Databricks Dolly-15k", {"databricks/databricks-dolly-15k"}),
    ("a/one", "Data: [two](https://huggingface.co/datasets/b/two)", {"a/one", "b/two"}),
])
def test_names_of_one_set_are_one(front: str, text: str, names: set[str]) -> None:
    assert _names(f"---\ndatasets: [{front}]\n---\n# A model\n\n{text}\n") == names


def test_a_copy_repeats_what_is_said_of_the_original() -> None:
    text = "# A copy\n\n## Original model card\n\nIt was fine-tuned on the Alpaca dataset.\n"
    assert _names(text, _QUANTIZED) == set()
    assert _names(f"---\ndatasets: [tatsu-lab/alpaca]\n---\n{text}", _QUANTIZED) == {"tatsu-lab/alpaca"}


def test_what_a_base_model_was_pretrained_on_is_its_data() -> None:
    assert _names("# Base\n\nThe model was pretrained on the FineWeb dataset.\n", _BASE) == {"FineWeb"}


def test_an_axolotl_config_names_them() -> None:
    text = "# out\n\n```yaml\nbase_model: gpt2\ndatasets:\n  - path: a/b\n    type: alpaca\n  - path: ./rows.jsonl\n    type: chat_template\nadapter: lora\nmicro_batch_size: 1\n```\n"
    assert _names(text) == {"a/b", "./rows.jsonl"}


def test_each_has_its_place() -> None:
    text = "---\ndatasets:\n- imdb\n---\n# A model\n\nIt was trained\non the [imdb](https://huggingface.co/datasets/imdb) set.\n"
    (one,) = _read(text).stated
    assert [(entry.kind, entry.line) for entry in one.evidence] == [("card metadata", 3), ("card text", 8)]


@pytest.mark.parametrize("piece", ["trained on ", "dataset ", "the X dataset and ", "[a](", "- **Dataset:** ", "on the on the ", "A B C D E F G H ", "data: a, b, ", "数据集", "(((((", "`` `", "fine-tuned version of x on ", "\u3000x-", "x/y "])
def test_nasty_text_is_read_in_time(piece: str) -> None:
    begun = time.perf_counter()
    _read("# T\n\n" + piece * (100_000 // len(piece)))
    _read("## Training data\n\n" + ("- " + piece * 40 + "\n") * 400)
    assert time.perf_counter() - begun < 4
