"""What contradicts what: card text, its metadata, tags, adapter_config.json, config.json, the Hub's model tree; licences that clash.

A finding needs two places that cannot both be right; a vaguer name, a copy of a model under another owner or a chain of fine-tunes is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from tunelab.errors import ModelError
from tunelab.facts.known_models import known_model
from tunelab.facts.shapes import shapes_from_config
from tunelab.hub.evidence import STATED, Candidate, Evidence
from tunelab.hub.fields.base_model import PATH_NOTE, RIVAL
from tunelab.hub.licence_check import clash_with_data, clash_with_model, data_terms, model_terms
from tunelab.hub.model_names import compatible, families, key, known_parent, known_root, model_name, same_model, tuned_word, words
from tunelab.hub.record import ModelRecord

if TYPE_CHECKING:
    from tunelab.hub.sheet import ModelSheet

TITLES: Mapping[str, str] = {
    "TH101": "Two places name different base models",
    "TH102": "config.json is of another family than the base model",
    "TH103": "The base model is itself a fine-tune",
    "TH104": "The licence does not go with the base model's",
    "TH105": "The licence does not go with the training data's",
    "TH106": "The size in the name is not the number of parameters",
    "TH107": "The card and adapter_config.json give a LoRA setting differently",
    "TH108": "The pipeline tag is for another kind of model",
    "TH109": "A place on a disk is named as the base model",
    "TH110": "The card is the base model's",
    "TH111": "The metadata say how it was made, and the files something else",
    "TH112": "Two licences are named",
}
"""Code -> what it is about; the list of all codes."""


@dataclass(frozen=True, slots=True)
class CardFinding:
    """Something that a reader should not overlook. `code`: TH and three digits; `message`: one sentence; `evidence`: the places that disagree."""

    code: str
    severity: Literal["error", "warning", "note"]
    message: str
    evidence: tuple[Evidence, ...] = ()


def cross_check(record: ModelRecord, sheet: ModelSheet) -> tuple[CardFinding, ...]:
    """All contradictions between the sheet's sources, the gravest first."""
    found = [finding for check in _CHECKS for finding in check(record, sheet)]
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(dict.fromkeys(found), key=lambda one: (order[one.severity], one.code)))


def _base_models(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """Metadata, adapter_config.json, tags, tree and text against each other."""
    if len(sheet.base_model.stated) != 1:
        return
    first = sheet.base_model.stated[0]
    for other in sheet.base_model.candidates:
        if other is first or not _can_contradict(other) or _one_line(first.value, other.value):
            continue
        mine, others = _strongest(first), _strongest(other)
        if mine.kind == others.kind == "card text" or not _conflict(
            first.value, other.value, by_name_only="/" not in other.value or "/" not in first.value
        ):
            continue
        severity: Literal["error", "warning"] = "error" if others.kind != "card text" or other.confidence >= RIVAL * 0.8 else "warning"
        yield CardFinding("TH101", severity, f"{_names(mine)} {first.value} as the base model, {_place(others)} {other.value}.", (mine, others))


def _can_contradict(candidate: Candidate) -> bool:
    formal = any(entry.kind in ("card metadata", "adapter_config.json", "tag", "model tree") for entry in candidate.evidence)
    named = model_name(candidate.value)
    return named is not None and not named.is_path and candidate.confidence >= RIVAL * (STATED if formal else 0.7)


def _one_line(one: str, other: str) -> bool:
    """Whether two names are one model, a vaguer name of it, or a model and what it was made from, as far as the tables know."""
    if compatible(one, other):
        return True
    for child, parent in ((one, other), (other, one)):
        made_from, root = known_parent(child), known_root(child)
        if (made_from and compatible(made_from[1], parent)) or (root and compatible(root, parent)):
            return True
        if tuned_word(child) and compatible(_without_tuning(child), parent):
            return True  # "Llama-2-7b-chat" was made from "Llama-2-7b"
    return False


def _without_tuning(name: str) -> str:
    return re.sub(r"(?i)[-_. ](?:instruct|chat|it|sft|dpo|rlhf|thinking)(?=[-_. ]|\Z)(?:-v?\d[\w.]*)?", "", name.rpartition("/")[2])


def _conflict(one: str, other: str, *, by_name_only: bool) -> bool:
    """Whether two names cannot be of one model. Ids of known families are taken at their word; of mere names family or size must differ."""
    mine, others = _family(one), _family(other)
    apart = bool(mine and others) and not any(a in b or b in a for a in mine for b in others)
    sizes = _size(one), _size(other)
    resized = None not in sizes and sizes[0] != sizes[1]
    return apart or resized or _newer(one, other) or (not by_name_only and bool(mine) and bool(others))


def _newer(one: str, other: str) -> bool:
    """Whether two names of one family are of different versions: "Llama 3.1" and "llama-3-8b"; "Llama 3" may be short for 3.1."""
    exact, loose = (one, other) if "/" in one else (other, one)
    versions = [next((word for word in words(name)[1:2] if re.fullmatch(r"\d(?:\.\d+)?", word)), None) for name in (exact, loose)]
    return None not in versions and words(exact)[:1] == words(loose)[:1] and not str(versions[0]).startswith(str(versions[1]))


def _family(name: str) -> frozenset[str]:
    return frozenset(word for word in words(name) if word in families()[0] and not word[0].isdigit())


def _size(name: str) -> float | None:
    """Billions of parameters by the name: "7B" -> 7.0; a mixture's "8x7B" and "30B-A3B" are none."""
    last = name.rpartition("/")[2]
    if re.search(r"\d+x\d|[-_]a\d+(?:\.\d+)?b", last, re.IGNORECASE):
        return None
    found = re.findall(r"(?<![A-Za-z\d.])(\d+(?:\.\d+)?) ?([BbMm])(?![A-Za-z\d])", last)
    return float(found[0][0]) / (1000 if found[0][1] in "mM" else 1) if len(found) == 1 else None


def _strongest(candidate: Candidate) -> Evidence:
    order = ("card metadata", "adapter_config.json", "model tree", "tag", "card text", "config.json")
    return min(candidate.evidence, key=lambda entry: order.index(entry.kind) if entry.kind in order else len(order))


def _place(evidence: Evidence) -> str:
    """Where it stands, inside a sentence."""
    return {"card metadata": "the card's metadata", "card text": "the card's text", "tag": "a tag", "model tree": "the Hub's model tree"}.get(
        evidence.kind, evidence.kind
    )


def _names(evidence: Evidence) -> str:
    """The beginning of a sentence: "The card's metadata name", "adapter_config.json names"."""
    place = _place(evidence)
    return (place[0].upper() + place[1:] if place.startswith(("the ", "a ")) else place) + (" name" if place.endswith("metadata") else " names")


# Family word of a name -> beginnings of the `model_type`s that its models have.
_TYPES: Mapping[str, tuple[str, ...]] = {
    "llama": ("llama", "mllama", "llava"),
    "tinyllama": ("llama",),
    "codellama": ("llama",),
    "vicuna": ("llama", "llava"),
    "mistral": ("mistral", "pixtral", "llava", "mixtral"),
    "mixtral": ("mixtral",),
    "zephyr": ("mistral",),
    "qwen": ("qwen",),
    "gemma": ("gemma", "paligemma", "recurrent_gemma"),
    "phi": ("phi", "mixformer"),
    "gpt-2": ("gpt2",),
    "distilgpt": ("gpt2",),
    "pythia": ("gpt_neox",),
    "bloom": ("bloom",),
    "bloomz": ("bloom",),
    "opt": ("opt",),
    "mpt": ("mpt",),
    "smollm": ("llama", "smollm"),
    "bert": ("bert",),
    "distilbert": ("distilbert",),
    "roberta": ("roberta", "xlm-roberta", "camembert"),
    "electra": ("electra",),
    "deberta": ("deberta",),
    "t5": ("t5", "mt5", "longt5", "umt5"),
    "mt5": ("mt5", "t5"),
    "bart": ("bart", "mbart"),
    "mbart": ("mbart",),
    "pegasus": ("pegasus",),
    "whisper": ("whisper",),
    "starcoder": ("gpt_bigcode", "starcoder2"),
    "olmo": ("olmo",),
}


def _architecture(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """The claimed base's family against config.json's model_type."""
    written = str(record.config.get("model_type") or "").lower()
    base = sheet.base_model.stated[0] if sheet.base_model.stated else None
    if not written or base is None or len(sheet.base_model.stated) > 1 or sheet.kind.value == "merge":
        return
    known = known_model(base.value) if same_model(base.value, getattr(known_model(base.value), "name", "")) else None
    named = [_TYPES[word] for word in _type_words(base.value) if word in _TYPES]
    allowed = tuple(kind for kinds in named for kind in kinds) + ((str(known.config["model_type"]),) if known else ())
    ours = {kind for kinds in _TYPES.values() for kind in kinds}
    if not allowed or written.startswith(allowed) or not any(written.startswith(kind) for kind in ours):
        return
    yield CardFinding(
        "TH102",
        "error",
        f"The base model is said to be {base.value}, and config.json is of the type {written}.",
        (_strongest(base), Evidence("config.json", f"model_type: {written}", "config.json")),
    )


def _type_words(name: str) -> tuple[str, ...]:
    parts = words(name)
    return (*parts, *("-".join(pair) for pair in pairwise(parts)), *(a + b for a, b in pairwise(parts)))


def _tuned_base(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """A fine-tune or adapter of a model that was tuned before."""
    if sheet.kind.value in ("quantized", "merge", "base") or len(sheet.base_model.stated) > 1:
        return
    for base in sheet.base_model.stated:
        root, word = known_root(base.value), tuned_word(base.value)
        made_of = next(
            (
                other
                for other in sheet.base_model.candidates
                if other is not base and other.note.startswith("said of ") and same_model(other.note.removeprefix("said of "), base.value)
            ),
            None,
        )
        if made_of is not None:
            yield CardFinding(
                "TH103", "note", f"The base model {base.value} is itself a fine-tune, of {made_of.value}.", (_strongest(base), *made_of.evidence[:1])
            )
        elif root is not None:
            yield CardFinding("TH103", "note", f"The base model {base.value} is itself a fine-tune; at its root is {root}.", (_strongest(base),))
        elif word is not None:
            yield CardFinding(
                "TH103", "note", f'The base model {base.value} is itself a fine-tune, as the word "{word}" in its name says.', (_strongest(base),)
            )


def _licence_of_base(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """The card's licence against the base model's."""
    licence = sheet.licence.stated[0] if sheet.licence.stated else None
    if licence is None:
        return
    for base in sheet.base_model.stated:
        known = model_terms(base.value) or model_terms(known_root(base.value) or "")
        clash = clash_with_model(licence.value, known) if known else None
        if clash:
            yield CardFinding(
                "TH104",
                "warning",
                f"The model is given the licence {licence.value}; its base model {base.value} is under {clash}.",
                (licence.evidence[0], _strongest(base)),
            )
            return


def _licence_of_data(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """The card's licence against the data's; outputs of closed models are a note."""
    licence = sheet.licence.stated[0] if sheet.licence.stated else None
    if licence is None:
        return
    noted = False
    for data in sheet.datasets.stated[:40]:
        terms = data_terms(data.value)
        if terms is None:
            continue
        clash = clash_with_data(licence.value, terms)
        if clash:
            yield CardFinding(
                "TH105",
                "warning",
                f"The model is given the licence {licence.value}; its training data {data.value} are under {clash}.",
                (licence.evidence[0], data.evidence[0]),
            )
        elif terms.commercial == "outputs" and not noted:
            noted = True
            yield CardFinding(
                "TH105", "note", f"The training data {data.value} hold {terms.name}, which restrict the training of other models.", (data.evidence[0],)
            )


def _size_of_name(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """ "7B" in the name against the parameters that were counted, or that config.json's shapes give."""
    claimed = _size(record.name)
    packed = sheet.kind.value in ("quantized", "adapter") or "quantization_config" in record.config or bool(record.gguf)
    if claimed is None or packed:
        return
    counted, evidence = _counted(record)
    if counted is None or evidence is None or 0.55 < counted / 1e9 / claimed < 1.7:
        return
    size = f"{counted / 1e9:.2f}B" if counted >= 1e9 else f"{counted / 1e6:.0f}M"
    yield CardFinding("TH106", "warning", f"The name says {claimed:g}B parameters, and there are {size}.", (Evidence("name", record.name), evidence))


def _counted(record: ModelRecord) -> tuple[int | None, Evidence | None]:
    if any(kind.upper().startswith(("I", "U")) for kind in record.tensors):  # packed integers are not parameters
        return None, None
    counted = record.parameters or sum(record.tensors.values())
    if counted:
        return counted, Evidence("weights header", f"{counted:,} parameters")
    if not {"hidden_size", "num_hidden_layers"} <= record.config.keys():
        return None, None
    try:
        shapes = shapes_from_config(record.config, "config.json")
    except (ModelError, ValueError, TypeError, ArithmeticError):
        return None, None
    return shapes.parameters, Evidence(
        "config.json", f"hidden_size: {record.config['hidden_size']}, num_hidden_layers: {record.config['num_hidden_layers']}", "config.json"
    )


_LORA_KEYS = (("lora_r", "r"), ("lora_alpha", "lora_alpha"), ("lora_dropout", "lora_dropout"))


def _lora_settings(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """LoRA's numbers in the card against adapter_config.json."""
    for name, stored in _LORA_KEYS:
        answer, value = sheet.hyperparameters.get(name), record.adapter.get(stored)
        said = next((one for one in (answer.stated if answer else ()) if one.evidence[0].kind in ("card text", "card metadata")), None)
        if said is None or not isinstance(value, int | float) or isinstance(value, bool):
            continue
        number = _number(said.value)
        if number is not None and abs(number - value) > 1e-9:
            yield CardFinding(
                "TH107",
                "warning",
                f"The card says {name} = {said.value}, and adapter_config.json {stored} = {value}.",
                (said.evidence[0], Evidence("adapter_config.json", f"{stored}: {value}", "adapter_config.json")),
            )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_HEADS = (
    ("ForSequenceClassification", ("text-classification", "zero-shot-classification", "text-ranking", "sentence-similarity")),
    ("ForTokenClassification", ("token-classification",)),
    ("ForQuestionAnswering", ("question-answering", "document-question-answering")),
    ("ForMaskedLM", ("fill-mask", "feature-extraction", "sentence-similarity")),
    (
        "ForCausalLM",
        (
            "text-generation",
            "conversational",
            "text2text-generation",
            "question-answering",
            "summarization",
            "translation",
            "image-text-to-text",
            "feature-extraction",
            "sentence-similarity",
            "table-question-answering",
            "text-to-speech",
            "automatic-speech-recognition",
            "any-to-any",
            "audio-text-to-text",
            "image-to-text",
            "visual-question-answering",
            "text-ranking",
            "reinforcement-learning",
            "video-text-to-text",
            "zero-shot-classification",
        ),
    ),
)
_CLASSIFIERS = frozenset(
    {
        "text-classification",
        "token-classification",
        "fill-mask",
        "zero-shot-classification",
        "sentence-similarity",
        "question-answering",
        "image-classification",
    }
)


def _pipeline_tag(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """pipeline_tag against the head that config.json names, and against a text that speaks of a chat model."""
    own = next(iter(record.card.strings("pipeline_tag")), None)
    tag = own[0] if own else record.pipeline_tag
    if not tag:
        return
    line = record.card.line("pipeline_tag")
    said = Evidence("card metadata", record.card.quote(line), record.card.file, line) if own else Evidence("tag", f"pipeline_tag: {tag}")
    architectures = record.config.get("architectures")
    architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    allowed = next((tags for head, tags in _HEADS if architecture.endswith(head)), None)
    if allowed is not None and tag in _CLASSIFIERS | {"text-generation"} and tag not in allowed:
        yield CardFinding(
            "TH108",
            "warning",
            f"The pipeline tag is {tag}, and config.json's architecture {architecture} is for {allowed[0]}.",
            (said, Evidence("config.json", f"architectures: {architecture}", "config.json")),
        )
        return
    chat = next((one for one in sheet.task.candidates if one.value in ("chat", "roleplay", "code-generation") and one.confidence >= 0.6), None)
    place = next((entry for entry in chat.evidence if entry.kind == "card text"), None) if chat else None
    if chat is not None and place is not None and tag in _CLASSIFIERS - {"question-answering"}:
        yield CardFinding("TH108", "warning", f"The pipeline tag is {tag}, and the text is of a model for {chat.value}.", (said, place))


def _local_path(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """A base model that is a folder on the maker's disk."""
    for one in sheet.base_model.candidates:
        place = next((entry for entry in one.evidence if entry.kind in ("card metadata", "adapter_config.json")), None)
        if PATH_NOTE in one.note and place is not None:
            path = one.note.rpartition(": ")[2] if ": " in one.note else one.value
            yield CardFinding(
                "TH109",
                "warning" if place.kind == "card metadata" else "note",
                f"{_names(place)} {path} as the base model: a place on somebody's disk, which tells no one which model it is.",
                (place,),
            )


def _card_of_another(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """The title is the base model's name, and nothing below speaks of a training."""
    title = next((block for block in record.card.blocks[:4] if block.kind == "heading" and block.info == "1"), None)
    if title is None or not record.is_hub_id or sheet.kind.value not in ("finetune", "adapter") or len(title.plain.split()) > 6:
        return
    if any(entry.kind == "card text" for one in sheet.kind.stated for entry in one.evidence):
        return
    for base in sheet.base_model.stated:
        if key(title.plain) == key(base.value) != key(record.name):
            yield CardFinding(
                "TH110",
                "warning",
                f"The card's title is {title.plain}, the base model, and not {record.name}: it may be a copy of that model's card.",
                (Evidence("card text", title.text, record.card.file, title.line), _strongest(base)),
            )


def _relation(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """base_model_relation against an adapter's files."""
    for value, path in record.card.strings("base_model_relation"):
        if (
            value.lower() in ("finetune", "merge")
            and record.adapter.get("peft_type")
            and not any(name.endswith(("model.safetensors", "pytorch_model.bin")) and "adapter" not in name for name in record.files)
        ):
            line = record.card.line(*path)
            yield CardFinding(
                "TH111",
                "warning",
                f"The metadata call it a {value.lower()} of its base model, and adapter_config.json makes it an adapter.",
                (
                    Evidence("card metadata", record.card.quote(line), record.card.file, line),
                    Evidence("adapter_config.json", f"peft_type: {record.adapter['peft_type']}", "adapter_config.json"),
                ),
            )


def _two_licences(record: ModelRecord, sheet: ModelSheet) -> Iterator[CardFinding]:
    """The metadata's licence against the one that the text gives the model."""
    said: dict[str, Candidate] = {}
    for one in sheet.licence.candidates:
        for entry in one.evidence:
            if one.confidence >= 0.6 and entry.kind in ("card metadata", "card text"):
                said.setdefault(entry.kind, one)
    meta, text = said.get("card metadata"), said.get("card text")
    if meta is None or text is None or meta is text or meta.value.lower() in ("other", "unknown") or text.value.lower() in ("other", "unknown"):
        return
    places = tuple(next(entry for entry in one.evidence if entry.kind == kind) for one, kind in ((meta, "card metadata"), (text, "card text")))
    yield CardFinding("TH112", "warning", f"The card's metadata give the licence {meta.value}, its text {text.value}.", places)


_CHECKS: tuple[Any, ...] = (
    _base_models,
    _architecture,
    _tuned_base,
    _licence_of_base,
    _licence_of_data,
    _size_of_name,
    _lora_settings,
    _pipeline_tag,
    _local_path,
    _card_of_another,
    _relation,
    _two_licences,
)
