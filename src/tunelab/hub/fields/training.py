"""How it was trained: the method, hyper-parameters, and the Axolotl config that a card may show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tunelab.hub.evidence import Answer, Candidate, Evidence, ranked
from tunelab.hub.record import ModelRecord


@dataclass(frozen=True, slots=True)
class AxolotlConfig:
    """A config as the card shows it: `text` is YAML, unread; `line`: the file's line of its first line. `base_model` and `datasets`: (value, line)."""

    text: str
    line: int
    base_model: tuple[str, int] | None = None
    datasets: tuple[tuple[str, int], ...] = ()


_EDGE = re.compile(r"\s*(?:```|~~~)|</?(?:pre|code|details|summary)\b", re.IGNORECASE)
_KEY = re.compile(r"[\"']?([A-Za-z_]\w*)[\"']?[ \t]*:(?:[ \t]+(.*))?\Z")
_PATH = re.compile(r"""(?:\A\s*(?:-\s+)?|[{,]\s*)["']?path["']?[ \t]*:[ \t]+["']?([^"',{}\s#][^"',{}#]*)""")
_ITEM = re.compile(r"""\s*-\s+["']?([^\s:"'{}#]+)["']?\s*(?:#.*)?\Z""")
_TRAINING_KEYS = frozenset({"adapter", "micro_batch_size", "sequence_len", "datasets", "num_epochs", "lora_r", "val_set_size", "load_in_4bit"})
_OTHER_DIALECTS = frozenset({"merge_method", "license", "pipeline_tag", "model_name_or_path", "quantized_by", "library_name", "dtype", "tags"})
MAX_CONFIG_LINES = 600
"""Lines of a config; what goes on for longer is something else."""


def read_axolotl(record: ModelRecord) -> AxolotlConfig | None:
    """The config in a "See axolotl config" block, or another fenced YAML that is one: fenced, in raw HTML, or half in either.

    Read by lines, so that YAML with a mistake in it is as good: values are given as they are written.
    """
    if "base_model" not in record.card.body:
        return None
    lines, index, begin = record.card.lines, record.card.start - 1, -1
    while index < len(lines):
        if _EDGE.search(lines[index]):
            begin = index
        elif begin >= 0 and lines[index].lstrip(" \t\"'").startswith("base_model"):
            last = min(len(lines), index + MAX_CONFIG_LINES)
            end = next((at for at in range(index + 1, last) if _EDGE.search(lines[at])), last)
            found = _as_config(lines[begin + 1 : end], begin + 2) if index - begin < MAX_CONFIG_LINES else None
            if found:
                return found
            index, begin = end, end
        index += 1
    return None


def _as_config(lines: list[str], first: int) -> AxolotlConfig | None:
    """The lines as a config (`first`: the file's line of the first), or None when they are another thing."""
    while lines and not lines[0].strip():
        lines, first = lines[1:], first + 1
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    lines = [line[indent:] for line in lines]
    entries = list(_entries(lines))
    keys = {key for key, _, _ in entries}
    base = next(((value, first + at) for key, value, at in entries if key == "base_model" and value), None)
    if base is None or keys & _OTHER_DIALECTS or not keys & _TRAINING_KEYS:
        return None
    return AxolotlConfig("\n".join(lines), first, base, tuple(_paths(lines, entries, first)))


def _entries(lines: list[str]) -> Iterator[tuple[str, str, int]]:
    """(key, value as written, index of the line) of the entries at the outermost level."""
    for index, line in enumerate(lines):
        found = _KEY.match(line)
        if found:
            yield found.group(1), _scalar(found.group(2) or ""), index


def config_entries(config: AxolotlConfig | None) -> list[tuple[str, str, int]]:
    """(key, value as written, line within the config from 0) of its outermost entries; nothing for no config."""
    return list(_entries(config.text.split("\n"))) if config else []


def _scalar(text: str) -> str:
    """A YAML scalar without its comment and quotes."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text[1:]
    return text.partition(" #")[0].strip() if not text.startswith("#") else ""


def _paths(lines: list[str], entries: list[tuple[str, str, int]], first: int) -> Iterator[tuple[str, int]]:
    """(path, line of the file) of each data set that it trains on."""
    for (key, value, at), following in zip(entries, [*(at for _, _, at in entries[1:]), len(lines)], strict=True):
        if key not in ("datasets", "pretraining_dataset"):
            continue
        if value and value[0] not in "[{&|>":
            yield value, first + at
            continue
        paths = [(found, first + index) for index in range(at, following) for found in _PATH.findall(lines[index])]
        for path, line in paths or [(found.group(1), first + index) for index in range(at, following) if (found := _ITEM.match(lines[index]))]:
            yield path.strip(), line


_PEFT = {"LORA": "lora", "QLORA": "qlora", "PROMPT_TUNING": "prompt tuning", "P_TUNING": "p-tuning", "PREFIX_TUNING": "prefix tuning", "IA3": "ia3", "ADALORA": "adalora", "LOHA": "loha",
         "LOKR": "lokr", "OFT": "oft", "BOFT": "boft", "VERA": "vera", "ADAPTION_PROMPT": "llama-adapter", "FOURIERFT": "fourierft", "XLORA": "x-lora", "HRA": "hra", "BONE": "bone"}
_TAGS = {
    "lora": "lora", "qlora": "qlora", "dora": "dora", "dpo": "dpo", "orpo": "orpo", "kto": "kto", "cpo": "cpo", "ipo": "ipo", "simpo": "simpo", "grpo": "grpo", "ppo": "ppo", "rloo": "rloo", "rlhf": "rlhf",
    "sft": "sft", "gkd": "distillation", "reward-trainer": "reward", "reward-model": "reward", "online-dpo": "dpo", "distillation": "distillation", "knowledge-distillation": "distillation",
    "distilled": "distillation", "slerp": "slerp", "ties": "ties", "dare_ties": "dare_ties", "dare-ties": "dare_ties", "dare_linear": "dare_linear", "task_arithmetic": "task_arithmetic",
    "model_stock": "model_stock", "passthrough": "passthrough", "breadcrumbs": "breadcrumbs", "della": "della", "full-finetune": "full", "full-fine-tuning": "full", "continued-pretraining": "continued pretraining",
    "continual-pretraining": "continued pretraining", "domain-adaptation": "continued pretraining", "instruction-tuning": "sft", "supervised-fine-tuning": "sft"}
_TEXT: tuple[tuple[str, str, str, float], ...] = (
    ("qlora", "qlora quantized\u00a0low-rank", r"qlora|quantized low-rank", 0.8), ("dora", "dora", r"\bdora\b", 0.6), ("lora", "lora low-rank", r"\blora\b|low-rank adapt\w+", 0.7),
    ("orpo", "orpo", r"\borpo\b", 0.75), ("dpo", "dpo preference", r"\bc?dpo\b|direct preference optimi[sz]ation|dpotrainer", 0.7), ("kto", "kto", r"\bkto\b|ktotrainer", 0.7),
    ("simpo", "simpo", r"\bsimpo\b", 0.6), ("grpo", "grpo relative\u00a0policy", r"\bgrpo\b|group relative policy optimi[sz]ation|grpotrainer", 0.75),
    ("ppo", "ppo proximal", r"\bppo\b|proximal policy", 0.65), ("rlhf", "rlhf reinforcement", r"\brlhf\b|reinforcement learning from human feedback", 0.55),
    ("sft", "sft supervised instruct 指令微调 有监督微调", r"\bsft\b|supervised fine-?\s?tun\w+|sfttrainer|instruction[- ](?:fine-?)?tun\w+|指令微调|有监督微调", 0.65),
    ("full", "full fft 全参数 全量微调 フルファイン", r"\bfull(?:[- ](?:parameters?|weights?|model))?[- ]fine-?\s?tun\w+|fully fine-?tuned|\bfull-parameter sft|\bfft\b|全参数|全量微调|フルファインチューニング", 0.8),
    ("continued pretraining", "continu further domain-adaptive 継続事前 继续预训练 增量预训练 계속",
     r"continu(?:ed|al|ous|ally|ing)(?:ly)? pre-?\s?train\w*|further pre-?train\w+|domain-adaptive pre-?train\w+|継続事前学習|继续预训练|增量预训练|계속 사전", 0.75),
    ("distillation", "distil 蒸馏 蒸留", r"\bdistill?ed (?:from|version)|knowledge distillation|\bdistillation\b|蒸馏|蒸留", 0.6), ("dare_ties", "dare", r"\bdare[_ -]?ties\b", 0.85),
    ("slerp", "slerp", r"\bslerp\b", 0.8), ("ties", "ties", r"(?<![_-])\bties\b(?= merg\w+| method|\]|\)|$)", 0.7), ("model_stock", "stock", r"\bmodel[_ ]stock\b", 0.8),
    ("task_arithmetic", "arithmetic", r"\btask[_ ]arithmetic\b", 0.8), ("reward", "reward", r"rewardtrainer|\breward modell?ing\b", 0.7))
_METHODS = tuple((name, tuple(stem.replace("\u00a0", " ") for stem in stems.split(" ")), re.compile(pattern, re.IGNORECASE), sure) for name, stems, pattern, sure in _TEXT)
"""(method, what a text must hold for the pattern to be worth a search, pattern, confidence)."""
_DENIED = re.compile(r"\b(?:no|not|without|instead of|rather than|unlike|vs\.?|versus|compared (?:to|with)|than|before|planned|future|will be|todo|non)\W+(?:\w+\W+){0,2}\Z", re.IGNORECASE)
_MERGED = re.compile(r"^\s*merge_method:[ \t]*[\"']?(\w+)", re.MULTILINE)
MAX_PROSE = 60_000
"""Characters of the body's prose in which a method is looked for."""


def read_method(record: ModelRecord, axolotl: AxolotlConfig | None) -> Answer:
    """full, lora, qlora, dpo, orpo, sft, ...: several may be true at once."""
    return ranked([*_method_of_files(record, axolotl), *_method_of_tags(record), *_method_in_text(record)], many=True)


def _method_of_files(record: ModelRecord, axolotl: AxolotlConfig | None) -> Iterator[Candidate]:
    kind = record.adapter.get("peft_type")
    if isinstance(kind, str) and kind.upper() in _PEFT:
        yield Candidate(_PEFT[kind.upper()], 0.97, (Evidence("adapter_config.json", f"peft_type: {kind}", "adapter_config.json"),))
        if record.adapter.get("use_dora") is True:
            yield Candidate("dora", 0.97, (Evidence("adapter_config.json", "use_dora: true", "adapter_config.json"),))
    if axolotl is None:
        return
    keys = {key: (value, at) for key, value, at in config_entries(axolotl)}
    for key, value in (("adapter", ""), ("rl", ""), ("peft_use_dora", "dora"), ("reward_model", "reward")):
        said, at = keys.get(key, ("", 0))
        if said and said not in ("null", "~", "false", "None"):
            line = axolotl.line + at
            yield Candidate(value or said.casefold(), 0.92, (Evidence("card text", record.card.quote(line), record.card.file, line),))
    if "base_model" in keys and not keys.get("adapter", ("",))[0]:
        base = axolotl.base_model or ("", axolotl.line)
        yield Candidate("full", 0.7, (Evidence("card text", record.card.quote(base[1]), record.card.file, base[1]),), "its config names no adapter")


def _method_of_tags(record: ModelRecord) -> Iterator[Candidate]:
    for tag, path in record.card.strings("tags"):
        if tag.casefold() in _TAGS:
            line = record.card.line(*path)
            yield Candidate(_TAGS[tag.casefold()], 0.85, (Evidence("card metadata", record.card.quote(line) or tag, record.card.file, line),))
    for tag in record.tags:
        if tag.casefold() in _TAGS:
            yield Candidate(_TAGS[tag.casefold()], 0.85, (Evidence("tag", tag),))


def _method_in_text(record: ModelRecord) -> Iterator[Candidate]:
    """Words of the prose; each method once, where it is said first. "Without LoRA" says nothing."""
    card, read = record.card, 0
    low = card.body.casefold()
    wanted = [(name, pattern, sure) for name, stems, pattern, sure in _METHODS if any(stem in low for stem in stems)]
    for block in card.blocks:
        if block.kind == "fence":
            for found in _MERGED.finditer(block.text) if "merge_method" in block.text else ():
                line = block.line + 1 + block.text.count("\n", 0, found.start(1))
                yield Candidate(found.group(1).casefold(), 0.95, (Evidence("card text", card.quote(line), card.file, line),))
        elif wanted and read < MAX_PROSE and not (block.kind == "table" and len(block.rows) > 8):
            read += len(block.text)
            said = [(name, first, sure) for name, pattern, sure in wanted if (first := _first(pattern, block.text))]
            for name, first, sure in said:
                line = min(block.line + block.text.count("\n", 0, first.start()), block.end) if block.kind not in ("html", "table") else block.line
                yield Candidate(name, sure, (Evidence("card text", card.quote(line), card.file, line),))
            if said:
                wanted = [one for one in wanted if one[0] not in {name for name, _, _ in said}]


def _first(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first match that is neither denied nor a part of an address."""
    return next((found for found in pattern.finditer(text) if not _DENIED.search(text, max(0, found.start() - 50), found.start())
                 and "://" not in text[max(0, found.start() - 40) : found.start()].rpartition(" ")[2]), None)
