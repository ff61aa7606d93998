"""Names of models as people write them: Hub ids, addresses, local paths, "Llama 2 7B"; when two of them mean the same model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from urllib.parse import unquote

MAX_NAME = 120
"""Characters beyond which a text is no model's name."""
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}\Z", re.ASCII)
_HOSTS = re.compile(
    r"(?:https?://)?(?:www\.)?(huggingface\.co|hf\.co|hf-mirror\.com|(?:www\.)?modelscope\.cn|modelscope\.ai)(?:/models)?/([^\s?#]+)", re.IGNORECASE
)
_NOT_MODELS = frozenset(
    {
        "datasets",
        "spaces",
        "papers",
        "collections",
        "docs",
        "blog",
        "models",
        "join",
        "login",
        "organizations",
        "settings",
        "api",
        "posts",
        "learn",
        "tasks",
        "pricing",
        "front",
        "inference-endpoints",
        "chat",
        "new",
    }
)
_LEGACY = re.compile(r"(?:bert|gpt2|t5|roberta|distil|xlm|xlnet|albert|camembert|openai-gpt|transfo|ctrl)[\w.-]*\Z")  # ids without an owner
_PATH = re.compile(
    r"(?:[./~\\]|[A-Za-z]:[\\/]|/)|.*(?:\\|//)|(?:models?|out(?:put)?s?|checkpoints?|results?|runs?|tmp|home|workspace|content|data|saves?|root|mnt|"
    r"local|cache|trained|ckpts?|weights|output[_-]?dir|gemma_ckpt|drive|kaggle)/",
    re.IGNORECASE,
)
_NOTHING = frozenset(
    {
        "",
        "none",
        "n/a",
        "na",
        "null",
        "unknown",
        "false",
        "true",
        "base",
        "model",
        "custom",
        "not applicable",
        "tbd",
        "todo",
        "-",
        "no",
        "yes",
        "other",
        "more information needed",
        "[more information needed]",
        "scratch",
        "from scratch",
        "{{ base_model }}",
        "your_base_model",
        "base_model",
    }
)
_REMARK = re.compile(r"(?<=[\w.])\s+[(\[#—–].*\Z", re.DOTALL)  # what somebody adds behind a name: "org/name (at commit x)"
_BLANK = re.compile(r"[\[\]<>|\n]|\{\{|\}\}|\[more|<!--|\$\{|placeholder|path[/_]to|\byour[-_ /]|\binsert\b|\bxxx+\b|\btodo\b", re.IGNORECASE)
# What tells how a model was packed or by whom it was copied, not which model it is.
_PACKING = frozenset(
    {
        "hf",
        "meta",
        "bnb",
        "4bit",
        "8bit",
        "unsloth",
        "gguf",
        "ggml",
        "gptq",
        "awq",
        "exl2",
        "fp16",
        "bf16",
        "fp8",
        "int4",
        "int8",
        "model",
        "the",
        "mlx",
        "sharded",
        "dynamic",
        "bit",
        "onnx",
        "i1",
        "safetensors",
        "weights",
        "quantized",
        "qat",
        "ungated",
    }
)
_WORDS = re.compile(r"\d+(?:\.\d+)*[a-z]*\d*|[a-z]+|[^\W\d_a-z]+")
_TUNED_WORDS = re.compile(
    r"(?:\A|[-_. ])(instruct|instruction|chat|it|sft|dpo|rlhf|orpo|assistant|finetuned?|tuned|alpaca|thinking)(?=[-_. ]|\Z)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ModelName:
    """`value`: the Hub id or the name as written; `is_id`: it has the form of a Hub id; `is_path`: it can only be a place on somebody's disk."""

    value: str
    is_id: bool = False
    is_path: bool = False


def model_name(text: object) -> ModelName | None:
    """What a text in a field for a model's name says: an id, an address, a path, a plain name; None when it says nothing."""
    if not isinstance(text, str):
        return None
    written = _REMARK.sub("", text.strip().strip("\"'`<>*").strip())
    if written.casefold() in _NOTHING or len(written) > 4 * MAX_NAME or _BLANK.search(written) or not re.search(r"[^\W\d_]", written):
        return None
    if "://" in written or _HOSTS.match(written):
        found = id_of_address(written)
        return ModelName(found, True) if found else None
    if _PATH.match(written) or written.count("/") > 1:
        inside = _cached_id(written)
        return ModelName(inside, True) if inside else ModelName(written[:MAX_NAME], is_path=True)
    bare = re.split(r"[@:]", written, maxsplit=1)[0] if "/" in written else written
    if _ID.match(bare):
        return ModelName(bare.removesuffix(".git"), True)
    if len(written) > MAX_NAME or "/" in written:
        return None
    return ModelName(written, bool(_LEGACY.match(written)))


def id_of_address(address: str) -> str | None:
    """The Hub id that a web address names, None for data sets, spaces, people and other sites."""
    found = _HOSTS.match(address.strip())
    if not found:
        return None
    parts = [part for part in unquote(found.group(2)).rstrip("/.,;:)]").split("/") if part]
    if not parts or parts[0].lower() in _NOT_MODELS:
        return None
    if len(parts) >= 2 and parts[1] not in ("tree", "blob", "resolve", "raw"):
        name = re.split(r"[@:]", f"{parts[0]}/{parts[1]}", maxsplit=1)[0].rstrip(".,")
        return name if _ID.match(name) else None
    return parts[0] if _LEGACY.match(parts[0]) else None


def _cached_id(path: str) -> str | None:
    """The id in the path of the Hub's cache: .../models--org--name/snapshots/..."""
    found = re.search(r"models--([\w.-]{1,96}?)--([\w.-]{1,96}?)(?:[/\\]|\Z)", path)
    return f"{found.group(1)}/{found.group(2)}" if found else None


@lru_cache(8192)
def words(name: str) -> tuple[str, ...]:
    """The parts of a name that tell the model, in order: "unsloth/Meta-Llama-3.1-8B-bnb-4bit" -> ("llama", "3.1", "8b")."""
    last = name.strip().rstrip("/").rpartition("/")[2].lower()[:MAX_NAME].replace("_", "-")
    found = _WORDS.findall(last)
    return tuple(part for part in found if part not in _PACKING)


@lru_cache(8192)
def key(name: str) -> str:
    """One text for all the names of a model: equal keys, one model. Short names that everybody uses for one model count for it."""
    bare = "".join(words(name))
    return _short_names().get(bare, bare) or name.strip().casefold()


def same_model(one: str, other: str) -> bool:
    """Whether two names mean one model, however it is packed and whoever copied it."""
    return key(one) == key(other)


def vaguer(one: str, other: str) -> bool:
    """Whether `one` could be a shorter name of `other`: all its words are among the other's ("Llama 2" of "meta-llama/Llama-2-7b-chat-hf")."""
    few, many = set(words(one)), set(words(other))
    return bool(few) and few <= many


def compatible(one: str, other: str) -> bool:
    """Whether two names can mean one model."""
    return same_model(one, other) or vaguer(one, other) or vaguer(other, one)


def resolve(name: str) -> str | None:
    """The Hub id that a short name usually means ("Mistral 7B" -> "mistralai/Mistral-7B-v0.1"), None when the table does not know."""
    return _by_key().get(key(name))


def name_of_path(path: str) -> str | None:
    """The model that a place on a disk is called after: "/models/llama-3-8b/" -> "llama-3-8b"; None for "outputs/checkpoint-500"."""
    last = re.split(r"[\\/]", path.rstrip("\\/ "))[-1]
    return last if _ID.match(f"x/{last}") and is_model_like(last) and not re.match(r"(?i)checkpoint|output|result", last) else None


@cache
def _table(name: str) -> tuple[tuple[str, str], ...]:
    text = resources.files("tunelab.hub").joinpath(f"known/{name}").read_text(encoding="utf-8")
    return tuple((one, other) for one, _, other in (line.partition("\t") for line in text.splitlines()[1:]))


@cache
def _short_names() -> dict[str, str]:
    return {"".join(words(short)): "".join(words(full)) for short, full in _table("names.tsv")}


@cache
def _by_key() -> dict[str, str]:
    return {key(full): full for _, full in _table("names.tsv")}


@cache
def _finetunes() -> dict[str, tuple[str, str]]:
    return {key(name): (name, parent) for name, parent in _table("finetunes.tsv")}


def known_parent(name: str) -> tuple[str, str] | None:
    """(id, what it was made from) of a well known fine-tune, from the shipped table."""
    return _finetunes().get(key(name))


def known_root(name: str) -> str | None:
    """The model at the root of a well known fine-tune."""
    root, parent = None, known_parent(name)
    for _ in range(5):
        if parent is None:
            break
        root, parent = parent[1], known_parent(parent[1])
    return root


def tuned_word(name: str) -> str | None:
    """The part of a name that says that it was tuned already ("instruct", "chat", "it")."""
    found = _TUNED_WORDS.search(name.rpartition("/")[2])
    return found.group(1) if found else None


@cache
def families() -> tuple[frozenset[str], frozenset[str]]:
    """Words that name a family of models, and those that do only beside a size or a version."""
    text = resources.files("tunelab.hub").joinpath("known/families.txt").read_text(encoding="utf-8")
    sure, _, unsure = text.partition("---")
    return frozenset(word for line in sure.splitlines() if not line.startswith("#") for word in line.split()), frozenset(unsure.split())


# Tools, measures and services that have a family's word in their names.
_NO_MODELS = re.compile(
    r"llama[-_ .]?(?:factory|cpp|index|board|recipes|guard)|bert[-_ ]?(?:opic|score|viz)|gpt[-_ ]?(?:3\.5|4|5|4o|o\d)|"
    r"chat[-_ ]?gpt|gpt[-_ ]?teacher|gpt4all-j-prompt|"
    r"h2o[-_ ]llm|mistral[-_ ](?:common|inference|ai)\Z|text-davinci|claude|gemini"
)
_SIZE = re.compile(r"(?<![a-z\d.])\d+(?:\.\d+)?(?:x\d+(?:\.\d+)?)? ?[bm](?![a-z\d])", re.IGNORECASE)


@lru_cache(8192)
def is_model_like(name: str) -> bool:
    """Whether a name has the look of a model's: a family that everybody knows, or a size."""
    last = name.rpartition("/")[2].lower()
    if _NO_MODELS.match(last):
        return False
    if last.startswith(("opus-mt", "opus_mt")):
        return True
    sure, unsure = families()
    pieces = re.split(r"[-_. ]+", last)
    parts = {*words(last), *pieces, *(piece.rstrip("0123456789") for piece in pieces)}
    if parts & sure:
        return True
    return bool(_SIZE.search(last)) or bool(parts & unsure and any(part[0].isdigit() for part in parts if part))
