"""Names of data sets as people write them: Hub ids, addresses, file paths, "SQuAD v1.1"; what is no name; when two of them mean the same set."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from urllib.parse import unquote

from tunelab.hub.model_names import families, is_model_like
from tunelab.hub.tasks import tasks

MAX_NAME = 140
"""Characters beyond which a text is no data set's name."""
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(huggingface\.co|hf\.co|hf-mirror\.com|kaggle\.com|modelscope\.cn|github\.com|aihub\.or\.kr)/([^\s?#\"'<>]{1,300})", re.IGNORECASE)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}\Z")
_NOTHING = frozenset((
    "", "none", "n/a", "na", "null", "nan", "unknown", "an unknown", "custom", "private", "proprietary", "internal", "synthetic", "other", "various", "dataset", "datasets", "data", "data set", "your", "generator", "json", "jsonl", "csv", "text",
    "parquet", "pandas", "arrow", "imagefolder", "audiofolder", "webdataset", "your_dataset", "your-dataset", "my_dataset", "dataset_name", "dataset-name", "more information needed", "[more information needed]", "needs more information",
    "not provided", "not specified", "not available", "unspecified", "undisclosed", "tbd", "tba", "todo", "-", "custom_dataset", "custom dataset", "custom-dataset", "own", "in-house", "self-made", "self-collected", "mixed", "multiple", "local",
    "train", "test", "validation", "training", "placeholder", "true", "false", "[]", "{}", "...", "…", "xxx", "auto", "unnamed", "default", "me", "all", "yes", "no", "自定义", "自建", "private dataset", "confidential", "unnamed dataset", "public",
    "see below", "below", "above", "it", "this", "ours", "custom data", "synthetic data", "https", "http", "user", "org", "dataset_id", "dataset id"))
_TEMPLATE = re.compile(r"\[(?:insert|more|your|needs|name|link|dataset)[^\]]{0,60}\]|<[^<>]{0,60}>|\byour[_ /-]|\bpath[_/]to\b|PLACEHOLDER|\binsert\b", re.IGNORECASE)
_AMOUNT = re.compile(r"[~≈<>+-]?\d[\d.,_ ]*(?:k|m|b|t|gb|mb|tb|kb|gib|%|x|th|st|nd|rd|bp|h|hrs?|hours|epochs?|steps?|samples?|examples?|rows?|tokens?|million|billion|trillion|thousand)?\+?\Z", re.IGNORECASE)
_LANGUAGES = frozenset(["english", "french", "german", "spanish", "italian", "portuguese", "russian", "chinese", "japanese", "korean", "arabic", "hindi", "bengali", "turkish", "dutch", "polish", "swedish", "norwegian", "danish", "finnish", "czech", "greek", "hebrew", "thai", "vietnamese", "indonesian", "malay", "persian", "farsi", "urdu", "ukrainian", "romanian", "hungarian", "bulgarian", "croatian", "serbian", "slovak", "slovenian", "catalan", "basque", "galician", "tamil", "telugu", "marathi", "gujarati", "punjabi", "swahili", "pashto", "latin", "mandarin", "cantonese", "multilingual", "american", "british", "indian", "brazilian", "european", "african"])
_COMMON = frozenset(["gpu", "gpus", "tpu", "tpus", "tpuv3-8", "tpuv2-8", "cpu", "nvidia", "a100", "a100s", "h100", "h100s", "h200", "v100", "t4", "l4", "l40s", "a10", "a10g", "a6000", "rtx", "3090", "4090", "mi300x", "mi250", "m1", "m2", "m3", "colab", "kaggle", "aws", "azure", "gcp", "google", "amazon", "runpod", "lambda", "sagemaker", "jupyter", "paperspace", "vast.ai", "modal", "cuda", "linux", "ubuntu", "macbook", "transformers", "pytorch", "tensorflow", "keras", "jax", "flax", "unsloth", "axolotl", "trl", "lora", "qlora", "dora", "peft", "dpo", "sft", "orpo", "kto", "ppo", "grpo", "rlhf", "rlaif", "adamw", "adam", "deepspeed", "fsdp", "zero", "zero-3", "hugging", "face", "huggingface", "hf", "autotrain", "mlx", "mergekit", "llama.cpp", "llama-factory", "fastchat", "trainer", "sfttrainer", "dpotrainer", "seq2seqtrainer", "spacy", "fairseq", "megatron", "nemo", "accelerate", "bitsandbytes", "bnb", "flash", "attention", "bf16", "fp16", "fp32", "int8", "4-bit", "8-bit", "qat", "mlm", "clm", "nsp", "llm", "llms", "nlp", "ai", "ml", "nli", "ner", "qa", "pos", "api", "json", "jsonl", "csv", "xml", "html", "pdf", "pdfs", "yaml", "sql", "python", "java", "javascript", "c++", "chatml", "sharegpt-format", "alpaca-format", "gpt-4", "gpt-4o", "gpt-3.5", "gpt-3.5-turbo", "gpt4", "gpt3", "chatgpt", "claude", "gemini", "openai", "anthropic", "deepl", "i", "we", "our", "my", "the", "this", "that", "these", "those", "it", "its", "they", "you", "here", "a", "an", "all", "some", "both", "each", "most", "many", "model", "models", "base", "version", "v1", "v2", "v3", "note", "figure", "table", "section", "step", "stage", "phase", "epoch", "epochs", "batch", "tokens", "samples", "sentences", "words", "examples", "sequences", "images", "pages", "articles", "documents", "tweets", "pairs", "rows", "hours", "million", "billion", "trillion", "thousand", "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december", "monday", "internet", "web", "github", "twitter", "reddit", "youtube", "facebook", "cross-entropy", "masked", "language", "modeling", "causal", "next", "sentence", "prediction", "contrastive", "loss", "supervised", "fine-tuning", "finetuning", "training", "data", "dataset", "datasets", "corpus", "instruction", "instructions", "question", "answering", "text", "classification", "sentiment", "summarization", "translation", "token", "generation", "named", "entity", "recognition", "ctc", "rope", "yarn", "colossalai", "ludwig", "sentence", "sentencepiece", "bpe", "wordpiece", "tokenizer", "see", "full", "small", "large", "tiny", "nano", "state-of-the-art", "university", "research", "new", "custom", "private", "proprietary", "public", "open", "open-source", "high-quality", "synthetic", "internal", "in-house", "human", "various", "multiple", "several", "different", "specific", "general", "domain", "reinforcement", "learning", "q&a", "text-to-sql", "rag", "reward", "preference", "optimization", "optimisation", "direct", "group", "relative", "policy", "low-rank", "adaptation", "parameter-efficient", "efficient", "knowledge", "distillation", "question-answer", "question-answering", "question/answer", "input", "output", "prompt", "response", "user", "assistant", "system", "positive", "negative", "neutral", "science", "math", "code", "coding", "medical", "legal", "financial", "news", "reviews", "books", "conversations", "dialogues", "chat", "roleplay", "stories", "poems", "lyrics", "instruct", "preference", "and", "or", "not", "no", "only", "with", "without", "however", "additionally", "moreover", "while", "for", "from", "in", "on", "by", "at", "to", "as", "of", "is", "was", "are", "were", "be", "been"])
_GENERIC = re.compile(r"(?<![^\W_])(?:the|an?|our|my|full|whole|entire|original|cleaned|clean|filtered|train(?:ing)?|split|subset|part|portion|version|of|data ?sets?|dataset\w{0,2}|data|corpus|corpora|collection|benchmark|v\d[\d.]*|\d[\d.]*[km]?|english|en|and|huggingface|hugging|face|conversational|"
                      r"samples?|examples?|records?|rows)(?![^\W_])", re.IGNORECASE)
_WORDS = re.compile(r"[^\W_]+")


def data_id(address: str) -> str | None:
    """The data set that an address shows: "owner/name" (or "name") on the Hub, "owner/name" of Kaggle; None for other addresses."""
    found = _ADDRESS.match(address.strip())
    if not found:
        return None
    host, path = found.group(1).lower(), [unquote(part) for part in found.group(2).strip("/").rstrip(".,;:)").split("/")]
    if path[0] != "datasets" or len(path) < 2:
        return None
    rest = [part for part in path[1:] if part]
    if len(rest) > 1 and rest[1] not in ("tree", "viewer", "blob", "resolve"):
        return f"{rest[0]}/{rest[1]}"[:MAX_NAME]
    return rest[0] if rest and host != "kaggle.com" else None


def data_name(text: object) -> str | None:
    """What a text in a field for a data set's name says; None when it says nothing (a placeholder, a loader's name, a template)."""
    if not isinstance(text, str):
        return None
    said = text.strip().strip("\"'`*_ \t").strip()
    if said.startswith("[") and "](" in said:
        label, _, address = said[1:].partition("](")
        said = data_id(address.rstrip(") ")) or label
    said = data_id(said) or said
    low = said.lower().rstrip(".")
    if not low or len(said) > MAX_NAME or low in _NOTHING or _TEMPLATE.search(said) or not any(one.isalpha() for one in said) or "\n" in said:
        return None
    return None if low.startswith(("http://", "https://", "huggingface.co", "www.")) and low.count("/") < 4 else said


def trimmed(piece: str) -> str:
    """A name without articles before it and "dataset" behind it."""
    name = piece.strip(_EDGES).rstrip(".:;, ")
    name = _ARTICLES.sub("", name)
    name = _NOUNS.sub("", name)
    return name.strip(_EDGES)


_GENERAL_STEMS = frozenset(["instruct", "instruction", "conversation", "chat", "dialog", "code", "math", "sentiment", "emotion", "review", "intent", "spam", "hate", "toxic", "preference", "persona", "assistant", "poetry", "lyrics", "translation", "parallel", "summar", "ocr", "caption", "wizard", "evol", "nli", "ner", "sql", "pos", "belle", "moss", "electricity", "beans", "evol", "kto", "orpo", "code", "bird", "race", "liar", "massive", "emotion", "coco"])


@lru_cache(maxsize=4096)
def is_well_known(name: str) -> bool:
    """Whether a small word is the name of a data set that everybody knows (imdb, samsum)."""
    squeezed = "".join(_WORDS.findall(name.casefold()))
    return squeezed not in _GENERAL_STEMS and squeezed in _stems()


def _is_either(name: str) -> bool:
    """Two words with a stroke between them ("input/output")."""
    first, stroke, last = name.partition("/")
    return bool(stroke) and (first in _EITHER or (first in _COMMON and last.isalpha()) or last in _COMMON)


@lru_cache(maxsize=4096)
def is_model(name: str) -> bool:
    """Whether a name is a model's and not a data set's: it looks like one, and is none of the data sets that are named like models (alpaca)."""
    if name.rpartition("/")[2].lower().startswith(("opus-mt", "opus_mt")):
        return True
    if not is_model_like(_MILLIONS.sub("", name)):
        return False
    parts = {*re.split(r"[^0-9a-z]+", name.lower())}
    squeezed = "".join(_WORDS.findall(name.casefold()))
    return _SIZED.search(name) is not None or not any(stem in squeezed if len(stem) > 4 else stem in parts for stem in _stems() - _GENERAL_STEMS)


_MILLIONS = re.compile(r"(?<=[-_ ])\d{1,3}(?:\.\d)?m(?![a-z\d])", re.IGNORECASE)  # of rows rather than of parameters
_SIZED = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d)?b(?![a-z\d])", re.IGNORECASE)


@cache
def _stems() -> frozenset[str]:
    return frozenset("".join(_WORDS.findall(stem)) for task in tasks().values() for stem in task.datasets)


_EDGES = " \t\n\"'`*_“”«»「」『』[]{}"
_ARTICLES = re.compile(r"\A(?:(?:the|a|an|our|both|full|cleaned|custom|subset of|version of|original|from|of|on|using|and|modified|filtered|combined|translated|open-source|publicly available|public|entire|auf dem|dem|der|die|das|le|la|les|el|los)\s+){1,6}", re.IGNORECASE)
_NOUNS = re.compile(r"(?:\s+(?:data ?sets?|train(?:ing)?|split|subset|samples?|data|benchmark|task|데이터|데이터셋|등|数据集|データセット)){1,4}\Z", re.IGNORECASE)


def is_hub_id(name: str) -> bool:
    """Whether it has the form owner/name."""
    return _HUB_ID.match(name) is not None and not _is_either(name.lower()) and not name.startswith(("data/", "datasets/", "./")) and not name.lower().endswith((".json", ".jsonl", ".csv", ".txt", ".parquet"))


def is_name_like(words: str) -> bool:
    """Whether a piece of a sentence can be a data set's own name, and not hardware, a language, a model, an amount or a common word."""
    parts = words.split()
    if not parts or len(parts) > 8 or len(words) > 90 or data_name(words) is None or _AMOUNT.match(words) or (words.islower() and _is_either(words)):
        return False
    bare = [part.strip(".,:;'\"()").lower().removesuffix("'s").removesuffix("’s") for part in parts]
    if all(one in _COMMON or one in _LANGUAGES or _AMOUNT.match(one) or len(one) < 2 for one in bare):
        return False
    return not (_is_model(bare) or _MANNER.search(bare[-1]) or bare[0] in ("nvidia", "table", "figure", "section", "google", "rtx"))


def _is_model(parts: list[str]) -> bool:
    """A model's name ("Llama 2 7B", "bert-base-uncased")."""
    first = parts[0].rpartition("/")[2]
    if any(re.fullmatch(r"\d+(?:\.\d+)?[bm]", one) for one in re.split(r"[-_\s]", " ".join(parts))) and not re.search(r"dataset|corpus|instruct-data", first):
        return any(word in families()[0] or word in families()[1] for one in parts for word in re.findall(r"[a-z]+", one))
    head = re.split(r"[-_]", first)[0]
    return head in _MODEL_HEADS


_EITHER = frozenset(["his", "her", "he", "she", "him", "yes", "no", "true", "false", "human", "ai", "client", "server", "source", "target", "label", "context", "query", "passage", "chosen", "rejected", "read", "write", "left", "right", "start", "end", "rows", "cnn"])
"""With the common words: what makes "input/output" no Hub id, and "CNN/DailyMail" neither."""
_MANNER = re.compile(r"[-‑](?:only|based|style|like|specific|level|scale|shot|aligned|tuned|quality|generated|source|sourced|domain|turn|following|language|lingual|annotated|labell?ed|related|oriented|driven|trained|train|answering|focused|free|wide|world|house|free|in-the-loop|step|bit|hop|way|class|text|made|written|curated|collected|"
                     r"filtered|processed|rank|parameter|token|tokens|k|to-end|to-text|to-sql|to-speech|precision|gpu|node|epoch)\Z")
_MODEL_HEADS = frozenset(["bert", "distilbert", "roberta", "gpt2", "gpt", "llama", "llama2", "llama3", "mistral", "mixtral", "qwen", "qwen2", "qwen3", "gemma", "gemma2", "phi", "bloom", "falcon", "mpt", "t5", "mt5", "flan-t5", "bart", "mbart", "deberta", "electra", "albert", "xlnet", "opt", "pythia", "whisper", "wav2vec2", "vit", "clip", "deepseek", "yi", "marian", "nllb"])


@lru_cache(maxsize=4096)
def _squeezed(name: str) -> str:
    return "".join(_WORDS.findall(name.casefold()))


@lru_cache(maxsize=4096)
def _core(name: str) -> str:
    """The name without owner, versions and words such as "dataset"."""
    last = re.sub(r"\([^()]{0,80}\)", " ", name.rpartition("/")[2] if is_hub_id(name) else name)
    return "".join(_WORDS.findall(_GENERIC.sub(" ", last.casefold())))


_VERSION = re.compile(r"(?<![\w.])v?(\d{1,2}(?:\.\d{1,2}){0,2})(?![\w.])", re.IGNORECASE)


@lru_cache(maxsize=4096)
def _version(name: str) -> str:
    found = _VERSION.search(name)
    return found.group(1).removesuffix(".0") if found else ""


def same_data(one: str, other: str, *, loosely: bool = True) -> bool:
    """Whether two names mean the same set: imdb and stanfordnlp/imdb; `loosely`, as a text names what a list gives exactly, also "Alpaca" and
    tatsu-lab/alpaca, "SQuAD v1.1" and squad."""
    if _squeezed(one) == _squeezed(other) or (_squeezed(one.rpartition("/")[2]) == _squeezed(other.rpartition("/")[2]) and is_hub_id(one) | is_hub_id(other)):
        return True
    if not loosely or (is_hub_id(one) and is_hub_id(other)) or (_version(one) and _version(other) and _version(one) != _version(other)):
        return False
    short, full = sorted((_core(one), _core(other)), key=len)
    if len(short) < 3:
        return False
    return short == full or (is_hub_id(one) | is_hub_id(other) and ((len(short) >= 4 and short in full) or _words_in(one, other)))


def _words_in(one: str, other: str) -> bool:
    """All words of the shorter name are among the other's (of an id with its owner)."""
    few, many = sorted(({word for word in _WORDS.findall(_GENERIC.sub(" ", re.sub(r"\([^()]{0,80}\)", " ", name.casefold()))) if len(word) > 1} for name in (one, other)), key=len)
    return bool(few) and few <= many and any(len(word) > 3 for word in few)
