"""Fenced blocks that say what a model was made from: a merge recipe, a training config, code that puts an adapter on its base."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tunelab.hub.card import Block, Card
from tunelab.hub.evidence import Evidence
from tunelab.hub.model_names import ModelName, model_name

_MERGE = re.compile(r"\b(?:merge_method|merge_mode|gate_mode):|^[ \t]*slices[ \t]*:|^[ \t]*-[ \t]*(?:source_model|sources)[ \t]*:", re.MULTILINE)
_METHOD = re.compile(r"\bmerge_method[ \t]*:[ \t]*([\w-]{1,40})")
_PARENT = re.compile(
    r"""(?:\A|[\s-])(model|source_model|base_model|model_path)[ \t]*:[ \t]*"""
    r"""(?:"([^"\n]{1,300})"|'([^'\n]{1,300})'|([A-Za-z]:[\\/][^\n#]{1,300}|[^\s"'#]{1,200}))"""
)
_SETTING = re.compile(
    r"""^[ \t]*(?:-{0,2})["']?(base_model|base_model_id|base_model_name|base_model_name_or_path|"""
    r"""model_name_or_path|base_model_path|pretrained_model_name_or_path|BASE_MODEL|BASE|base_id|BASE_MODEL_ID|peft_base)"""
    r"""["']?[ \t]*[:=]?[ \t]*[fr]?["']?([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}|[a-z][\w.-]{2,60})["']?[ \t\\,]*(?:#.{0,200})?$"""
)
_LOADED = re.compile(
    r"""\b(?:Auto\w*|\w*(?:Model|ForCausalLM|LMHeadModel|Classification|Generation|LanguageModel|"""
    r"""ForConditionalGeneration|Pipeline))\.from_pretrained\(\s*(?:model_name\s*=\s*|model\s*=\s*|model_id\s*=\s*|"""
    r"""pretrained_model_name_or_path\s*=\s*)?(?:["']([^"'\s]{2,200})["']|([A-Za-z_]\w{0,60})\b)|"""
    r"""\bLLM\(\s*(?:model\s*=\s*)?["']([^"'\s]{2,200})["']|--(?:model|base[-_]model)[ =]+["']?([\w.-]+/[\w.-]+)"""
)
_CONVERTS = re.compile(r"export|convert|quantiz", re.IGNORECASE)
_CONVERTED = re.compile(
    r"""--(?:model|model[-_](?:id|name|path)|hf[-_]path|input)[ =]+["']?([\w.-]+/[\w.-]+|[a-z]+(?:-[\w.]+)+)(?=["'\s]|\Z)|"""
    r"""from_pretrained\(\s*["']([^"'\s]{2,200})["'][^()\n]{0,200}\b(?:export|from_transformers)\s*=\s*True"""
)
_ASSIGNED = re.compile(r"""^[ \t]*([A-Za-z_]\w{0,60})\s*=\s*[fr]?["']([^"'\s]{2,200})["']""", re.MULTILINE)
_ADAPTER_CODE = re.compile(
    r"\bPeft(?:Model\w*|Config)\b|\.load_adapter\(|\bload_lora_weights\b|\bLoRARequest\b|\benable_lora\b|--lora-modules|--enable-lora|--adapter-path|--lora\b"
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A merge recipe: `method`, and the models in it; `base` is also among `models` when the recipe merges it in."""

    method: str
    models: tuple[tuple[str, Evidence], ...]
    base: tuple[str, Evidence] | None
    evidence: Evidence


def merge_recipe(card: Card) -> Recipe | None:
    """The first mergekit recipe that the card shows."""
    for block in card.blocks:
        if block.kind not in ("heading", "table") and ":" in block.text and len(block.text) < 40_000 and _MERGE.search(block.text):
            found = _recipe(card, block)
            if found.models or found.base:
                return found
    return None


def _recipe(card: Card, block: Block) -> Recipe:
    models: dict[str, Evidence] = {}
    base: tuple[str, Evidence] | None = None
    for line, text in _numbered(block):
        for found in _PARENT.finditer(text[:5_000]):
            for written in next(filter(None, found.groups()[1:])).split("+"):
                said = model_name(written)
                if said is None or not (said.is_id or said.is_path):
                    continue
                evidence = Evidence("card text", text.strip(), card.file, line)
                if found.group(1) == "base_model":
                    base = (said.value, evidence)
                else:
                    models.setdefault(said.value, evidence)
    method = _METHOD.search(block.text)
    first = next((line for line, text in _numbered(block) if _MERGE.match(text)), block.line)
    return Recipe(method.group(1) if method else "", tuple(models.items()), base, Evidence("card text", card.quote(first), card.file, first))


def settings(card: Card) -> Iterator[tuple[ModelName, str, Evidence]]:
    """(name, key, place) of a training config or script that names the model which it trains, merge recipes aside."""
    for block in card.blocks:
        if (
            block.kind != "fence"
            or len(block.text) > 40_000
            or not re.search("base|model_name_or_path", block.text, re.IGNORECASE)
            or _MERGE.search(block.text)
        ):
            continue
        for line, text in _numbered(block):
            found = _SETTING.match(text) if len(text) < 500 else None
            said = model_name(found.group(2)) if found else None
            if found and said is not None and not said.is_path:
                yield said, found.group(1), Evidence("card text", text.strip(), card.file, line)


def converted_from(card: Card) -> Iterator[tuple[ModelName, Evidence]]:
    """The models that a command for converting or quantising is given."""
    for block in card.blocks:
        if block.kind == "fence" and len(block.text) < 40_000 and _CONVERTS.search(block.text):
            for line, text in _numbered(block):
                found = _CONVERTED.search(text[:1_000])
                said = model_name(next(filter(None, found.groups()))) if found else None
                if said is not None:
                    yield said, Evidence("card text", text.strip(), card.file, line)


def adapter_code(card: Card) -> Evidence | None:
    """The first line of code that puts an adapter on a model."""
    for block in card.blocks:
        found = _ADAPTER_CODE.search(block.text) if block.kind == "fence" and len(block.text) < 40_000 else None
        if found:
            line = min(block.line + _first(block) + block.text.count("\n", 0, found.start()), block.end)
            return Evidence("card text", card.quote(line), card.file, line)
    return None


def loaded_beside_adapter(card: Card) -> Iterator[tuple[ModelName, Evidence]]:
    """The models that code loads to put an adapter on them."""
    if adapter_code(card) is None:
        return
    for block in card.blocks:
        if block.kind != "fence" or len(block.text) >= 40_000:
            continue
        assigned = dict(_ASSIGNED.findall(block.text))
        for found in _LOADED.finditer(block.text):
            literal, variable, served, option = found.groups()
            said = model_name(literal or served or option or assigned.get(variable))
            if said is not None and not found.group().startswith(("Peft", "AutoPeft", "AutoTokenizer", "AutoProcessor", "AutoConfig")):
                line = min(block.line + _first(block) + block.text.count("\n", 0, found.start()), block.end)
                yield said, Evidence("card text", card.quote(line), card.file, line)


def _first(block: Block) -> int:
    """Lines between a fence's first and the first of its text."""
    return int(block.kind == "fence" and block.end > block.line)


def _numbered(block: Block) -> Iterator[tuple[int, str]]:
    return ((block.line + _first(block) + index, text) for index, text in enumerate(block.text.split("\n")))
