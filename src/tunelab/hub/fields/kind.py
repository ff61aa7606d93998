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
# Sentences on what this repository is, searched in small letters; the stems decide whether a pattern is tried at all.
_SAYS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = tuple((name, tuple(stems.split("|")), re.compile(pattern)) for name, stems, pattern in (
    (QUANTIZED, "quant|gguf|ggml|gptq|awq|exl2|exl3|-bit|mlx|onnx|openvino|fp8|int8|int4|量化|量子化|양자화|квант|cuantiz",
     r"\b(?:gguf|ggml|gptq|awq|exl[23]|mlx|hqq|fp8|int[48]|imatrix|onnx|openvino|nf4|bnb|w\da\d+)\b[^.\n]{0,50}?\b(?:quant\w*|versions?|model files|models? files|conversions?|weights|export|files?|repo\w*|format\w*)\b[^.\n]{0,30}? (?:of|for|from)\b(?! (?:this|our|it|these|both)\b)|"
     r"\bquanti[sz]ed\b\W{1,3}(?:\w+ ){0,2}(?:versions?|variants?|cop(?:y|ies)|models?|weights|checkpoints?)\b[^.\n]{0,30} (?:of|from|for)\b(?! (?:this|our|it|these|both)\b)|\bquanti[sz](?:ations?|ing) of\b|\b(?:static|weighted|imatrix|llamacpp|llama\.cpp|exl2|gguf|dynamic|i1)[^.\n]{0,20} quants?\b|\bquants? (?:of|for|from)\b|"
     r"\b(?:was|is|were|been|model) (?:\w+ )?(?:quanti[sz]ed|converted) (?:to|from|into|using|with|by|in|down)\b|\b(?:converted|exported) to (?:the )?(?:gguf|mlx|onnx|ggml|gptq|awq|exl2|openvino|coreml)\b|\bquanti[sz]ed (?:with|using|by|to)\b|\bwith (?:onnx|gguf|openvino) weights\b|\A\W*[2-8]-bit (?:\w+ )?quanti|\b[2-8][- ]?bit (?:\w+ )?(?:quanti[sz]\w+|gptq|awq|version)\b|"
     r"\bthis repo(?:sitory)? contains (?:\w+ ){0,3}(?:gguf|gptq|awq|ggml|exl2|quanti[sz]ed)|\bquanti[sz]ation made by\b|(?:\A|\n)[\w.-]{2,80} - (?:gguf|awq|gptq|exl2)\b|gguf(?:形式|へ|に)|量子化(?:した|版|モデル|された)|量化(?:版|模型|后)|양자화(?:한|된|버전| 버전| 모델)|квантован|квантиз|quantisiert|quantifié|cuantizad|quantizzat|quantizad|"
     r"\b(?:awq|gptq|gguf|exl2|int[48]|fp8)\b \([^()\n]{0,60}\) of\b"),
    (FINETUNE, "tun|train|微调|微調|精调|チュー|学習|튜닝|미세|дообуч|тюн|fein|affin|ajust|afin|addestrat|tinh chỉnh|dilatih|ince ayar|after |学习|训练|entren",
     r"\bfine[\s-]?-?tune (?:of|from)\b|\bfinetune (?:of|from)\b|\bfine[\s-]?-?tun(?:ed|ing)\b (?:\w+ )?(?:version|variant|checkpoint|from|on|for|with|using|by|to|of|model\b|via|the |in\b|over|specifically|starting|transformer|llm|bert|gpt|t5|llama)|\bfinetun(?:ed|ing) (?:\w+ )?(?:version|variant|checkpoint|from|on|for|with|using|by|to|of|model\b|via|the )|"
     r"\b(?:we|i|was|is|been|were|and|a|an|then|by|this|the|sft|dpo|full|our|el|le|il|o) (?:\w+ )?(?:fine[\s-]?-?tun(?:ed|ing)|finetun(?:ed|ing))\b(?! (?:versions|variants|models|checkpoints|scripts?|guide|tutorial|notebook|code|task))|\A\W*(?:fine[\s-]?-?tun(?:ed|e|ing)|finetun(?:ed|e|ing)) \S|"
     r"\b(?:instruction|instruct|chat|preference|domain|dpo|rl)[- ](?:fine-?)?tun(?:ed|ing)\b(?! (?:\w+ )?(?:models|versions|variants))|\b(?:abliterated|uncensored|aligned) (?:version|variant)\b|\bmodel was trained 2x faster\b|\bwas trained using trl\b|\btrained with (?:\w+ )?(?:sft|dpo|orpo|grpo|kto|ppo|autotrain|axolotl|unsloth)\b|\bcontinu(?:ed|al|ous|ally|ing)\w* (?:\w+-?)? ?(?:pre-?)?train|"
     r"\bfurther (?:pre-?)?train|\bpost-train|微调|微調|精调|ファインチュー|파인 ?튜닝|미세 ?조정|дообуч|файн-?тюн|feinabgestimm|feinjustier|\baffin[ée]|\bajust(?:e fin|ad[oa])|\bafinad|\baddestrat|\btuned (?:on|from)\b|\btuned (?:it|the)\b|tinh chỉnh|追加学習|継続事前学習|\btrained (?:\w+ )?(?:on top of|off)\b|"
     r"\btrained using autotrain\b|\bdilatih|\b(?:dpo|sft|orpo|grpo|rlhf)(?:'d)?[- ](?:trained|tuned|version)\b|\bafter (?:dpo|sft|orpo|kto)\b|ince ayar|\bfine-?tuned\W*\Z|\bre-?entrenad|\bspecializ\w+ (?:version|variant)"),
    ("tuning", "tun|train|sft|dpo|orpo|grpo|kto|rlhf", r"\bfine[\s-]?-?tun(?:ed|e|es|ing)\b|\bfinetun(?:ed|e|ing)\b|\btraining (?:hyperparameters|procedure)\b|\b(?:sft|dpo|orpo|grpo|kto|rlhf)\b|fine[ -]tunn"),
    (ADAPTER, "lora|adapter|peft|dora|delta|low-rank|适配|アダプタ|어댑터|адаптер|load",
     r"\b(?:this|these|the|a|an|contains?|is|are|only|provides?|released?)\b[^.\n]{0,50}\b(?:q?lora|dora|peft|ia3|adapter)\b (?:\w+ )?(?:adapters?|weights|model|checkpoint|module|for|of|trained|matrices|finetune of|fine-?tune of|file)\b|\b(?:lora|peft|qlora) (?:adapters?|weights|checkpoint)\b|\badapters? (?:only|weights|for|trained)\b|\badapter[- ]only\b|"
     r"\bload(?:ed)? on top of\b|\bdelta weights\b|\blow-rank adapt|\blora (?:for|of|that|which) (?:\w|`|\[)|适配器|アダプタ|어댑터|\bpeft:? v?\d+\.\d|\badapter_(?:config|model)\b|lora ?(?:权重|模型|重み|어댑터)|адаптер"),
    (MERGE, "merg|slerp|soup|ties|blend|合并|マージ|병합|frankenm",
     r"\bmerge of (?:pre-?trained|the following|two|three|several|\[|`|\*|\w+[-/\d])|\bis a merge\b|\bmodels? merged?\b[^.\n]{0,30}\b(?:using|with|via|method)\b|\bmergekit\b|\blazymergekit\b|\bmerge method\b|\bmerged using\b|\bslerp\b|\bfrankenmerge\b|\bfrankenmoe\b|\bdare[_ -]ties\b|\b(?:a|an|this|experimental) (?:\w+ )?(?:\w+ )?merge (?:of|between|using|model|with)\b|"
     r"\bmodel (?:soup|blend)\b|\bmerging (?:of )?(?:two|three|several|\[|the following)\b|\bmerge between\b|合并模型|マージ(?:モデル|した)|병합 ?(?:한 )?모델|모델 ?병합|\bblend of\b"),
    ("scratch", "scratch|从零|スクラッチ|нуля|cero|zéro|grund auf|처음부터|pre|token|foundation|base|trillion|billion",
     r"\bfrom[- ]scratch\b|从零|スクラッチ|с нуля|desde cero|de zéro|von grund auf|처음부터|\bpre-?trained (?:\w+ ){0,4}on (?:\w+ ){0,6}?[\d.,]+ ?(?:t|b|m|trillion|billion|million)\b|\bis (?:a |an |the |our )(?:[\w.]+[ -]){0,4}(?:base|foundation|foundational) (?:\w+ ){0,2}(?:model|llm)|\bcontains the base (?:[\w.]+ ){0,3}model\b|\btraining stage\W+pretraining\s*\Z|\btrained on [\d.,]+ ?(?:t|trillion|billion|b) tokens\b"),
    (BASE, "pre|base|事前学習|预训练|사전|предобуч|foundation",
     r"\b(?:is|are) (?:a |an |the |our )?(?:\w+[ -]){0,4}pre-?trained (?:\w+ ){0,3}(?:model|transformer|llm)s?\b|\bpre-?trained (?:\w+ ){0,3}(?:model|transformer|encoder|decoder)s?\b|\bpretrained model on\b|\bbase (?:language )?model,? (?:not|without|and has not)\b|\bpretrain(?:ed|ing) (?:on|corpus|data)\b|\bpre-?trained\b.{0,60}\b(?:corpus|wikipedia)\b|事前学習モデル|预训练(?:语言)?模型|사전 ?학습"),
    ("made from", "base|based|built|основ|基于|基於|ベース|기반|basiert|basé|basad|basead|basat|initiali|version of|利用|taban",
     r"\bbased (?:up)?on\b|\bbase model\s*[:|]|\bbuilt (?:up)?on\b|основан\w* на|на основе|基于|基於|ベース|기반|\bbasiert auf|\bbasée? sur|\bbasad[oa] en|\bbasead[oa] |\bbasat[oa] |\binitiali[sz]ed|を利用|tabanlı|\bwas trained on\b"),
    ("merged in", "merged|full|merge_and",
     r"merged (?:back )?(?:in)?to (?:the )?(?:base|original|full|one)|(?:adapters?|lora|weights) (?:\w+ ){0,4}(?:been |were |was |is |are |and )?merged|merged (?:lora|16|8|fp16|bf16|full|model|weights|adapter|version of the lora)|\bfull (?:weights|fine-?tune|parameter)|full-parameter"),
    ("own training", "train|tun|дообуч|微调|チュー|튜닝",
     r"trained 2x faster|finetuned from model|was trained using trl|training hyperparameters|generated automatically according to the information the trainer|\b(?:we|i) (?:have )?(?:fine-?tuned|trained)|fine-?tuned (?:\w+ )?(?:on|version of|from|for|with|using)"),
))
# What stands before such words when they speak of another thing.
_NOT_SO = {
    "scratch": re.compile(r"(?:rather than|instead of|not|without|unlike|than|versus|vs\.?|avoid\w*|compared (?:to|with)|against)\W{1,3}(?:\w+ ){0,3}\Z"),
    "tuning": re.compile(r"(?:\bnot|n['’]t|\bto|\bbe|\bfor|\bcan)\W{1,3}(?:been |be )?\Z"),
    FINETUNE: re.compile(r"(?:\bcan be|\bbe|\bto|\bfor|\bcould be|\bdownstream|specific|\bnot|n['’]t|\bwithout|\bbefore|\bwhen|\bif|\byou|\bany|\byour|\bafter|\bbeing|\bduring|\beasy|\bsupports?|\brequires?|\bhow to|\bsuitable|\bslm|\bother|in need of|require\w*|need\w*)\W{1,3}(?:(?:be|been|further|easily|efficient|it|this|\w+-\w+)\W)?\Z"),
    QUANTIZED: re.compile(r"(?:available|you (?:can|may)|\bif you|would like|\bsee\b|\bother|\balso|find|looking|provided? by|thanks|\bwant|links?\b|here\b|can be|could be|\bbe\b|you'd|\bq?lora\b|train\w*|tun(?:ed|e|ing)|load(?:ed|ing)?|base model)[^.\n]{0,50}\Z"),
}
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
        yield _said(FINETUNE, 0.66, _meta(record.card, "base_model"), "a base model is named; nothing says how it was changed")


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
        for name, stems, pattern in _SAYS:
            if name in found or (length > _HEAD and name not in _ANYWHERE):
                continue
            for stem in stems:
                if stem in low:
                    not_so = _NOT_SO.get(name)
                    hit = next((one for one in pattern.finditer(low) if not_so is None or not not_so.search(low[max(0, one.start() - 60) : one.start()])), None)
                    if hit:
                        line = min(block.line + low.count("\n", 0, hit.start()), block.end)
                        found[name] = Evidence("card text", card.quote(line), card.file, line)
                    break
        length += len(low)
    return found


def _settled(found: list[Candidate], words: Mapping[str, Evidence]) -> list[Candidate]:
    """The candidates after the rules that no single source knows: an adapter, a merge and a quantised copy are also tuned models, so that the
    narrower word wins; and a fine-tune that ships packed files, or sits on a packed model, is no packed copy."""
    said = {kind: max((one.confidence for one in found if one.value == kind), default=0.0) for kind in (FINETUNE, ADAPTER, MERGE, QUANTIZED, BASE)}
    trained_here = "own training" in words
    named_packed = any(one.value == QUANTIZED and one.evidence[0].kind == "name" for one in found)
    limits: dict[str, float] = {}
    if said[QUANTIZED] >= 0.9 or (QUANTIZED in words and (named_packed or not trained_here)) or (said[QUANTIZED] and not trained_here and FINETUNE not in words) \
            or (said[QUANTIZED] >= 0.74 and not trained_here):
        limits = {FINETUNE: 0.48, MERGE: 0.48, ADAPTER: 0.48, BASE: 0.45} if said[ADAPTER] < 0.9 else {FINETUNE: 0.48, QUANTIZED: 0.48}
    elif said[ADAPTER] >= 0.9 or (said[ADAPTER] >= 0.6 and "merged in" not in words and said[MERGE] < 0.9):
        limits = {FINETUNE: min(0.6, said[ADAPTER] - 0.05), BASE: 0.45, MERGE: 0.45, QUANTIZED: 0.45}
    elif said[MERGE] >= 0.78:
        limits = {FINETUNE: 0.6, BASE: 0.4, ADAPTER: 0.45, QUANTIZED: 0.45}
    elif said[FINETUNE]:
        limits = {QUANTIZED: 0.45, ADAPTER: 0.45, MERGE: 0.45 if said[FINETUNE] > 0.7 else 0.5}
        limits |= {BASE: 0.45} if said[FINETUNE] >= 0.62 and said[FINETUNE] >= said[BASE] - 0.15 else {FINETUNE: 0.5} if said[BASE] else {}
    return [Candidate(one.value, round(min(one.confidence, limits.get(one.value, 1.0)), 3), one.evidence, one.note) for one in found]


def _said(kind: str, confidence: float, evidence: Evidence, note: str = "") -> Candidate:
    return Candidate(kind, confidence, (evidence,), note)


def _meta(card: Card, *path: str | int) -> Evidence:
    line = card.line(*path) or card.line(path[0])
    return Evidence("card metadata", card.quote(line), card.file, line)
