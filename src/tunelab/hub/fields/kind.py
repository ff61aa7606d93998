"""What sort of model it is: a base model, a fine-tune of one, an adapter, a merge, or a quantised copy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tunelab.hub.card import Card
from tunelab.hub.evidence import Answer, Candidate, Evidence, ranked
from tunelab.hub.fields.base_code import adapter_code, merge_recipe
from tunelab.hub.fields.base_text import is_original_card
from tunelab.hub.model_names import model_name
from tunelab.hub.record import ModelRecord
from tunelab.hub.tables import pieces, stems, table

FINETUNE, ADAPTER, MERGE, QUANTIZED, BASE = "finetune", "adapter", "merge", "quantized", "base"
_RELATIONS = {
    "finetune": FINETUNE,
    "finetuned": FINETUNE,
    "fine-tune": FINETUNE,
    "fine-tuned": FINETUNE,
    "adapter": ADAPTER,
    "lora": ADAPTER,
    "merge": MERGE,
    "quantized": QUANTIZED,
    "quantised": QUANTIZED,
    "quantization": QUANTIZED,
}
_QUANT_FILES = re.compile(r"\.gguf\Z|\.ggml\Z|ggml-model.*\.bin\Z", re.IGNORECASE)
_FULL_WEIGHTS = re.compile(
    r"(?:\A|/)(?:model(?:-\d+-of-\d+)?\.safetensors|pytorch_model(?:-\d+-of-\d+)?\.bin|model\.safetensors\.index\.json|tf_model\.h5|flax_model\.msgpack)\Z"
)
_ADAPTER_FILES = re.compile(r"(?:\A|/)adapter_(?:model|config)\.(?:safetensors|bin|json)\Z|pytorch_lora_weights\.safetensors\Z")
_TABLE = table("kind_words.toml")
_SAYS = tuple(
    (one["name"], stems(one["stems"]), re.compile(pieces(one["pattern"])), re.compile(pieces(one["unless"])) if "unless" in one else None)
    for one in _TABLE["says"]
)
_NAMED = {name: re.compile(pieces(parts), re.IGNORECASE) for name, parts in _TABLE["names"].items()}
_QUANT_TAGS, _TUNE_TAGS = (frozenset(_TABLE["tags"][name].split()) for name in ("quant", "tune"))
_ANYWHERE = frozenset({"own training", ADAPTER, "tuning"})
_HEAD = 6_000
"""Characters of the body in which a card says what it is."""


def read_kind(record: ModelRecord) -> Answer:
    """finetune, adapter, merge, quantized or base; what else speaks for another kind is a rival."""
    words = _words(record.card)
    return ranked(_settled([*_formal(record), *_by_tags(record), *_by_files(record), *_by_name(record), *_by_text(record, words)], words))


def _formal(record: ModelRecord) -> Iterator[Candidate]:
    for value, path in record.card.strings("base_model_relation"):
        if value.lower() in _RELATIONS:
            yield _said(_RELATIONS[value.lower()], 0.97, _meta(record.card, *path))
    for relation, name in record.parents:
        if relation in _RELATIONS:
            yield _said(_RELATIONS[relation], 0.96, Evidence("model tree", f"{relation} of {name}"))
    for tag in record.tags:
        parts = tag.split(":", 2)
        if len(parts) == 3 and parts[0] == "base_model" and parts[1] in _RELATIONS:
            yield _said(_RELATIONS[parts[1]], 0.95, Evidence("tag", tag))
    if record.adapter.get("peft_type") or record.adapter.get("base_model_name_or_path"):
        yield _said(ADAPTER, 0.93, Evidence("adapter_config.json", f"peft_type: {record.adapter.get('peft_type')}", "adapter_config.json"))
    libraries = [(value.lower(), _meta(record.card, *path)) for value, path in record.card.strings("library_name")] + [
        (record.library.lower(), Evidence("card metadata", f"library_name: {record.library}"))
    ]
    for library, evidence in libraries:
        if library in ("peft", "adapter-transformers", "adapters"):
            yield _said(ADAPTER, 0.92, evidence)
        elif library in ("gguf", "mlx", "ctranslate2", "exllamav2", "openvino"):
            yield _said(QUANTIZED, 0.75, evidence)
    for value, path in record.card.strings("quantized_by"):
        if value:
            yield _said(QUANTIZED, 0.95, _meta(record.card, *path))
    method = _quant_method(record)
    if method:
        yield _said(
            QUANTIZED, 0.6 if method.startswith("bitsandbytes") else 0.85, Evidence("config.json", f"quantization_config: {method}", "config.json")
        )
    named = {model_name(value) for value, _ in record.card.strings("base_model")} - {None}
    if len(named) > 1:  # as the Hub takes it
        yield _said(MERGE, 0.62, _meta(record.card, "base_model"), "several base models are named")
    if named:
        yield _said(
            FINETUNE, 0.66 if len(named) == 1 else 0.55, _meta(record.card, "base_model"), "a base model is named; nothing says how it was changed"
        )


def _quant_method(record: ModelRecord) -> str:
    settings = record.config.get("quantization_config")
    return (
        str(settings.get("quant_method") or "bitsandbytes" if settings.get("load_in_4bit") else settings.get("quant_method") or "unknown")
        if isinstance(settings, dict) and settings
        else ""
    )


def _by_tags(record: ModelRecord) -> Iterator[Candidate]:
    own = {value.lower(): _meta(record.card, *path) for value, path in record.card.strings("tags")}
    tags = own | {tag.lower(): Evidence("tag", tag) for tag in record.tags if tag.lower() not in own}
    for tag, evidence in tags.items():
        if tag in ("mergekit", "merge", "lazymergekit", "frankenmerge", "model_stock", "slerp", "dare_ties", "moerge"):
            yield _said(MERGE, 0.82, evidence)
        elif tag in _QUANT_TAGS:
            yield _said(QUANTIZED, 0.6 if tag not in ("gguf", "mlx") else 0.64, evidence)
        elif tag in ("lora", "peft", "adapter", "qlora", "adapters"):
            yield _said(ADAPTER, 0.66, evidence)
        elif tag in _TUNE_TAGS:
            yield _said(
                FINETUNE,
                0.74 if tag in ("generated_from_trainer", "trl", "axolotl", "autotrain", "generated_from_keras_callback", "setfit") else 0.62,
                evidence,
            )
        elif tag in ("pretrained", "pretraining", "base-model", "foundation-model", "base"):
            yield _said(BASE, 0.5, evidence)


def _by_files(record: ModelRecord) -> Iterator[Candidate]:
    adapters = [name for name in record.files if _ADAPTER_FILES.search(name)]
    whole = [name for name in record.files if _FULL_WEIGHTS.search(name)]
    gguf = [name for name in record.files if _QUANT_FILES.search(name)]
    if adapters:
        yield _said(ADAPTER, 0.6 if whole else 0.92, Evidence("file list", adapters[0]))
    if gguf:
        yield _said(QUANTIZED, 0.55 if whole else 0.7, Evidence("file list", gguf[0]))
    if "mergekit_config.yml" in record.files or "mergekit_config.yaml" in record.files:
        yield _said(MERGE, 0.9, Evidence("file list", "mergekit_config.yml"))


def _by_name(record: ModelRecord) -> Iterator[Candidate]:
    title = next((block.plain for block in record.card.blocks[:3] if block.kind == "heading"), "")
    for name in (record.name.rpartition("/")[2], title if len(title) < 90 else ""):
        for pattern, kind, confidence in (("quant", QUANTIZED, 0.74), ("adapter", ADAPTER, 0.6), ("merge", MERGE, 0.45), ("tune", FINETUNE, 0.45)):
            found = _NAMED[pattern].search(name.replace(" ", "-"))
            if found:
                yield _said(kind, confidence, Evidence("name", name))


def _by_text(record: ModelRecord, words: Mapping[str, Evidence]) -> Iterator[Candidate]:
    recipe = merge_recipe(record.card)
    if recipe is not None:
        yield _said(MERGE, 0.9, recipe.evidence)
    code = adapter_code(record.card)
    if code is not None:
        yield _said(ADAPTER, 0.7, code)
    for kind, confidence in ((QUANTIZED, 0.8), (ADAPTER, 0.72), (MERGE, 0.78), (FINETUNE, 0.76), (BASE, 0.6)):
        if kind in words:
            yield _said(kind, confidence, words[kind])
    if "merging" in words and "merged in" not in words:
        yield _said(MERGE, 0.6, words["merging"], "merging is spoken of")
    if "tuning" in words:
        yield _said(FINETUNE, 0.56, words["tuning"], "tuning is spoken of, and not clearly this model's")
    if "made from" in words:
        yield _said(FINETUNE, 0.52, words["made from"], "it is said to be made from another model or data, not how")
    if "scratch" in words:
        yield _said(BASE, 0.78, words["scratch"])


def _words(card: Card) -> dict[str, Evidence]:
    """Pattern -> the first place that has it, in what the card says before a copy of another model's card."""
    found: dict[str, Evidence] = {}
    length = 0
    for block in card.blocks:
        if block.kind == "heading" and is_original_card(block.text):
            break
        if block.kind == "fence":
            continue
        low = block.text.replace("**", "").replace("`", "").lower() if len(block.text) < 5_000 else block.text[:5_000].lower()
        for name, beginnings, pattern, unless in _SAYS:
            if name in found or (length > _HEAD and name not in _ANYWHERE):
                continue
            if any(stem in low for stem in beginnings):
                hit = next(
                    (one for one in pattern.finditer(low) if unless is None or not unless.search(low[max(0, one.start() - 60) : one.start()])), None
                )
                if hit:
                    line = min(block.line + low.count("\n", 0, hit.start()), block.end)
                    found[name] = Evidence("card text", card.quote(line), card.file, line)
        length += len(low)
    return found


def _settled(found: list[Candidate], words: Mapping[str, Evidence]) -> list[Candidate]:
    """The candidates after the rules that no single source knows: an adapter, a merge and a quantised copy are also tuned models, so that the
    narrower word wins; and a fine-tune that ships packed files, or sits on a packed model, is no packed copy."""
    said = {kind: max((one.confidence for one in found if one.value == kind), default=0.0) for kind in (FINETUNE, ADAPTER, MERGE, QUANTIZED, BASE)}
    trained_here = "own training" in words
    named_packed = any(one.value == QUANTIZED and one.evidence[0].kind == "name" for one in found)
    limits: dict[str, float] = {}
    if said[QUANTIZED] < 0.9 and not named_packed and said[ADAPTER] >= 0.66 and ADAPTER in words and "merged in" not in words:
        limits = {FINETUNE: min(0.6, said[ADAPTER] - 0.05), BASE: 0.45, MERGE: 0.45, QUANTIZED: 0.45}
    elif (
        said[QUANTIZED] >= 0.9
        or (QUANTIZED in words and (named_packed or not trained_here))
        or (said[QUANTIZED] and not trained_here and FINETUNE not in words)
        or (said[QUANTIZED] >= 0.74 and not trained_here)
    ):
        limits = {FINETUNE: 0.48, MERGE: 0.48, ADAPTER: 0.48, BASE: 0.45} if said[ADAPTER] < 0.9 else {FINETUNE: 0.48, QUANTIZED: 0.48}
    elif said[ADAPTER] >= 0.9 or (said[ADAPTER] >= 0.6 and "merged in" not in words and said[MERGE] < 0.9):
        limits = {FINETUNE: min(0.6, said[ADAPTER] - 0.05), BASE: 0.45, MERGE: 0.45, QUANTIZED: 0.45}
    elif said[MERGE] >= 0.78 or (said[MERGE] >= 0.6 and said[FINETUNE] < 0.66):
        limits = {FINETUNE: min(0.6, said[MERGE] - 0.05), BASE: 0.4, ADAPTER: 0.45, QUANTIZED: 0.45}
    elif said[FINETUNE]:
        limits = {QUANTIZED: 0.45, ADAPTER: 0.45, MERGE: 0.45 if said[FINETUNE] > 0.7 else 0.5}
        limits |= {BASE: 0.45} if said[FINETUNE] >= 0.62 and said[FINETUNE] >= said[BASE] - 0.15 else {FINETUNE: 0.5} if said[BASE] else {}
    return [  # a remark on a weak place is no remark on the answer when a stronger one says the same
        Candidate(one.value, round(min(one.confidence, limits.get(one.value, 1.0)), 3), one.evidence, one.note if said[one.value] == one.confidence else "")
        for one in found
    ]


def _said(kind: str, confidence: float, evidence: Evidence, note: str = "") -> Candidate:
    return Candidate(kind, confidence, (evidence,), note)


def _meta(card: Card, *path: str | int) -> Evidence:
    line = card.line(*path) or card.line(path[0])
    return Evidence("card metadata", card.quote(line), card.file, line)
