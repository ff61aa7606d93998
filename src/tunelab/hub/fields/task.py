"""What it was fine-tuned for, in the vocabulary of `hub.tasks`.

Each place that speaks for a task is a witness; `evidence.ranked` joins them. Then a narrower task outweighs the broader one of which it is a
sort: "text-generation" on a model whose name says "coder" is code generation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache

from tunelab.hub.card import Card, plain_text
from tunelab.hub.evidence import NOT_STATED, Answer, Candidate, Evidence, ranked
from tunelab.hub.fields.task_text import is_plain_heading, text_candidates
from tunelab.hub.record import ModelRecord
from tunelab.hub.tasks import broader_than, tasks, tasks_of_data

_GENERAL = {"text-generation": 0.6, "text2text-generation": 0.52, "text-classification": 0.66, "feature-extraction": 0.66, "fill-mask": 0.8, "conversational": 0.82,
            "text-ranking": 0.85, "image-feature-extraction": 0.6, "any-to-any": 0.7, "token-classification": 0.88}
_SPECIFIC = 0.93
# Task names of model-index and Trainer that are not the Hub's pipeline tags.
_ALSO = {"causal-language-modeling": "text-generation", "sequence-to-sequence-language-modeling": "text-generation", "masked-language-modeling": "masked-language-model", "text-to-text-generation": "text-generation",
         "speech-recognition": "speech-recognition", "sentence-embedding": "embeddings", "semantic-similarity": "embeddings", "retrieval": "embeddings", "sts": "embeddings", "reranking": "reranking", "classification": "text-classification",
         "natural-language-inference": "text-classification", "sentiment-analysis": "sentiment", "named-entity-recognition": "named-entity-recognition", "ner": "named-entity-recognition", "summarization": "summarization", "code-generation": "code-generation"}
_WEAK_TAGS = {"code": 0.4, "alpaca": 0.5, "vicuna": 0.5, "conversational": 0.5, "text-generation": 0.5, "text2text-generation": 0.4, "rm": 0.5, "tools": 0.4, "functions": 0.4, "whisper": 0.5, "dolly": 0.45, "music": 0.3, "text-classification": 0.6,
              "feature-extraction": 0.5, "sentence-transformers": 0.55, "clip": 0.4, "nli": 0.5, "classification": 0.5, "imdb": 0.5, "sst2": 0.5, "helpful": 0.4, "multimodal": 0.4, "text-embeddings-inference": 0.3, "math": 0.5, "python-code": 0.5,
              "fill-mask": 0.6, "robotics": 0.4, "qa": 0.55, "vit": 0.4, "timm": 0.4, "diffusers-training": 0.5, "marian": 0.5, "rlhf": 0.45, "sharegpt": 0.45, "chatgpt": 0.35, "reinforcement-learning": 0.4, "not-for-all-audiences": 0.35, "instruct": 0.6, "character": 0.3}
_BASE_HINTS = frozenset({"chat", "code-generation", "math", "translation", "speech-recognition", "text-to-speech", "image-text", "text-to-image", "embeddings", "roleplay", "image-classification", "summarization"})
_SPLIT = re.compile(r"[^\w]+|_")
_CLASSES = re.compile(r"\b(?:Auto|TF|Flax|ORT|OV|Distil|Bert|Roberta|XLMRoberta|Deberta\w{0,3}|Albert|Electra|T5|MT5|Bart|MBart|Peft|Camembert|Llama|Qwen2|GPT2)\w{0,20}For\w+|\b(?:MarianMT|Pegasus|M2M100|Nllb|Whisper|SpeechT5|StableDiffusion\w*|DiffusionPipeline|"
                      r"SentenceTransformer|CrossEncoder|SetFitModel|FluxPipeline|Vits|Llava|Blip|VisionEncoderDecoder|SpanMarkerModel|GLiNER|Musicgen)\w*")
_PIPELINE = re.compile(r"pipeline\(\s*(?:task\s*=\s*)?[\"']([\w-]+)[\"']")
_CLASS_TASKS = (("ForSequenceClassification", "text-classification", 0.5), ("ForTokenClassification", "named-entity-recognition", 0.6), ("ForQuestionAnswering", "question-answering", 0.6), ("ForMaskedLM", "masked-language-model", 0.5),
                ("ForCTC", "speech-recognition", 0.6), ("ForImageClassification", "image-classification", 0.6), ("ForObjectDetection", "object-detection", 0.6), ("ForSpeechSeq2Seq", "speech-recognition", 0.6),
                ("ForSemanticSegmentation", "image-segmentation", 0.6), ("ForVision2Seq", "image-text", 0.5), ("ForImageTextToText", "image-text", 0.55), ("ForAudioClassification", "audio-classification", 0.6),
                ("ForCausalLM", "text-generation", 0.4), ("ForSeq2SeqLM", "text-generation", 0.25), ("ForConditionalGeneration", "text-generation", 0.2), ("MarianMT", "translation", 0.6), ("M2M100", "translation", 0.5),
                ("Nllb", "translation", 0.5), ("Whisper", "speech-recognition", 0.6), ("SpeechT5", "text-to-speech", 0.5), ("Vits", "text-to-speech", 0.5), ("StableDiffusion", "text-to-image", 0.6), ("DiffusionPipeline", "text-to-image", 0.55),
                ("FluxPipeline", "text-to-image", 0.6), ("SentenceTransformer", "embeddings", 0.5), ("CrossEncoder", "reranking", 0.5), ("SetFitModel", "text-classification", 0.6), ("Llava", "image-text", 0.55), ("Blip", "image-text", 0.5),
                ("VisionEncoderDecoder", "image-text", 0.5), ("SpanMarker", "named-entity-recognition", 0.6), ("GLiNER", "named-entity-recognition", 0.6), ("Musicgen", "text-to-audio", 0.6), ("ForRewardModel", "reward-model", 0.7),
                ("RewardModel", "reward-model", 0.7), ("Pegasus", "summarization", 0.4))
_TEMPLATES = ("### instruction", "[inst]", "<|im_start|>", "### human", "<|user|>", "<start_of_turn>", "### assistant", "assistant:", "<|start_header_id|>", "### response", "[|human|]", "human:", "<human>", "### user", "### 指示", "### input")


def read_task(record: ModelRecord, kind: Answer = NOT_STATED, datasets: Answer = NOT_STATED) -> Answer:
    """The task; rivals follow. `kind` and `datasets`: what was read of them already (a base model is no assistant; data tell what for)."""
    return task_candidates(record, kind, datasets)


def task_candidates(record: ModelRecord, kind: Answer = NOT_STATED, datasets: Answer = NOT_STATED) -> Answer:
    """Every task that something in the record speaks for, the surest first; without a card, from tags, name and pipeline tag alone."""
    names = [(one.value, one.evidence[0], one.confidence) for one in datasets.stated] or list(_named_data(record))
    witnesses = [*_by_pipeline(record), *_by_tags(record), *_by_name(record, kind.value), *_by_data(names), *_by_config(record), *_by_code(record.card),
                 *_by_metrics(record.card), *text_candidates(record.card)]
    return _settled(ranked(witnesses), kind.value, {one.value for one in _by_pipeline(record)})


def _settled(answer: Answer, kind: str | None, declared: set[str]) -> Answer:
    """A narrower task that is stated outweighs the broader ones of which it is a sort; what is no sort of the `declared` task counts less."""
    sure = {one.value: one.confidence for one in answer.candidates}
    for name in sure:
        if kind == "base" and broader_than(name):
            sure[name] *= 0.7
        if declared and not declared & {name, *broader_than(name)} and sure[name] < 0.75:
            sure[name] *= 0.7
    kinds = {one.value: len({entry.kind for entry in one.evidence}) for one in answer.candidates}
    for name in sorted(sure, key=lambda one: -len(broader_than(one))):
        for broader in broader_than(name):
            if broader in sure and sure[name] >= (0.5 if broader in ("text-generation", "text-classification") else 0.52 if kinds[name] > 1 else 0.58):
                sure[broader] = min(sure[broader], sure[name] - 0.02)
    changed = [replace(one, confidence=round(max(sure[one.value], 0.0), 3)) for one in answer.candidates]
    return Answer(tuple(sorted(changed, key=lambda one: -one.confidence)))


def _meta(card: Card, *path: str | int) -> Evidence:
    line = card.line(*path) or card.line(path[0])
    return Evidence("card metadata", card.quote(line) or str(path[0]), card.file, line)


def _by_pipeline(record: ModelRecord) -> Iterator[Candidate]:
    card = record.card
    said = [(value, _meta(card, *path), 1.0) for value, path in card.strings("pipeline_tag")]
    said += [(value, _meta(card, *path), 0.9) for value, path in card.strings("task", "tasks", "task_categories", "task_ids")]
    if record.pipeline_tag:
        said.append((record.pipeline_tag, Evidence("tag", record.pipeline_tag), 0.97))
    for value, evidence, factor in said:
        name = _hub_name(value)
        task = by_pipeline_tag().get(name)
        if task:
            yield Candidate(task, round(_GENERAL.get(name, _SPECIFIC) * factor, 3), (evidence,))
    yield from _by_index(card)


def _by_index(card: Card) -> Iterator[Candidate]:
    """model-index: the types of the tasks that it was measured on."""
    index = card.front.get("model-index")
    results = [one for entry in (index if isinstance(index, list) else ())[:5] if isinstance(entry, Mapping) and isinstance(entry.get("results"), list) for one in entry["results"][:40]]
    found: dict[str, None] = {}
    for result in results:
        task = result.get("task") if isinstance(result, Mapping) else None
        for value in ((task.get("type"), task.get("name")) if isinstance(task, Mapping) else (task,)):
            name = by_pipeline_tag().get(_hub_name(value)) if isinstance(value, str) else None
            if name:
                found[name] = None
                break
    for name in found:
        general = name in ("text-generation", "text-classification", "embeddings")
        yield Candidate(name, (0.5 if general else 0.62) * (1.0 if len(found) == 1 else 0.6), (_meta(card, "model-index"),))


def _hub_name(value: str) -> str:
    return re.sub(r"[\s_]+", "-", value.strip().lower())


@cache
def by_pipeline_tag() -> Mapping[str, str]:
    """The Hub's pipeline tags, and Trainer's names of tasks -> the task."""
    return _ALSO | {tag: task.name for task in tasks().values() for tag in task.means} | {name: name for name in tasks()}


@cache
def _by_tag() -> Mapping[str, str]:
    return {re.sub(r"[\s_]+", "-", tag): task.name for task in tasks().values() for tag in task.tags}


def _by_tags(record: ModelRecord) -> Iterator[Candidate]:
    tags = [(value, _meta(record.card, *path)) for value, path in record.card.strings("tags")]
    tags += [(value, Evidence("tag", value)) for value in record.tags]
    found = [(task, name, evidence) for value, evidence in tags[:200] if (task := _by_tag().get(name := _hub_name(value)))]
    several = len({task for task, _, _ in found if not any(task in broader_than(other) for other, _, _ in found)}) > 2  # tags that are there to be found
    for task, name, evidence in found:
        yield Candidate(task, _WEAK_TAGS.get(name, 0.66) * (0.75 if several else 1.0), (evidence,))


@cache
def _hints() -> tuple[tuple[str, str, bool], ...]:
    """(what is looked for in "-name-in-parts-", the task, whether it is the name of models that are known for it)."""
    found = []
    for task in tasks().values():
        for hint, nickname in [(hint, False) for hint in task.name_hints] + [(hint, True) for hint in task.nicknames]:
            found.append((("" if hint.startswith("*") else "-") + hint.strip("*") + ("" if hint.endswith("*") else "-"), task.name, nickname))
    return tuple(found)


def hinted(name: str) -> list[tuple[str, bool]]:
    """The tasks at which the parts of a model's name hint, without those that are only broader ones, and whether only a nickname does."""
    parts = f"-{_NO_LETTERS.sub('-', name.rpartition('/')[2].lower()).strip('-')}-"
    found: dict[str, bool] = {}
    for look, task, nickname in _hints():
        if look in parts:
            found[task] = found.get(task, True) and nickname
    general = {one for task in found for one in broader_than(task)}
    return [(task, nickname) for task, nickname in found.items() if task not in general]


_NO_LETTERS = re.compile(r"[^0-9a-z]+")


def _by_name(record: ModelRecord, kind: str | None) -> Iterator[Candidate]:
    """The parts of its own name, and of its base model's: a copy or a merge is for what its parents are for."""
    copied = kind in ("quantized", "merge")
    told: dict[str, tuple[float, list[Evidence]]] = {}
    for name, evidence, weight in ((record.name, Evidence("name", record.name), 0.62 if record.is_hub_id else 0.52), *_other_names(record.card)):
        for task, nickname in hinted(name):
            if not (copied and nickname):  # a copy has its parent's nickname
                weight = weight * (0.7 if nickname else 1.0)
                told[task] = (max(weight, told.get(task, (0.0,))[0]), [*told.get(task, (0.0, []))[1], evidence])
    yield from (Candidate(task, weight, tuple(evidence)) for task, (weight, evidence) in told.items())
    told = {}
    for name, evidence in _bases(record):
        for task, nickname in hinted(name):
            weight = (0.52 if task == "chat" else 0.45) if nickname else 0.58
            if not copied:
                weight = 0.5 if task == "text-generation" else 0.45 if task in _BASE_HINTS and not nickname else 0.3
            told.setdefault(task, (weight, []))[1].append(evidence)
    yield from (Candidate(task, weight, tuple(evidence[:4])) for task, (weight, evidence) in told.items())


def _other_names(card: Card) -> Iterator[tuple[str, Evidence, float]]:
    """Names that the card gives the model: its title where that is a name, model-index's, `model_name`."""
    title = next((block for block in card.blocks[:6] if block.kind == "heading"), None)
    if title is not None:
        name = plain_text(title.text).strip(" #`")[:120]
        if len(name) > 2 and len(name.split()) <= 3 and not is_plain_heading(name):
            yield name, Evidence("card text", title.text, card.file, title.line), 0.6
    index = card.front.get("model-index")
    for entry in (index if isinstance(index, list) else ())[:2]:
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            yield entry["name"][:120], _meta(card, "model-index"), 0.56
    for value, path in card.strings("model_name"):
        yield value[:120], _meta(card, *path), 0.5


def _bases(record: ModelRecord) -> Iterator[tuple[str, Evidence]]:
    for value, path in record.card.strings("base_model"):
        yield value[:120], _meta(record.card, *path)
    for _, value in record.parents:
        yield value, Evidence("model tree", value)
    base = record.adapter.get("base_model_name_or_path")
    if isinstance(base, str) and base:
        yield base[:120], Evidence("adapter_config.json", f"base_model_name_or_path: {base}", "adapter_config.json")


def _named_data(record: ModelRecord) -> Iterator[tuple[str, Evidence, float]]:
    for value, path in record.card.strings("datasets"):
        yield value, _meta(record.card, *path), 0.9
    for tag in record.tags:
        if tag.startswith("dataset:"):
            yield tag[8:], Evidence("tag", tag), 0.9


def _by_data(names: Iterable[tuple[str, Evidence, float]]) -> Iterator[Candidate]:
    """The data's tasks: one task's data sets say it, a mixture says that it is an assistant."""
    said: dict[str, list[Evidence]] = {}
    known = 0
    for name, evidence, _ in list(names)[:60]:
        found = tasks_of_data(name) if not name.startswith((".", "/")) else ()
        known += bool(found)
        for task in found[:2]:
            said.setdefault(task, []).append(evidence)
    for task, places in said.items():
        share = len(places) / known
        yield Candidate(task, round(0.56 * max(share, 0.92 if task == "chat" and known > 3 else 0.0), 3), tuple(places[:5]))


def _by_config(record: ModelRecord) -> Iterator[Candidate]:
    architectures = record.config.get("architectures")
    for name in (architectures if isinstance(architectures, list) else ())[:3]:
        if isinstance(name, str):
            evidence = Evidence("config.json", f"architectures: {name}", "config.json")
            yield from (Candidate(task, min(0.75, weight + 0.15), (evidence,)) for part, task, weight in _CLASS_TASKS if part in name)
    labels = record.config.get("id2label")
    if isinstance(labels, Mapping) and 2 <= len(labels) < 40:
        words = {str(one).lower() for one in labels.values()}
        if words & {"positive", "negative", "pos", "neg", "joy", "anger", "5 stars", "positiv", "positif"}:
            yield Candidate("sentiment", 0.7, (Evidence("config.json", f"id2label: {', '.join(sorted(words))}", "config.json"),))
    if record.adapter.get("task_type") in ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"):
        task = {"SEQ_CLS": "text-classification", "TOKEN_CLS": "named-entity-recognition", "QUESTION_ANS": "question-answering", "FEATURE_EXTRACTION": "embeddings"}[record.adapter["task_type"]]
        yield Candidate(task, 0.7, (Evidence("adapter_config.json", f"task_type: {record.adapter['task_type']}", "adapter_config.json"),))


def _by_code(card: Card) -> Iterator[Candidate]:
    """Usage code: the classes that it loads the model with, the pipeline it makes; a prompt template."""
    pipelines = {**by_pipeline_tag(), "sentiment-analysis": "sentiment", "ner": "named-entity-recognition"}
    for block in card.blocks:
        if block.kind != "fence" or not block.text:
            continue
        text = block.text[:6000]
        for found in _PIPELINE.finditer(text):
            task = pipelines.get(found.group(1)) or ("translation" if found.group(1).startswith("translation_") else None)
            if task:
                yield Candidate(task, 0.42 if task in ("text-generation", "text-classification") else 0.58, (_at(card, block, found.start(), text),))
        for found in _CLASSES.finditer(text):
            for part, task, weight in _CLASS_TASKS:
                if part in found.group():
                    yield Candidate(task, weight * 0.85, (_at(card, block, found.start(), text),))
        low = text.lower()
        place = next((low.find(mark) for mark in _TEMPLATES if mark in low), -1)
        if place >= 0:
            yield Candidate("chat", 0.45, (_at(card, block, place, text),))


def _at(card: Card, block: object, place: int, text: str) -> Evidence:
    line = block.line + text.count("\n", 0, place)  # type: ignore[attr-defined]
    line += 0 if card.quote(line) and text.split("\n")[text.count("\n", 0, place)].strip()[:20] in card.quote(line) else 1
    return Evidence("card text", card.quote(line), card.file, line)


@cache
def _by_metric() -> Mapping[str, str]:
    return {metric: task.name for task in tasks().values() for metric in task.metrics}


def _by_metrics(card: Card) -> Iterator[Candidate]:
    for value, path in card.strings("metrics"):
        task = _by_metric().get(value.lower().strip())
        if task:
            yield Candidate(task, 0.25 if task in ("text-classification", "question-answering") else 0.34, (_meta(card, *path),))
