"""What the sentences, labelled lines and tables of a card say of the model it was made from. Only words about the model itself count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tunelab.hub.card import Block, Card
from tunelab.hub.evidence import Evidence
from tunelab.hub.mentions import FlatText, Mention, flat, mention_before, mentions_after
from tunelab.hub.model_names import is_model_like, model_name

Where = Literal["after", "before", "many"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence's word on the model's origin. `about`: the other model that the sentence speaks of ("" or this model); `relative`: it is
    said in a clause on that other model ("X, which is a fine-tune of Y")."""

    value: str
    confidence: float
    evidence: Evidence
    about: str = ""
    relative: bool = False
    is_id: bool = False
    cue: str = ""


@dataclass(frozen=True, slots=True)
class _Cue:
    """`stems`: one of them must be in the small-lettered text before the pattern is tried. `strong`: an unknown name behind it counts."""

    name: str
    stems: tuple[str, ...]
    pattern: re.Pattern[str]
    where: Where
    confidence: float
    strong: bool = True
    gap: int = 6

    @property
    def of_other_scripts(self) -> bool:
        """It is of a language that is not written in ASCII."""
        return self.name in ("zh", "zh of", "ja", "ja prior", "ko", "ru uk", "tr fi hu hi")


def _cue(name: str, stems: str, pattern: str, where: Where, confidence: float, *, strong: bool = True, gap: int = 6) -> _Cue:
    return _Cue(name, tuple(stems.split("|")), re.compile(pattern, re.IGNORECASE), where, confidence, strong, gap)


_TUNE = r"(?:re-?)?fine[\s-]?-?tunn?(?:ed|e|ing|es)|finetunn?(?:ed|e|ing|es)"
_OUT_OF = r"(?:from|of|over|off(?: of)?|atop|(?:up)?on top of|starting from)"
_ROLE = r"(?:base|foundation|foundational|backbone|starting point|starting checkpoint|underlying model|pre-?trained model|initiali[sz]ation|parent|sentence transformer(?: embedding)?(?: model| body)?|embedding model|language model backbone|text encoder)"
_CUES = (
    _cue("version", "version|variant|derivative|edition|checkpoint|conversion|export|port|upload|clone|copy|fork|replica|extension",
         r"\b(?:version|variant|derivative|edition|checkpoint|conversion|export|port|re-?upload|clone|copy|fork|replica|extension)s?\)?(?: model)? (?:of|from|for)\b", "after", 0.9),
    _cue("tuned from", "tun", rf"\b(?:{_TUNE}|[\w-]{{0,20}}tuned)(?: (?:model|version|variant|checkpoint|adapter))?,? {_OUT_OF}\b", "after", 0.9),
    _cue("tuned on", "tun", rf"\b(?:{_TUNE}|tuned) on\b", "after", 0.66, strong=False, gap=4),
    _cue("tuned with", "tun", rf"\b(?:{_TUNE}) (?:using|with|via|based on|utili[sz]ing|version based on)\b", "after", 0.7, strong=False, gap=5),
    _cue("tuning", "tun", rf"\b(?:{_TUNE}|instruct(?:ion)?-tun(?:ed|ing)) (?!on\b|using\b|with\b|for\b|to\b|from\b|of\b|in\b|via\b|by\b|version\b|model\b|and\b)", "after", 0.72, strong=False, gap=5),
    _cue("method of", "sft|dpo|orpo|grpo|kto|rlhf|ppo|under the hood", r"\b(?:sft|dpo|orpo|grpo|kto|rlhf|ppo)(?:['’]?e?d\b|(?: training| fine-?tun\w+)? (?:of|from|over|on top of)\b)|\bunder the hood\b", "after", 0.7, strong=False, gap=4),
    _cue("took", "took|take|taking|start", r"\b(?:we|i|by) (?:took|take|taking|start(?:ed)? (?:from|with)|starting (?:from|with))\b", "after", 0.7, strong=False),
    _cue("used the", "use|using", r"\b(?:uses?|used|using|employ(?:s|ed)?|leverag(?:es|ed|ing)) (?:the |a |an )?(?:pre-?trained|base|original|public(?:ly available)?|open(?:-source)?)(?: (?:model|weights|checkpoint)(?: of| from)?)?", "after", 0.62, strong=False, gap=3),
    _cue("trained from", "train", r"\b(?:trained|retrained|training)(?: \w+)? (?:from|on top of|off(?: of)?|over|starting (?:from|with)|based on|upon)\b", "after", 0.8, strong=False),
    _cue("trained the", "train", r"\b(?:train(?:ed|ing)?|adapt(?:ed|ing)?|align(?:ed|ing)?|distill(?:ed|ing)?) (?:a |an )?(?:lora|qlora|adapter)s?\b.{0,40}? (?:on|for|of|over|to|onto)\b",
         "after", 0.7, strong=False),
    _cue("trained on", "train", r"\btrained (?:on|against|over)\b(?: top of)?", "after", 0.6, strong=False, gap=2),
    _cue("adapts", "adapts|adapting", r"\badapt(?:s|ing)\b", "after", 0.62, strong=False, gap=2),
    _cue("with weights", "weights", r"\bwith (?:onnx|gguf|openvino|mlx|tflite|core ?ml|safetensors) weights\b", "before", 0.9),
    _cue("continued", "train", r"\b(?:continu(?:al|ed|ing|ous|ally)(?:ly)?|further|domain[- ]adaptive|additional(?:ly)?)[ -](?:\w+ )?(?:pre-?|post-?)?train(?:ed|ing)?\b(?: (?:of|from|on|using|with|over))?", "after", 0.78, strong=False),
    _cue("post-trained", "post-train|posttrain", r"\bpost-?train(?:ed|ing)?(?: (?:of|from|on|version of))?", "after", 0.75, strong=False),
    _cue("based on", "based|basis|build|built|derive|develop|construct", r"(?<!not )\b(?:based(?: up)?[ -]?on|based off(?: of)?|on the basis of|(?:built|build|builds|building|constructed|developed)(?: (?:directly|entirely|on top|up))? ?(?:up)?(?:on top of|on|from|atop)|"
         r"deriv(?:ed|es|ative) (?:from|of)|derived work of)\b", "after", 0.8),
    _cue("on top of", "on top of|atop|apply", r"\bappl(?:y|ied) (?:it|them|this|these)(?: \w+)? (?:to|on|onto)\b|\b(?:load(?:ed)?|appl(?:y|ied)|used?|sits?|runs?|stack(?:ed)?|works?|plugs?)?(?: it)? ?(?:on top of|atop)\b", "after", 0.75, strong=False),
    _cue("initialised", "initial|warm|resum|start", r"\b(?:initiali[sz](?:ed|ing|ation)|warm-?start(?:ed|ing)?|start(?:ed|ing|s)|resum(?:ed|ing))(?: \w+)?(?: (?:from|with|using|off))\b", "after", 0.8, strong=False),
    _cue("adapter for", "lora|adapter|peft|delta", r"\b(?:q?lora|dora|ia3|peft|adapters?|delta weights|deltas?)(?: (?:weights?|adapters?|adaption|adaptation|model|module|checkpoint|fine-?tune|finetune|matrices|file)s?)*(?: (?:trained|made|built|designed|intended))? (?:for|of|on|to|over)\b",
         "after", 0.78, strong=False),
    _cue("quant of", "quant|gguf|gptq|awq|exl2|exl3|imatrix|ggml|-bit|bit |mlx|onnx|fp8|int8|int4|nf4|bpw|openvino|hqq|coreml|core ml|tflite|litert|ctranslate2|tensorrt|executorch|ncnn",
         r"\b(?:quants?|quanti[sz](?:ed|ation|ations|ing)|gguf|ggml|gptq|awq|exl[23]|imatrix|mlx|onnx|openvino|core ?ml|tflite|litert|ctranslate2|tensorrt|executorch|ncnn|hqq|fp8|int[48]|nf4|bnb|bpw|[2-8][- ]?bits?)\b\)?(?:,? (?:\([^()]{0,60}\)|[\w.-]+(?=,? )(?<! of)(?<! for)(?<! from)(?<! on))){0,5},? (?:of|for|from)\b",
         "after", 0.82, strong=True),
    _cue("converted", "convert|export", r"\b(?:converted|exported|conversion)\b(?: (?!from\b|of\b)[\w./-]+){0,5} (?:from|of)\b", "after", 0.9),
    _cue("was converted", "convert|quantiz|quantis|export", r"\b(?:was|is|has been|were) (?:converted|quanti[sz]ed|exported)\b", "before", 0.8),
    _cue("converted to", "convert|export|quanti|ported|packaged|compiled", r"\b(?:converted|exported|quanti[sz]ed|ported|packaged|compiled) (?:to|into|for|with|in|using|as)\b", "before", 0.72, strong=False),
    _cue("quantised the", "quanti", r"\bquanti[sz](?:ed|ing|es)\b(?: (?:the|from|version of))*", "after", 0.75, strong=False, gap=1),
    _cue("original", "original|source", r"\b(?:original|source|upstream|unquantized|full)(?: (?:\w+ ){0,2}(?:model|repo|repository|weights|checkpoint|version|card))?s?\b(?: (?:is|are|can be found|available|at|here|by|from|see|found|on|:)){0,4}", "after", 0.5, strong=False, gap=3),
    _cue("same as", "same as|re-?upload|identical", r"\b(?:same as|identical to|re-?upload of)\b", "after", 0.55, strong=False, gap=3),
    _cue("merge of", "merg|blend|mix of|combin|fus|moe|mixture", r"\b(?:merg(?:e|ed|es|ing)|blend|frankenmerge|mix|mixture|fusion|combin(?:es|ation|ed|ing)|composed|made)\b(?: \w+){0,3}? ?(?:of|between|from|with|using)?\b(?= )", "many", 0.74, strong=False),
    _cue("as base", "base|foundation|backbone|starting|underlying|pretrained|pre-trained|initial|embedding model|encoder", rf"\bas (?:the |its |our |a |an |my |their )?(?:[\w-]+ )?{_ROLE}\b", "before", 0.85),
    _cue("base is", "base model|foundation model|backbone|base llm|base checkpoint|parent model|pretrained model|pre-trained model|source model|original model|underlying model|base language model|starting point|base version",
         r"\b(?:base|foundation|backbone|parent|pre-?trained|source|original|underlying|starting)(?: (?:language|pre-?trained))? ?(?:model|llm|checkpoint|network|point)?s?(?: we used| used| here| for (?:this|the) (?:model|fine-?tun\w+|adapter|project))?(?: (?:is|was)(?: the)?| ?[:=]|,? ?\()",
         "after", 0.82),
    _cue("uses as", "use|using|employ|leverag|adopt", r"\b(?:uses?|using|used|employ(?:s|ed|ing)?|adopt(?:s|ed|ing)?|leverag(?:es|ed|ing))\b(?= .{1,90}?\bas (?:the |its |our |a |an |my )?(?:[\w-]+ )?(?:base|backbone|foundation|starting|underlying|initial))",
         "after", 0.85),
    _cue("x tuned", "tun", rf"[\s,(\ue001]?\b(?:{_TUNE}|instruction-tuned|instruct-tuned|tuned)(?: (?:model|version|variant|further|again|specifically)| \([^()]{{0,40}}\))? (?:on|for|with|to|using|via|specifically|by|in|over|as)\b", "before", 0.74, strong=False),
    _cue("x trained", "train|after|adapt", r"\b(?:(?:further |post-|re)?trained (?:further |specifically )?(?:on|with|to|using|via|for)|after (?:dpo|sft|orpo|kto|rlhf|grpo|ppo|supervised)|adapted (?:to|for)|aligned (?:with|using|via|to))\b", "before", 0.56, strong=False),
    _cue("x lora", "lora|finetune|fine-tune|adapter|quant|gguf", r"\b(?:q?lora|fine-?tune|adapter|finetune)s?\b(?! (?:of|from|on|the|our|your))", "before", 0.56, strong=False),
    _cue("x-based", "-based", r"-based\b", "before", 0.5, strong=False),
    # other languages
    _cue("zh", "基于|基於|微调|微調|基座|底座|基础上|基礎上|训练|訓練|骨干|量化|预训练模型|基底", r"(?:基于|基於|采用|採用|使用|利用|在|以|对|對|由|将|從|从|依托|通过对|选用)\s*", "after", 0.62, strong=False, gap=2),
    _cue("zh of", "微调版|微調版|量化版|衍生|改进版", r"(?:是|为|為)\s*", "after", 0.6, strong=False, gap=1),
    _cue("ja", "ベース|ファインチューニング|ファインチューン|事前学習|追加学習|継続|元に|もとに|微調整|量子化|変換|利用|初期値|学習させ|チューニング",
         r"\s*(?:モデル)?(?:を|の|に|から|で|に対し)(?:日本語|独自|データ|\w{0,12})?(?:ベース|ファインチューニング|ファインチューン|fine-?tun\w*|元に|もとに|微調整|追加|継続|量子化|変換|利用|初期値|qlora|lora|sft|dpo|チューニング|事前学習|学習)", "before", 0.72, strong=False),
    _cue("ja prior", "ベースモデル|事前学習済み|ベースとなる|元となる|元モデル", r"(?:ベースモデル|ベースとなるモデル|事前学習済みモデル|元モデル|学習済みモデル)(?:として|は|には|に|：|:|とした)?\s*", "after", 0.82, strong=False, gap=2),
    _cue("ko", "기반|미세|파인튜닝|베이스|fine-tun|finetun|학습|양자화|튜닝|추가", r"\s*(?:모델|model)?(?:을|를|의|에|로|에서|에 대해)?\s?(?:기반|베이스|바탕|미세|파인 ?튜닝|fine-?tun\w*|양자화|튜닝|백본|추가 ?학습|사용)", "before", 0.72, strong=False),
    _cue("de", "basier|basis|feinabgestimm|feinjustier|angepasst|aufbau|getun|weitertrain|trainiert|grundlage|nachtrainiert|feintun",
         r"\b(?:basier(?:t|end)(?:es|e|en|er)? auf|auf (?:der )?(?:basis|grundlage) (?:von|des|der)|aufbauend auf|baut auf|(?:feinabgestimmte?|feinjustierte?|angepasste?|quantisierte?|nachtrainierte?|\w*trainierte?|\w*getunte?|spezialisierte?|fine-?tuned)\S* (?:version|variante|fassung) (?:von|des|der)|fine-?tuning (?:von|des)|feinabstimmung (?:von|des)|"
         r"feinabgestimmt (?:von|aus)|(?:weiter|nach)training (?:von|des))\b", "after", 0.8, gap=7),
    _cue("fr", "basé|affin|fine-tun|partir d|construit|version|ajust|entraîn|dérivé|repose|s'appuie", r"(?:\bbasée?s? sur|\bà partir d[eu']|\bconstruite? sur|\brepose sur|\bs['’]appuie sur|\bdérivée? d[eu']|"
         r"\b(?:version|variante) (?:[\wé-]+ ){0,3}(?:de|du|d')|\b(?:affin|fine-?tun|ajust|spécialis)\w*(?: fin)? (?:de|du|d'|depuis|à partir d[eu']))\s?", "after", 0.78, gap=7),
    _cue("es pt it ca", "basad|basead|basat|afinad|ajust|fine-tun|versi|vers|partir d|entrenad|treinad|addestrat|constru|costruit|deriva|sobre",
         r"\b(?:basad[oa]s? en|basead[oa]s? (?:em|no|na)|basat[oaie] (?:su\w*|en)|con base en|com base (?:em|no|na)|a partir d(?:e|el|o|a|al)|a partire da\w*|construid[oa] (?:sobre|en)|constru[ií]d[oa] (?:sobre|em)|costruit[oa] su\w*|"
         r"(?:versi[óo]n|vers[ãa]o|versione|versió) (?:[\w-]+ ){0,3}(?:de|del|do|da|di|dei|dello|della)|(?:ajuste|ajust|afina)\w*(?: fin[oa])? (?:de|del|do|da|di)|fine-?tun\w* (?:de|del|do|da|di|sobre|su|em)|derivad[oa] d[eo]|(?:re)?entrenad[oa] sobre)\b", "after", 0.78, gap=7),
    _cue("ru uk", "основ|базе|базі|дообуч|файнтюн|файн-тюн|верси|версі|обуч|донавч|fine-tun|квант|тюн",
         r"(?:основан\w* на|на основе|на основі|на базе|на базі|дообучен\w*|донавчен\w*|дообучени\w*|файн-?тюн\w*|fine-?tun\w*|обучен\w* поверх|поверх|(?:квантован\w*|квантизованн\w*|дообученн\w*|тюн\w*|сжат\w*|адаптированн\w*) (?:верси\w+|версі\w+|вариант\w*)|из модели|на модели|верси\w+ модели|производн\w* от|инициализир\w*)\s*", "after", 0.76, strong=False, gap=5),
    _cue("other", "gebaseerd|baserad|baseret|basert|oparty|oparta|bazuje|založen|bazat|dựa trên|tinh chỉnh|berbasis|berdasarkan|dilatih|tabanlı|temel|ince ayar|üzerine|مبني|يعتمد|استناد|based|بر پایه|مبتنی|zasnov|perustu|hienosää|alapul",
         r"(?:gebaseerd op|(?:baserad|baseret|basert) på|opart[yaeo] (?:na|o)|bazuje na|založen\w* na|bazat[ă]? pe|dựa trên|(?:được )?tinh chỉnh (?:từ|trên|dựa trên)|phát triển từ|berbasis|berdasarkan|(?:dilatih|dibangun|di-fine-tune) (?:dari|di atas)|fine-?tun\w* (?:dari|từ|van|av|af)|versi(?:on|ja|one)? .{0,30}?(?:dari|van|av)|"
         r"مبني(?:ة)? على|يعتمد على|تعتمد على|بناءً على|(?:نسخة )?مدربة? من|تم تدريبه على|بر پایه|مبتنی بر|zasnovan na|perustuu|alapul)\s*", "after", 0.76, strong=False),
    _cue("tr fi hu hi", "taban|temel alın|temeli|ince ayar|üzerin|hienosää|alapul|pohjau|आधारित|फाइन|পর|आधार", r"(?:'?\w{0,4})?\s*(?:modeli\w*)?\s?(?:tabanlı|temel alınarak|temel(?:li|inde)|üzerin[ed]e?|ince ayar|hienosäädetty|pohjautuu|alapuló|पर आधारित|का फाइन|को फाइन|पर फाइन)", "before", 0.7, strong=False),
)
_LABEL = (r"(?:the )?(?:(?:base|foundation|parent|backbone|source|original|underlying|pre-?trained|starting|initial|init)[ _-]?(?:pre-?trained |language |pretrained_)?(?:model|llm|checkpoint|weights|network)s?(?:\(s\))?"
          r"(?:[ _](?:name|id|used|path|name_or_path|checkpoint|architecture|link))?|model base|base|backbones?|pre-?trained(?: from| weights)?|base architecture|language model|sentence transformer body|(?:model )?fine-?tuned (?:from|of)(?: the)?(?: (?:base |pre-?trained )?(?:model|checkpoint)s?)?|derived from|built (?:on|from)|based on|parent|quanti[sz]ed from|converted from|"
          r"基座模型|基础模型|基礎模型|底座模型|基底模型|基座|底座|预训练模型|骨干模型|主干|ベースモデル|元モデル|ベース|事前学習済みモデル|베이스 ?모델|기반 ?모델|기본 ?모델|백본(?: ?모델)?|원본 ?모델|basis-?modell?|grundmodell|ausgangsmodell|modèle de base|modèle pré-entraîné|modelo (?:de )?base|modello (?:di )?base|"
          r"model de bază|базовая модель|исходная модель|базова модель|temel model|mô hình (?:gốc|cơ sở|nền)|model dasar|basmodell|grunnmodell|basismodel|model bazowy|základní model|perusmalli|النموذج الأساسي|مدل پایه|आधार मॉडल)")
_LABELLED = re.compile(rf"[^\w\ue000]{{0,10}}(?:\d[.)] )?(?:训练|使用的?|所用)?{_LABEL}\s{{0,3}}(?:\[[^\[\]]{{0,80}}\]\s{{0,3}})?(?:\([^()]{{0,60}}\)\s{{0,3}})?[^\S\n]{{0,3}}(?:(?::|：|=|\||–|—|->|→| - )[\s:|*]{{0,6}}(?=\S)|\s(?=\ue000))", re.IGNORECASE)
_OF_COPY = re.compile(r"\W{0,10}(?:original|source|quanti[sz]ed from|converted from|parent)", re.IGNORECASE)
_LABEL_ONLY = re.compile(rf"\W{{0,6}}{_LABEL}\W{{0,4}}\Z", re.IGNORECASE)
_LABEL_STEMS = ("base", "tun", "model", "parent", "from", "基座", "基础", "基礎", "底座", "基底", "预训练", "骨干", "主干", "ベース", "元モデル", "事前学習", "베이스", "기반", "기본", "백본", "원본", "basis", "grund", "базов", "исходн",
                "temel", "mô hình", "basmodel", "základní", "perus", "الأساسي", "پایه", "आधार")
_STEMS = tuple(dict.fromkeys((*(stem for cue in _CUES for stem in cue.stems), *_LABEL_STEMS)))
_ASCII_STEMS = tuple(stem for stem in _STEMS if stem.isascii())
_CUES_OF = {stem: tuple(number for number, cue in enumerate(_CUES) if stem in cue.stems) for stem in _STEMS}
# Words that make "version of" a word on this model's making.
_MADE = re.compile(r"clone|port\b|conver|export|replica|fork|tun|train|adapt|align|quant|gguf|gptq|awq|exl\d|\dbit|-bit|bit\b|lora|uncensor|abliterat|instruct|chat|merg|convert|onnx|mlx|openvino|prun|compress|shard|optimi|dpo|orpo|rlhf|sft|speciali|"
                   r"compatible|cpp|extend|fp16|fp8|int[48]|modif|improv|enhanc|upload|copy|dequant|16k|32k|100k|\dk\b|custom|ablit|refin|half|decensor|stripped|format|imatrix|updated|pretrain", re.IGNORECASE)
_SMALLER = re.compile(r"distill|smaller|lite|compact|larger|bigger|trimmed|reduced|port|extension|japanese|german|french|korean|chinese|multilingual|personal|this (?:is|model)", re.IGNORECASE)
_QUIET = re.compile(r"citation|cite|bibtex|licen[sc]e|acknowledg|related|other models|see also|model (?:family|zoo|variants|list|versions|comparison)|references|compar|leaderboard|credits|thanks|links|引用|致谢|谢辞|謝辞|ライセンス|许可", re.IGNORECASE)
_QUIETER = re.compile(r"evaluat|benchmark|results?\b|performance|faq|news|changelog|updates?\b|评测|评估|評価|性能", re.IGNORECASE)
_ORIGINAL = re.compile(r"original\b.{0,40}\b(?:model card|readme|card|description|repo)|(?:model card|readme) (?:of|from|for) the original|^original (?:model )?card", re.IGNORECASE)
_OTHER_SUBJECT = re.compile(r"(?:tokeni[sz]er|template|format|code|codebase|datasets?|data|scripts?|vocabulary|evaluations?|benchmarks?|papers?|blog|notebook|configs?|pipeline|prompts?|metrics?|library|framework|results?|"
                            r"scores?|embeddings?|reward model|teacher|judge|captions?|answers|questions|responses|labels|demo|license|judged|evaluated|trainer|implementation|recipe|approach|method)s?,? (?:(?:which|that) )?(?:is|was|are|were|has been|have been)?\s?(?:\w+ly )?(?:generated |created |produced |written )?\Z", re.IGNORECASE)
_COMPARED = re.compile(r"outperform|better than|worse than|compared (?:to|with)|unlike|baseline|surpass|similar to|versus|\bvs\b|rather than|instead of|inspired by|in contrast|superior|comparable|\blike\b|such as|other (?:models|works)|see also|also available|alternatives?|より", re.IGNORECASE)
_POSSIBLE = re.compile(r"\b(?:can|could|may|to|will|should) (?:also )?be\b|\byou (?:can|may|could)\b|\bfuture\b|\bplan(?:s|ning)? to\b|\bfeel free\b", re.IGNORECASE)
_OF_TUNING = frozenset({"tuned from", "tuned on", "tuned with", "tuning", "x tuned", "x trained", "trained from", "merge of"})
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\ue000\"'(\[*\d«À-Þ])|[。！？؟।]|\n\s*\n|\n(?=\s*[-*|#>\d])")
_SENTENCE_OR_LINE = re.compile(_SENTENCE.pattern + r"|\n")
_RELATIVE = re.compile(r"(?:,|\()?\s?\b(?:which|that|itself|who|in turn|und das|qui est|que es)\b[^.;]{0,40}\Z", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\ue000(\d+)\ue001")
_LISTS_PARENTS = re.compile(r"(?:models?|parents|ingredients|components|constituents?|donors?)\b[^.]{0,60}(?:merg|used|included|blend|mix|combin)[^.]{0,60}[:：]?\s*\Z|(?:merge|blend|mix|merging|combination) (?:\w+ ){0,3}(?:of|between|from)[^.]{0,40}[:：]\s*\Z|"
                            r"\bmodels merged\b|merged models|(?:merge|recipe|merging)[^.\n]{0,40}[:：]\s*\Z|マージ[^。]{0,20}[:：]?\s*\Z", re.IGNORECASE)
_SCRATCH = re.compile(r"from scratch|from random|ground up", re.IGNORECASE)


def read_claims(card: Card, *, packed: bool, merged: bool) -> list[Claim]:
    """All that the card's text says, in its order. `packed`: it is a quantised copy, so that what follows "Original model card" speaks of
    another model; `merged`: enumerations of parents are expected."""
    found: list[Claim] = []
    weight, listing = 1.0, False
    for block in card.blocks:
        if block.kind == "heading" and is_original_card(block.text):
            weight = 0.35 if packed else 0.6
        if listing and block.kind == "item":
            found += _scaled(_listed(card, block), weight)
            continue
        listing = merged and _LISTS_PARENTS.search(block.text[-200:]) is not None
        factor = weight * _weight_of_section(block)
        if block.kind == "table":
            found += _scaled(_of_table(card, block), factor)
        elif block.kind != "fence" and len(block.text) < 20_000:
            low = block.text.lower()
            stems = [stem for stem in (_ASCII_STEMS if low.isascii() else _STEMS) if stem in low]
            if stems:
                found += _scaled(_of_text(card, block, stems, merged), factor)
            if block.headings and block.kind != "heading" and len(block.text) < 300 and _LABEL_ONLY.match(block.headings[-1]):
                found += _scaled(_under_label(card, block, merged), weight)
    return found


def is_original_card(heading: str) -> bool:
    """Whether a heading says that a copy of the original model's card follows."""
    return "riginal" in heading.lower() and _ORIGINAL.search(heading) is not None


def _weight_of_section(block: Block) -> float:
    for heading in block.headings[1:] or (block.headings if block.kind != "heading" else ()):
        if _QUIET.search(heading):
            return 0.5
        if _QUIETER.search(heading):
            return 0.76
    return 1.0


def _scaled(claims: Iterator[Claim], factor: float) -> list[Claim]:
    if factor == 1.0:
        return list(claims)
    return [replace(one, confidence=round(one.confidence * factor, 3)) for one in claims]


def _of_text(card: Card, block: Block, stems: list[str], merged: bool) -> Iterator[Claim]:
    text = flat(block.text, wrapped=block.kind != "html")
    yield from _labelled_lines(card, block, text, merged)
    low = text.text.lower()
    begin = 0
    for stop in (*(found.start() for found in (_SENTENCE if block.kind != "html" else _SENTENCE_OR_LINE).finditer(text.text)), len(text.text)):
        sentence = low[begin:stop]
        numbers = {number for stem in stems if stem in sentence for number in _CUES_OF[stem]}
        for number in sorted(numbers):
            if _CUES[number].of_other_scripts and sentence.isascii() and _CUES[number].name != "tr fi hu hi":
                continue
            yield from _of_sentence(card, block, text, _CUES[number], begin, stop)
        begin = stop


def _of_sentence(card: Card, block: Block, text: FlatText, cue: _Cue, begin: int, stop: int) -> Iterator[Claim]:
    for found in cue.pattern.finditer(text.text, begin, stop):
        ahead = text.text[max(begin, found.start() - 100) : found.start()]
        confidence = cue.confidence
        if cue.name == "version" and not _MADE.search(text.text[max(begin, found.start() - 90) : found.end()]):
            confidence = 0.58 if _SMALLER.search(ahead) else 0.45
        if _OTHER_SUBJECT.search(ahead[-60:]) or _SCRATCH.match(text.text, found.end()):
            continue
        if _COMPARED.search(ahead) or (cue.name in _OF_TUNING and _POSSIBLE.search(ahead)):
            confidence *= 0.55
        if cue.where == "before":
            one = mention_before(text, found.start())
            mentions = [one] if one is not None and one.start >= begin else []
        else:
            many = cue.where == "many"
            mentions = [one for one in mentions_after(text, found.end(), strong=cue.strong, many=many, gap=cue.gap) if one.start < stop or many]
        for one in mentions:
            if block.kind == "heading" and cue.name == "x lora" and not re.search(r"\d", one.value):
                continue  # the model's own name
            if cue.name == "trained on" and not _is_trained_on(text, one):
                continue
            yield _claim(card, block, text, cue, found, one, confidence, begin, max(stop, one.end))


def _is_trained_on(text: FlatText, one: Mention) -> bool:
    """"Trained on" is said of data, unless what follows is plainly a model."""
    after = text.text[one.end : one.end + 30].lower()
    return one.sure and (re.match(r"\)?,? (?:base )?(?:model|llm|as (?:the|a) base|with|using|via)\b", after) is not None or bool(one.is_id and is_model_like(one.value))) and re.search(r"instruct-\d+k", one.value.lower()) is None


def _claim(card: Card, block: Block, text: FlatText, cue: _Cue, found: re.Match[str], one: Mention, confidence: float, begin: int, stop: int) -> Claim:
    if not one.sure and not one.is_path:
        confidence *= 0.85
    elif cue.name == "version" and one.is_id:
        confidence = max(confidence, 0.54)
    after = text.text[one.end : one.end + 40].lower()
    if re.match(r"\)?,? (?:model )?(?:architecture|framework|family|tokenizer)", after) and not one.is_id:
        cue = replace(cue, name="architecture")
    about, relative = "", False
    if cue.where != "before":
        ahead = text.text[begin : found.start()]
        last = None
        for mark in _PLACEHOLDER.finditer(ahead):
            last = (text.ids[int(mark.group(1))], mark.start())
        if last is None:
            named = mentions_after(FlatText(ahead, text.sources, text.ids), 0, strong=False, gap=4)
            last = (named[0].value, named[0].start) if named else None
        about = last[0] if last else ""
        clause = _RELATIVE.search(ahead)
        relative = bool(about and clause and re.search("itself|in turn|originally", clause.group(), re.IGNORECASE))
    quote_from = max(begin, min(found.start(), one.start) - 120)
    return Claim(one.value, round(confidence, 3), _evidence(card, block, text, quote_from, max(found.end(), one.end), min(stop, max(found.end(), one.end) + 60)),
                 about, relative, one.is_id, cue.name)


def _evidence(card: Card, block: Block, text: FlatText, start: int, needed: int, stop: int) -> Evidence:
    """The words around a claim, with the line that they begin on."""
    while start > 0 and start < needed and not text.text[start - 1].isspace():
        start += 1
    quote = text.written(start, max(stop, needed))
    start += len(text.text[start:needed]) - len(text.text[start:needed].lstrip())
    line = min(block.line + text.lines_before(start), block.end)
    return Evidence("card text", quote.strip(), card.file, line)


def _labelled_lines(card: Card, block: Block, text: FlatText, merged: bool) -> Iterator[Claim]:
    """"Base model: X", one line of a list or paragraph at a time."""
    begin = 0
    for line in text.text.split("\n"):
        found = _LABELLED.match(line) if len(line) < 1_000 else None
        if found:
            of_copy = _OF_COPY.match(line) is not None
            yield from (replace(one, cue="label of copy") if of_copy else one for one in _valued(card, block, text, begin, begin + found.end(), begin + len(line), merged))
        begin += len(line) + 1


def _valued(card: Card, block: Block, text: FlatText, begin: int, value: int, stop: int, merged: bool) -> Iterator[Claim]:
    rest = text.text[value:stop].strip()
    if not rest or _SCRATCH.search(rest) or (len(rest) < 30 and _PLACEHOLDER.search(rest) is None and model_name(rest) is None):
        return
    mentions = [one for one in mentions_after(text, value, many=merged, gap=5) if one.start < stop]
    evidence = _evidence(card, block, text, begin, value, stop)
    for one in mentions:
        yield Claim(one.value, 0.3 if one.is_path else 0.9 if one.sure else 0.8, evidence, is_id=one.is_id, cue="label")
    if not mentions and len(rest) < 60 and len(rest.split()) < 6:
        said = model_name(_PLACEHOLDER.sub("", rest).strip())
        if said is not None and not said.is_path and any(letter.isupper() or letter.isdigit() or letter == "-" for letter in said.value):
            yield Claim(said.value, 0.62, evidence, is_id=said.is_id, cue="label")


def _under_label(card: Card, block: Block, merged: bool) -> Iterator[Claim]:
    """The first words below a heading "Base model"."""
    text = flat(block.text)
    yield from _valued(card, block, text, 0, 0, len(text.text), merged)


def _listed(card: Card, block: Block) -> Iterator[Claim]:
    """An item of the list of a merge's parents."""
    text = flat(block.text)
    for one in mentions_after(text, 0, gap=3)[:1]:
        if not one.is_path:
            yield Claim(one.value, 0.88 if one.sure else 0.7, _evidence(card, block, text, 0, one.end, len(text.text)), is_id=one.is_id, cue="list")


def _of_table(card: Card, block: Block) -> Iterator[Claim]:
    """A row "Base model | X", or a column "Base model" whose rows agree."""
    for index, row in enumerate(block.rows[:200]):
        if len(row) >= 2 and len(row[0]) < 60 and row[1].strip() and _LABEL_ONLY.match(flat(row[0]).text):
            yield from _cell(card, block, row[1], index)
    if not block.rows or len(block.rows) > 12:
        return
    for column, title in enumerate(block.rows[0]):
        values = {row[column].strip() for row in block.rows[1:] if column < len(row) and row[column].strip()}
        if column > 0 and len(values) == 1 and len(title) < 60 and _LABEL_ONLY.match(flat(title).text):
            yield from _cell(card, block, next(iter(values)), 1)


def _cell(card: Card, block: Block, content: str, row: int) -> Iterator[Claim]:
    text = flat(content)
    line = min(block.line + row + (row > 0), block.end)
    evidence = Evidence("card text", card.quote(line), card.file, line)
    mentions = mentions_after(text, 0, gap=4)
    for one in mentions:
        yield Claim(one.value, 0.3 if one.is_path else 0.88 if one.sure else 0.75, evidence, is_id=one.is_id, cue="table")
    said = model_name(content) if not mentions and len(content) < 60 else None
    if said is not None and is_model_like(said.value):
        yield Claim(said.value, 0.6, evidence, is_id=said.is_id, cue="table")
