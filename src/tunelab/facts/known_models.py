"""The numbers of well known base models, from a table that is shipped: what stands in for config.json where neither disk nor Hub has it.

A model is found by its Hub id, or by the last part of its name without what does not change the shapes ("-Instruct", "-hf", ...), so that a
copy under another owner is known too. Who uses the answer says that it comes from the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

# Parts of a name that tell how a model was tuned or packed, not how large it is.
_SAME_SHAPE = frozenset({"instruct", "chat", "it", "pt", "hf", "base", "meta", "bnb", "4bit", "8bit", "unsloth", "awq", "gptq", "fp8", "gguf", "bf16",
                         "fp16", "int4", "int8", "dynamic", "2507", "thinking"})
_TEXT = frozenset({"id", "model_type", "more"})


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A line of the table: `config` is what config.json says of the shapes, `parameters` how many there are."""

    name: str
    config: dict[str, Any]
    parameters: int


def known_model(name: str) -> KnownModel | None:
    """The table's line for a model's name (a Hub id, or a folder's last part), or None."""
    return known_models().get(name.lower()) or _by_bare_name().get(bare_name(name))


@cache
def known_models() -> dict[str, KnownModel]:
    """Every line of the table, by its Hub id in small letters."""
    lines = (resources.files("tunelab.facts") / "known" / "models.tsv").read_text(encoding="utf-8").splitlines()
    names = lines[0].split("\t")
    return {model.name.lower(): model for model in (_model(dict(zip(names, line.split("\t"), strict=True))) for line in lines[1:])}


def bare_name(name: str) -> str:
    """"unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit" -> "llama-3.1-8b"."""
    parts = re.split(r"[-_]", name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower())
    return "-".join(part for part in parts if part and part not in _SAME_SHAPE)


@cache
def _by_bare_name() -> dict[str, KnownModel]:
    found: dict[str, KnownModel] = {}
    for model in known_models().values():
        found.setdefault(bare_name(model.name), model)
    return found


def _model(row: dict[str, str]) -> KnownModel:
    config: dict[str, Any] = {key: value if key in _TEXT else int(value) for key, value in row.items() if key not in ("id", "more", "parameters")}
    config["tie_word_embeddings"] = bool(config["tie_word_embeddings"])
    config |= {key: value == "1" if key.startswith("use_") else int(value) for key, _, value in (part.partition("=") for part in row["more"].split())}
    config |= {"architectures": [_ARCHITECTURES.get(row["model_type"], row["model_type"])], "dtype": "bfloat16"}
    return KnownModel(row["id"], config, int(row["parameters"]))


_ARCHITECTURES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "mixtral": "MixtralForCausalLM", "qwen2": "Qwen2ForCausalLM",
                  "qwen3": "Qwen3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM", "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM",
                  "gemma3_text": "Gemma3ForCausalLM", "phi": "PhiForCausalLM", "phi3": "Phi3ForCausalLM", "gpt2": "GPT2LMHeadModel",
                  "gpt_neox": "GPTNeoXForCausalLM", "falcon": "FalconForCausalLM", "stablelm": "StableLmForCausalLM",
                  "smollm3": "SmolLM3ForCausalLM", "olmo": "OlmoForCausalLM", "olmo2": "Olmo2ForCausalLM", "opt": "OPTForCausalLM",
                  "bloom": "BloomForCausalLM", "granite": "GraniteForCausalLM"}
