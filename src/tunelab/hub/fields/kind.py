"""What sort of model it is: a base model, a fine-tune of one, an adapter, a merge, or a quantised copy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunelab.hub.card import Card
from tunelab.hub.evidence import Answer, Candidate, Evidence, ranked
from tunelab.hub.fields.base_code import merge_recipe
from tunelab.hub.model_names import model_name
from tunelab.hub.record import ModelRecord

FINETUNE, ADAPTER, MERGE, QUANTIZED, BASE = "finetune", "adapter", "merge", "quantized", "base"
_RELATIONS = {"finetune": FINETUNE, "finetuned": FINETUNE, "fine-tune": FINETUNE, "fine-tuned": FINETUNE, "adapter": ADAPTER, "lora": ADAPTER, "merge": MERGE, "quantized": QUANTIZED, "quantised": QUANTIZED,
              "quantization": QUANTIZED}
_NAMED_QUANT = re.compile(r"[-_.](?:gguf|ggml|gptq|awq|exl[23]|i1|imatrix|imat|hqq|eetq|aqlm|quip|quant(?:s|ized|ised)?|bnb[-_]4bit|bnb[-_]8bit|[2-8]bit|[2-8]-bit|nf4|int[48]|fp8|w[48]a(?:8|16)|q[2-8](?:_[k01]\w*|_k)?|mlx|\d(?:\.\d+)?bpw|"
                          r"marlin|4bit-g?\d*|onnx|openvino|coreml|litert|ct2|ctranslate2)(?=[-_.]|\Z)", re.IGNORECASE)
_NAMED_ADAPTER = re.compile(r"(?:\A|[-_.])(?:q?lora|dora|adapters?|peft|qlora-adapter)s?(?=[-_.\d]|\Z)", re.IGNORECASE)
_NAMED_MERGE = re.compile(r"(?:\A|[-_.])(?:merged?|slerp|dare|ties|frankenmerge|passthrough|model[-_]?stock|breadcrumbs|della|franken\w*)(?=[-_.\d]|\Z)", re.IGNORECASE)
_NAMED_TUNE = re.compile(r"(?:\A|[-_.])(?:fine-?tuned?|ft|instruct|chat|sft|dpo|orpo|rlhf|grpo|it)(?=[-_.\d]|\Z)", re.IGNORECASE)
_QUANT_FILES = re.compile(r"\.gguf\Z|\.ggml\Z|ggml-model.*\.bin\Z", re.IGNORECASE)
_FULL_WEIGHTS = re.compile(r"(?:\A|/)(?:model(?:-\d+-of-\d+)?\.safetensors|pytorch_model(?:-\d+-of-\d+)?\.bin|model\.safetensors\.index\.json|tf_model\.h5|flax_model\.msgpack)\Z")
_ADAPTER_FILES = re.compile(r"(?:\A|/)adapter_(?:model|config)\.(?:safetensors|bin|json)\Z|pytorch_lora_weights\.safetensors\Z")
_QUANT_TAGS = frozenset({"gguf", "ggml", "gptq", "awq", "exl2", "exl3", "quantized", "quantization", "4-bit", "8-bit", "imatrix", "mlx", "aqlm", "hqq", "eetq", "compressed-tensors", "autoquant", "bnb-my-repo", "gguf-my-repo", "llama-cpp", "int8", "int4", "fp8",
                         "openvino", "autoround", "nncf"})
_TUNE_TAGS = frozenset({"generated_from_trainer", "trl", "sft", "dpo", "orpo", "rlhf", "kto", "grpo", "axolotl", "llama-factory", "autotrain", "finetuned", "fine-tuned", "finetune", "fine-tune", "unsloth", "generated_from_keras_callback", "instruct", "alignment-handbook",
                        "reward-trainer", "finetuning", "fine-tuning", "hf-asr-leaderboard", "setfit", "autotrain_compatible_trained", "oumi", "swift", "full"})
# A sentence on what this repository is; the stronger first.
_SAYS_QUANT = re.compile(
    r"(?:\b(?:gguf|ggml|gptq|awq|exl[23]|mlx|hqq|fp8|int[48]|imatrix|onnx|openvino|nf4|bnb|w\da\d+)\b[^.\n]{0,50}?\b(?:quant\w*|versions?|model files|models? files|conversions?|weights|export|files?|repo\w*|format\w*)\b[^.\n]{0,30}? (?:of|for|from)\b)|"
    r"\bquanti[sz]ed (?:\w+ )?(?:versions?|variants?|cop(?:y|ies)|models?|weights|checkpoints?) (?:of|from|for)\b|\bquanti[sz](?:ations?|ing) of\b|\b(?:static|weighted|imatrix|llamacpp|llama\.cpp|exl2|gguf|dynamic|i1)[^.\n]{0,20} quants?\b|\bquants? (?:of|for|from)\b|"
    r"\b(?:was|is|were|been|model) (?:\w+ )?(?:quanti[sz]ed|converted) (?:to|from|into|using|with|by|in|down)\b[^\n]{0,80}|\bconverted to (?:gguf|mlx|onnx|ggml|gptq|awq|exl2|openvino|coreml)\b|\bquanti[sz]ed (?:with|using|by|to)\b|\b[2-8][- ]?bit (?:\w+ )?(?:quanti[sz]\w+|gptq|awq|version)\b|"
    r"\bthis repo(?:sitory)? contains (?:\w+ ){0,3}(?:gguf|gptq|awq|ggml|exl2|quanti[sz]ed)|量子化|量化(?:版|模型)|양자화|квантован|квантиз|quantisiert|quantifié|cuantizad|quantizzat|quantizad|(?:\A|\n)#{0,3} ?[\w. -]{2,60}[- ]+(?:gguf|gptq|awq|exl2)\s*\n|"
    r"\b(?:awq|gptq|gguf|exl2|int[48]|fp8)\b \([^()\n]{0,60}\) of\b", re.IGNORECASE)
_SAYS_TUNE = re.compile(
    r"\bfine[\s-]?-?tun(?:ed|e|ing)\b|\bfinetun(?:ed|e|ing)\b|\b(?:instruction|instruct|chat|preference|domain|dpo|rl)[- ]tun(?:ed|ing)\b|\bmodel was trained 2x faster\b|\bwas trained using trl\b|\btrained with (?:\w+ )?(?:sft|dpo|orpo|grpo|kto|ppo|autotrain|axolotl|unsloth)\b|\bcontinu(?:ed|al|ous|ally)\w* (?:\w+-?)? ?(?:pre-?)?train|"
    r"\bfurther (?:pre-?)?train|\bpost-train|微调|微調|精调|ファインチュー|파인튜닝|미세 ?조정|dooбуч|дообуч|файнтюн|feinabgestimm|feinjustier|affin[ée]|ajust(?:e fin|ado|ada)|afinad|fine-tun|addestrat|\btuned on\b|tinh chỉnh|追加学習|継続事前学習|\btrained on top of\b|\bmodel trained using autotrain\b|dilatih|"
    r"\b(?:dpo|sft|orpo|grpo|rlhf)(?:'d)?[- ](?:trained|tuned|version)\b|\btraining (?:hyperparameters|procedure)\b|\bwe trained\b|\bafter (?:dpo|sft|orpo|kto)\b|ince ayar", re.IGNORECASE)
_SAYS_ADAPTER = re.compile(
    r"\b(?:this|these|the|a|an|contains?|is|are|only|provides?|released?)\b[^.\n]{0,50}\b(?:q?lora|dora|peft|ia3|adapter)\b (?:\w+ )?(?:adapters?|weights|model|checkpoint|module|for|of|trained|matrices|finetune of|fine-?tune of|file)\b|\b(?:lora|peft|qlora) (?:adapters?|weights|checkpoint)\b|\badapters? (?:only|weights|for|trained)\b|\badapter[- ]only\b|"
    r"\bload(?:ed)? on top of\b|\bdelta weights\b|\blow-rank adapt|\blora (?:for|of) [A-Z`\[]|适配器|アダプタ|어댑터|LoRA ?(?:权重|模型|重み)|адаптер", re.IGNORECASE)
_SAYS_MERGED_IN = re.compile(r"merged (?:back )?(?:in)?to (?:the )?(?:base|original|full|one)|(?:adapters?|lora|weights) (?:\w+ ){0,4}(?:been |were |was |is |are |and )?merged|merged (?:16|8|fp16|bf16|full|model|weights|adapter|version of the lora)|merge_and_unload\(\)\s*\n[^\n]{0,80}(?:save|push)|full (?:weights|fine-?tune|parameter)|full-parameter", re.IGNORECASE)
_SAYS_MERGE = re.compile(
    r"\bmerge of (?:pre-?trained|the following|two|three|several|\[|`|\*|[A-Z0-9])|\bis a merge\b|\bmodels? merged?\b[^.\n]{0,30}\b(?:using|with|via|method)\b|\bmergekit\b|\blazymergekit\b|\bmerge method\b|\bmerged using\b|\bslerp\b|\bfrankenmerge\b|\bfrankenmoe\b|\bdare[_ -]ties\b|\b(?:a|an|this|experimental) (?:\w+ )?(?:\w+ )?merge (?:of|between|using|model|with)\b|"
    r"\bmodel (?:soup|blend)\b|\bmerging (?:of )?(?:two|three|several|\[|the following)\b|\bmerge between\b|合并模型|マージ(?:モデル|した)|병합", re.IGNORECASE)
_SAYS_BASE = re.compile(
    r"\b(?:pre-?)?trained (?:\w+ )?(?:entirely |completely )?from scratch\b|\bfrom[- ]scratch\b|\bpre-?trained (?:\w+ ){0,4}on (?:\w+ ){0,6}?[\d.,]+ ?(?:t|b|m|trillion|billion|million)\b ?(?:\w+ )?(?:tokens|words|characters)|\b(?:is|are) (?:a |an |the |our )?(?:\w+[ -]){0,4}(?:base|foundation|foundational|pre-?trained) (?:\w+ ){0,3}(?:model|transformer|llm)s?\b|"
    r"\bpre-?trained (?:\w+ ){0,3}(?:model|transformer|encoder|decoder)\b|\bpretrained model on\b|\bbase (?:language )?model,? (?:not|without|and has not)\b|\bpretrain(?:ed|ing) (?:on|corpus|data)\b|从零|從頭|スクラッチ|ゼロから|フルスクラッチ|предобучен\w* с нуля|\bс нуля\b|entrenad\w+ desde cero|entraîné\w* (?:de zéro|from scratch)|von grund auf|"
    r"事前学習モデル|预训练(?:语言)?模型|사전 ?학습", re.IGNORECASE)
_STRONG_BASE = re.compile(r"from[- ]scratch|从零|スクラッチ|с нуля|desde cero|de zéro|von grund auf|처음부터|pre-?trained (?:\w+ ){0,4}on (?:\w+ ){0,6}?[\d.,]+ ?(?:t|b|m|trillion|billion|million)\b|is (?:a |an |the |our )(?:\w+[ -]){0,4}(?:base|foundation|foundational) (?:\w+ ){0,2}(?:model|llm)", re.IGNORECASE)
_NOT_SCRATCH = re.compile(r"(?:rather than|instead of|not|without|unlike|than|versus|vs\.?|avoid\w*|compared (?:to|with)) (?:\w+ ){0,3}\Z", re.IGNORECASE)
_ORIGINAL = re.compile(r"^#{0,6}\W*original (?:model )?(?:card|readme)|^#{1,6}.{0,40}original.{0,20}(?:model card|readme)", re.IGNORECASE | re.MULTILINE)
_HEAD = 6_000
"""Characters of the body in which a card says what it is."""


def read_kind(record: ModelRecord) -> Answer:
    """finetune, adapter, merge, quantized or base; what else speaks for another kind is a rival."""
    found = [*_formal(record), *_by_tags(record), *_by_files(record), *_by_name(record), *_by_text(record)]
    return ranked(_settled(found, record))


def original_card_at(card: Card) -> int:
    """The line on which a copy of the original model's card begins, 0 when there is none."""
    found = _ORIGINAL.search(card.body) if "riginal" in card.body or "RIGINAL" in card.body else None
    return card.start + card.body.count("\n", 0, found.start()) if found else 0


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
    libraries = [(value.lower(), _meta(record.card, *path)) for value, path in record.card.strings("library_name")] + [(record.library.lower(), Evidence("card metadata", f"library_name: {record.library}"))]
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
        yield _said(QUANTIZED, 0.6 if method.startswith("bitsandbytes") else 0.85, Evidence("config.json", f"quantization_config: {method}", "config.json"))
    if any(model_name(value) for value, _ in record.card.strings("base_model")):
        yield _said(FINETUNE, 0.55, _meta(record.card, "base_model"), "a base model is named; nothing says how it was changed")


def _quant_method(record: ModelRecord) -> str:
    settings = record.config.get("quantization_config")
    return str(settings.get("quant_method") or "bitsandbytes" if settings.get("load_in_4bit") else settings.get("quant_method") or "unknown") if isinstance(settings, dict) and settings else ""


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
            yield _said(FINETUNE, 0.74 if tag in ("generated_from_trainer", "trl", "axolotl", "autotrain", "generated_from_keras_callback", "setfit") else 0.62, evidence)
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
        for pattern, kind, confidence in ((_NAMED_QUANT, QUANTIZED, 0.74), (_NAMED_ADAPTER, ADAPTER, 0.6), (_NAMED_MERGE, MERGE, 0.45), (_NAMED_TUNE, FINETUNE, 0.45)):
            found = pattern.search(name.replace(" ", "-"))
            if found:
                yield _said(kind, confidence, Evidence("name", name))


def _by_text(record: ModelRecord) -> Iterator[Candidate]:
    card = record.card
    recipe = merge_recipe(card)
    if recipe is not None:
        yield _said(MERGE, 0.9, recipe.evidence)
    copied = original_card_at(card)
    body = card.body if not copied else "\n".join(card.lines[card.start - 1 : copied - 1])
    head = body[:_HEAD]
    for pattern, kind, confidence in ((_SAYS_QUANT, QUANTIZED, 0.8), (_SAYS_ADAPTER, ADAPTER, 0.72), (_SAYS_MERGE, MERGE, 0.78), (_SAYS_TUNE, FINETUNE, 0.76)):
        found = pattern.search(head)
        if found:
            yield _said(kind, confidence, _at(card, found))
    scratch = next((one for one in _STRONG_BASE.finditer(head) if not _NOT_SCRATCH.search(head[: one.start()][-50:])), None)
    if scratch is not None:
        yield _said(BASE, 0.78, _at(card, scratch))
    else:
        weak = _SAYS_BASE.search(head)
        if weak and not _STRONG_BASE.search(weak.group()):
            yield _said(BASE, 0.55, _at(card, weak))


def _settled(found: list[Candidate], record: ModelRecord) -> list[Candidate]:
    """The candidates after the rules that no single source knows: an adapter, a merge and a quantised copy are also tuned models; a fine-tune of a
    packed model is no packed copy; a model with a base model is none."""
    said = {kind: max((one.confidence for one in found if one.value == kind), default=0.0) for kind in (FINETUNE, ADAPTER, MERGE, QUANTIZED, BASE)}
    trained = any(one.value == FINETUNE and any(entry.kind == "card text" for entry in one.evidence) for one in found)
    # Whoever says it only by a tag, a file or a library's name may as well ship such files beside a model that was trained here.
    packed_words = any(one.value == QUANTIZED and any(entry.kind == "card text" or entry.quote.startswith("quantized_by") for entry in one.evidence) for one in found)
    named_packed = any(one.value == QUANTIZED and any(entry.kind == "name" for entry in one.evidence) for one in found)
    limits: dict[str, float] = {}
    if said[QUANTIZED] < 0.9 and trained and not packed_words and (_own_training(record) or not named_packed):
        limits[QUANTIZED] = 0.45
    if packed_words and (named_packed or not _own_training(record)) or said[QUANTIZED] >= 0.9 or (named_packed and limits.get(QUANTIZED) is None):
        limits |= {FINETUNE: 0.48, MERGE: min(0.6, said[QUANTIZED] - 0.05), ADAPTER: 0.48 if said[ADAPTER] < 0.9 else 0.6, BASE: 0.45}
    elif said[ADAPTER] >= 0.6 and not (said[ADAPTER] < 0.9 and _SAYS_MERGED_IN.search(record.card.body[:_HEAD])):
        limits |= {FINETUNE: min(0.6, said[ADAPTER] - 0.05), BASE: 0.45, MERGE: said[MERGE] if said[MERGE] >= 0.9 and said[ADAPTER] < 0.9 else 0.45}
    elif said[ADAPTER] and said[ADAPTER] < 0.9:
        limits[ADAPTER] = 0.45
    if said[MERGE] >= 0.78 and QUANTIZED not in limits and MERGE not in limits:
        limits |= {FINETUNE: min(0.6, said[MERGE] - 0.05), BASE: 0.4}
    elif MERGE not in limits and said[FINETUNE] > 0.7:
        limits[MERGE] = 0.45
    if said[FINETUNE] >= 0.6 and said[FINETUNE] > said[BASE] - 0.15 or said[FINETUNE] >= 0.55 and said[BASE] <= 0.6:
        limits.setdefault(BASE, 0.45)
    elif said[BASE] >= 0.7:
        limits.setdefault(FINETUNE, 0.5)
    return [Candidate(one.value, round(min(one.confidence, limits.get(one.value, 1.0)), 3), one.evidence, one.note) for one in found]


_OWN_TRAINING = re.compile(r"trained 2x faster|finetuned from model|was trained using trl|training hyperparameters|generated automatically according to the information the trainer|"
                           r"\b(?:we|i) (?:have )?(?:fine-?tuned|trained)|fine-?tuned (?:\w+ )?(?:on|version of|from|for|with|using)", re.IGNORECASE)


def _own_training(record: ModelRecord) -> bool:
    """Whether the card tells of a training that was done for this repository, before any copy of another card."""
    copied = original_card_at(record.card)
    body = record.card.body if not copied else "\n".join(record.card.lines[record.card.start - 1 : copied - 1])
    return _OWN_TRAINING.search(body) is not None


def _said(kind: str, confidence: float, evidence: Evidence, note: str = "") -> Candidate:
    return Candidate(kind, confidence, (evidence,), note)


def _meta(card: Card, *path: str | int) -> Evidence:
    line = card.line(*path) or card.line(path[0])
    return Evidence("card metadata", card.quote(line), card.file, line)


def _at(card: Card, found: re.Match[str]) -> Evidence:
    line = card.start + card.body.count("\n", 0, found.start() + len(found.group()) - len(found.group().lstrip()))
    return Evidence("card text", card.quote(line), card.file, line)
