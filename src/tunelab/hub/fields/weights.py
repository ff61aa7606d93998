"""How many parameters the weights have, and in which formats and precisions they lie there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tunelab.errors import TunelabError
from tunelab.facts.shapes import shapes_from_config
from tunelab.hub.card import Card, plain_text
from tunelab.hub.evidence import Answer, Candidate, Evidence, ranked
from tunelab.hub.record import ModelRecord

_IN_NAME = re.compile(r"(?<![A-Za-z\d.])((?:\d{1,3}x)?\d{1,4}(?:[._]\d{1,3})?) ?([bm])(?![A-Za-z\d])", re.IGNORECASE)
_LABELLED = re.compile(r"\W{0,8}(?:(?:total |number of |model |non-embedding |trainable )?param(?:eter)?s?(?: count)?|model size|size|#? ?params|parameteranzahl|paramètres|parámetros|参数量|参数规模|パラメータ数|파라미터(?: 수)?)[*_` ]{0,6}[:：|][\s*_`~≈]{0,8}(\d[\d.,]*) ?(b|m|t|billion|million|亿|万)?(?![\w%])", re.IGNORECASE)
_SAID = re.compile(r"(?<![\w.,-])(\d{1,4}(?:[.,]\d{1,3})?)[- ]?(b|m|billion|million|milliarden|millionen|milliards?|millions|mil millones|bilhões|milhões|млрд|млн|миллиард\w*|миллион\w*)[- ]?(?:trainable |learnable |model |de |di )?(?:param|paràm|парам)", re.IGNORECASE)
_ASIAN = re.compile(r"(\d[\d.]{0,6}) ?(亿|億|万|B|M)(?:个|の)?(?:参数|パラメータ|파라미터|매개변수)")
_SCALE = {"b": 1e9, "m": 1e6, "t": 1e12, "billion": 1e9, "million": 1e6, "亿": 1e8, "億": 1e8, "万": 1e4}
_NOT_OF_THIS = re.compile(r"adapter|lora|trainable|compared|outperform|larger|smaller than|teacher|active|activated", re.IGNORECASE)
_GGUF_QUANT = re.compile(r"(?<![A-Za-z\d])((?:UD-)?I?Q[1-8](?:_[01K](?:_(?:XXS|XS|S|M|L|XL))?|_XXS|_XS|_S|_M|_NL)?|BF16|F16|F32|FP16|MXFP4(?:_MOE)?|TQ[12]_0)(?![A-Za-z\d_])", re.IGNORECASE)
_ALSO_NAMED = (("GPTQ", re.compile(r"(?<![a-z])gptq(?![a-z])", re.IGNORECASE)), ("AWQ", re.compile(r"(?<![a-z])awq(?![a-z])", re.IGNORECASE)), ("EXL2", re.compile(r"exl2|(?<!\d)\d(?:\.\d+)?bpw", re.IGNORECASE)), ("EXL3", re.compile(r"exl3", re.IGNORECASE)),
               ("MLX", re.compile(r"(?<![a-z])mlx(?![a-z])", re.IGNORECASE)), ("GGUF", re.compile(r"(?<![a-z])gguf(?![a-z])", re.IGNORECASE)), ("GGML", re.compile(r"(?<![a-z])ggml(?![a-z])", re.IGNORECASE)), ("ONNX", re.compile(r"(?<![a-z])onnx(?![a-z])", re.IGNORECASE)),
               ("OpenVINO", re.compile(r"openvino", re.IGNORECASE)), ("CoreML", re.compile(r"(?<![a-z])core-?ml(?![a-z])", re.IGNORECASE)), ("HQQ", re.compile(r"(?<![a-z])hqq(?![a-z])", re.IGNORECASE)), ("AQLM", re.compile(r"(?<![a-z])aqlm(?![a-z])", re.IGNORECASE)),
               ("bitsandbytes", re.compile(r"(?<![a-z])bnb-?[48]-?bit", re.IGNORECASE)), ("FP8", re.compile(r"(?<![a-z\d])fp8(?![a-z\d])", re.IGNORECASE)), ("CTranslate2", re.compile(r"ctranslate2|(?<![a-z\d])ct2(?![a-z\d])", re.IGNORECASE)))
_TAGGED = {"gguf": "GGUF", "ggml": "GGML", "gptq": "GPTQ", "awq": "AWQ", "exl2": "EXL2", "exl3": "EXL3", "mlx": "MLX", "onnx": "ONNX", "openvino": "OpenVINO", "coreml": "CoreML", "safetensors": "safetensors", "pytorch": "PyTorch (pickle)", "tf": "TensorFlow",
           "jax": "Flax", "bitsandbytes": "bitsandbytes", "compressed-tensors": "compressed-tensors", "hqq": "HQQ", "ctranslate2": "CTranslate2", "litert": "LiteRT", "tflite": "LiteRT", "rust": "Rust"}
_METHODS = {"gptq": "GPTQ", "awq": "AWQ", "bitsandbytes": "bitsandbytes", "exl2": "EXL2", "exl3": "EXL3", "fp8": "FP8", "hqq": "HQQ", "aqlm": "AQLM"}
_SUFFIXES = ((".gguf", "GGUF"), (".onnx", "ONNX"), (".h5", "TensorFlow"), (".msgpack", "Flax"), (".mlmodel", "CoreML"), (".mlpackage", "CoreML"), (".tflite", "LiteRT"), (".ot", "Rust"), (".nemo", "NeMo"), (".ggml", "GGML"))
_PICKLES = re.compile(r"(?:\A|/)(?:pytorch_model|adapter_model|model|consolidated)[\w.-]{0,60}\.(?:bin|pth?|ckpt)\Z")
_MAX_FILES = 5000


def read_size(record: ModelRecord) -> Answer:
    """How many parameters: "7.24B"; of a mixture named "8x7B" that. Numbers that are near one another are one candidate."""
    return ranked(_near([*_counted(record), *_by_config(record), *_in_names(record), *_in_text(record.card)]))


def _counted(record: ModelRecord) -> Iterator[tuple[float, Candidate]]:
    """From the weights' own headers."""
    total = record.gguf.get("total")
    if record.adapter:
        return  # they are the adapter's, not the model's
    if record.parameters or record.tensors:
        count = record.parameters or sum(record.tensors.values())
        packed = any(name in ("I32", "U8", "I8", "U32") for name in record.tensors)
        if count > 0:
            yield count, Candidate(amount(count), 0.5 if packed else 0.98, (Evidence("weights header", f"{count:,} parameters"),), "Packed weights: the count is of packed numbers." if packed else "")
    if isinstance(total, int) and total > 0:
        yield total, Candidate(amount(total), 0.97, (Evidence("weights header", f"GGUF: {total:,} parameters"),))


def _by_config(record: ModelRecord) -> Iterator[tuple[float, Candidate]]:
    if record.adapter or not record.config.get("hidden_size", record.config.get("n_embd", record.config.get("d_model"))):
        return
    try:
        count = shapes_from_config(record.config, "config.json").parameters
    except (TunelabError, ValueError, TypeError, KeyError, AttributeError, OverflowError, ArithmeticError):
        return  # a family or a config that is not known; other places may say it
    if 1e5 < count < 1e13:
        yield count, Candidate(amount(count), 0.9, (Evidence("config.json", f"the sizes in it make {count:,} parameters", "config.json"),))


def _in_names(record: ModelRecord) -> Iterator[tuple[float, Candidate]]:
    bases = [(value, 0.5, Evidence("card metadata", record.card.quote(record.card.line(*path)) or value, record.card.file, record.card.line(*path))) for value, path in record.card.strings("base_model")]
    bases += [(name, 0.5, Evidence("model tree", name)) for _, name in record.parents]
    base = record.adapter.get("base_model_name_or_path")
    if isinstance(base, str):
        bases.append((base, 0.5, Evidence("adapter_config.json", f"base_model_name_or_path: {base}", "adapter_config.json")))
    for name, confidence, evidence in [(record.name, 0.7, Evidence("name", record.name)), *bases[:4]]:
        for number, unit in _IN_NAME.findall(name.rpartition("/")[2][:150])[:1]:
            said = f"{number.replace('_', '.')}{unit.upper()}"
            yield _value_of(said), Candidate(said, confidence, (evidence,))


def _in_text(card: Card) -> Iterator[tuple[float, Candidate]]:
    seen = 0
    for block in card.blocks[:80]:
        if block.kind == "fence":
            continue
        lines = [" | ".join(row) for row in block.rows[:40]] if block.kind == "table" else block.text[:2000].split("\n")
        for number, text in enumerate(lines):
            found = _LABELLED.match(text)
            label = found is not None
            found = found or _SAID.search(text) or _ASIAN.search(text)
            if found is None or (not label and _NOT_OF_THIS.search(text)):
                continue
            count = _number(found.group(1), found.group(2))
            if 1e5 <= count < 1e13:
                place = block.line + number + (1 if block.kind == "table" and number else 0)
                yield count, Candidate(amount(count), 0.74 if label else 0.66 if seen == 0 else 0.4, (Evidence("card text", plain_text(text), card.file, place),))
                seen += 1


def _number(digits: str, unit: str | None) -> float:
    plain = digits.rstrip(".,")
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+", plain):
        plain = plain.replace(",", "")
    try:
        value = float(plain.replace(",", "."))
    except ValueError:
        return 0.0
    word = (unit or "").lower()
    scale = _SCALE.get(word) or (1e9 if word.startswith(("milliard", "mil m", "bilh", "млрд", "миллиард")) else 1e6 if word else 1.0)
    return value * scale


def _value_of(said: str) -> float:
    """The number that "7B", "350M" or "8x7B" stands for (of a mixture the product)."""
    experts, _, size = said[:-1].rpartition("x")
    return float(size) * (float(experts) if experts else 1.0) * _SCALE[said[-1].lower()]


def amount(count: float) -> str:
    """A number of parameters in a few letters: 7.24B, 135M, 820K."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if count >= size * 0.9995:
            short = count / size
            return f"{short:.0f}{letter}" if short >= 100 or abs(short - round(short)) < 0.005 else f"{short:.3g}{letter}"
    return f"{count / 1000:.0f}K"


def _near(found: list[tuple[float, Candidate]]) -> list[Candidate]:
    """Numbers within a seventh of a surer one are that one, rounded."""
    done: list[tuple[float, Candidate]] = []
    for count, one in sorted(found, key=lambda pair: -pair[1].confidence):
        same = next((other.value for size, other in done if "x" not in one.value and abs(size - count) <= 0.15 * size), None)
        done.append((count, replace(one, value=same) if same else one))
    return [one for _, one in done]


def read_format(record: ModelRecord) -> Answer:
    """safetensors, PyTorch (pickle), GGUF, GPTQ, AWQ, ...: with the precision where it is known."""
    return ranked([*_by_files(record), *_by_tags(record), *_packed(record), *_named(record)], many=True)


def _by_files(record: ModelRecord) -> Iterator[Candidate]:
    quants: dict[str, str] = {}
    found: dict[str, str] = {}
    for path in list(record.files)[:_MAX_FILES]:
        low = path.lower()
        kind = next((name for end, name in _SUFFIXES if low.endswith(end)), None)
        if kind == "GGUF" and (quant := _GGUF_QUANT.findall(path.rpartition("/")[2])):
            quants.setdefault(quant[-1].upper(), path)
        if low.endswith(".safetensors"):
            kind = "adapter (safetensors)" if "adapter_model" in low or "lora" in low.rpartition("/")[2] else "safetensors"
        elif _PICKLES.search(path):
            kind = "adapter (pickle)" if "adapter_model" in low else "PyTorch (pickle)"
        if kind:
            found.setdefault(kind, path)
    if "GGUF" in found:
        names = ", ".join(list(quants)[:12])
        yield Candidate(f"GGUF ({names})" if names else "GGUF", 0.97, tuple(Evidence("file list", path) for path in list(quants.values())[:4]) or (Evidence("file list", found["GGUF"]),))
    for kind, path in found.items():
        if kind != "GGUF":
            precision = _precision(record) if "safetensors" in kind or "PyTorch" in kind else ""
            yield Candidate(f"{kind}, {precision}" if precision else kind, 0.97, (Evidence("file list", path),))


def _precision(record: ModelRecord) -> str:
    """The stored numbers' type: from the headers (the commonest), else from config.json."""
    if record.tensors:
        return max(record.tensors, key=lambda name: record.tensors[name])
    said = record.config.get("dtype") or record.config.get("torch_dtype")
    return {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}.get(str(said).removeprefix("torch."), "")


def _by_tags(record: ModelRecord) -> Iterator[Candidate]:
    has_files = bool(record.files)
    listed = [(value, Evidence("card metadata", record.card.quote(record.card.line(*path)) or value, record.card.file, record.card.line(*path))) for value, path in record.card.strings("tags", "library_name")]
    listed += [(tag, Evidence("tag", tag)) for tag in (*record.tags, record.library)]
    for tag, evidence in listed[:300]:
        kind = _TAGGED.get(tag.lower())
        if kind and not (has_files and kind in ("safetensors", "PyTorch (pickle)", "TensorFlow", "Flax", "GGUF", "ONNX", "Rust")):
            yield Candidate(f"safetensors, {_precision(record)}" if kind == "safetensors" and record.tensors else kind, 0.4 if kind == "PyTorch (pickle)" and evidence.kind == "card metadata" else 0.8, (evidence,))
    if record.tensors and not has_files and "safetensors" not in record.tags:
        yield Candidate(f"safetensors, {_precision(record)}", 0.9, (Evidence("weights header", ", ".join(f"{name}: {count:,}" for name, count in record.tensors.items())),))


def _packed(record: ModelRecord) -> Iterator[Candidate]:
    packed = record.config.get("quantization_config")
    if isinstance(packed, Mapping):
        method = str(packed.get("quant_method", "bitsandbytes")).lower()[:30]
        bits = packed.get("bits") or (4 if packed.get("load_in_4bit") is True else 8 if packed.get("load_in_8bit") is True else None)
        name = _METHODS.get(method, method)
        yield Candidate(f"{name}, {bits}-bit" if isinstance(bits, int) and 1 <= bits <= 16 else name, 0.95, (Evidence("config.json", f"quant_method: {method}", "config.json"),))


def _named(record: ModelRecord) -> Iterator[Candidate]:
    name = record.name.rpartition("/")[2]
    if not record.files:
        for kind, pattern in _ALSO_NAMED:
            if pattern.search(name):
                quant = _GGUF_QUANT.findall(name) if kind == "GGUF" else []
                yield Candidate(f"GGUF ({quant[-1].upper()})" if quant else kind, 0.66, (Evidence("name", record.name),))
