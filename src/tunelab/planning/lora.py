"""Which layers get LoRA matrices and how many parameters that trains (Hu et al. 2021, arXiv:2106.09685; matching as in PEFT)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from tunelab.config.config import Config
from tunelab.facts.shapes import LinearLayer, ModelShapes

DEFAULT_R = 8
DEFAULT_ALPHA = 8.0
"""PEFT's own defaults, used when lora_r or lora_alpha is not written."""

_DEFAULT_TARGETS = ("q_proj", "v_proj")
# Families whose default in PEFT is not q_proj and v_proj; for a family without a default all linear layers stand in.
_OTHER_TARGETS = {"gpt2": ("c_attn",), "gpt_bigcode": ("c_attn",), "gpt_neox": ("query_key_value",), "falcon": ("query_key_value",),
                  "bloom": ("query_key_value",), "mpt": ("Wqkv",), "codegen": ("qkv_proj",), "phi": ("q_proj", "v_proj", "fc1", "fc2")}


def target_layers(config: Config, shapes: ModelShapes) -> tuple[LinearLayer, ...]:
    """The layers that get LoRA matrices, in the order of the model; empty for full fine-tuning.

    A list matches the ends of module names, a string is a pattern for the whole name ("all-linear": every linear layer except the
    head). The head and the embedding are matched too when they are named. What is trained in full (lora_modules_to_save) is left out.
    A pattern that cannot be compiled matches nothing (rule TL406 says so).
    """
    settings = config.adapter
    if settings.adapter is None:
        return ()
    named, everything = settings.lora_target_modules, bool(settings.lora_target_linear)
    if isinstance(named, str) and named.lower() == "all-linear":
        named, everything = None, True
    if named is None and not everything:
        named = list(default_targets(shapes))
        everything = not named
    matches = _matcher(named if named is not None else [])
    saved = _saved_in_full(settings.lora_modules_to_save or ())
    linear = {layer.name for layer in shapes.linear_layers} if everything else set()
    return tuple(layer for layer in (shapes.embedding, *shapes.linear_layers, shapes.head)
                 if (layer.name in linear or matches(layer.name)) and not saved(layer.name))


def default_targets(shapes: ModelShapes) -> tuple[str, ...]:
    """What PEFT adapts when no target is written: q_proj and v_proj for Llama-like models; empty when it has no default."""
    wanted = _OTHER_TARGETS.get(shapes.model_type, _DEFAULT_TARGETS)
    return tuple(name for name in wanted if any(layer.name.endswith(f".{name}") for layer in shapes.linear_layers))


def matches_any(target: str, shapes: ModelShapes) -> bool:
    """Whether one name of a list of targets is the end of any module that LoRA can sit beside."""
    return any(_ends(layer.name, target) for layer in (shapes.embedding, *shapes.linear_layers, shapes.head))


def rank_of(config: Config, layer: LinearLayer) -> int:
    """lora_r for this layer: the first matching entry of lora_rank_pattern, else lora_r."""
    for pattern, rank in (config.adapter.lora_rank_pattern or {}).items():
        if is_pattern(pattern) and re.match(rf"(.*\.)?({pattern})$", layer.name):
            return rank
    return config.adapter.lora_r or DEFAULT_R


def is_pattern(text: str) -> bool:
    """Whether a text is a regular expression."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def lora_parameters(config: Config, layers: Iterable[LinearLayer]) -> int:
    """Parameters of the LoRA matrices: for each layer A (r x in) and B (out x r)."""
    return sum(rank_of(config, layer) * (layer.in_features + layer.out_features) for layer in layers)


def trainable_parameters(config: Config, shapes: ModelShapes) -> int:
    """How many parameters are trained: all of them without an adapter, else LoRA matrices and modules trained in full."""
    if config.adapter.adapter is None:
        return shapes.parameters
    return lora_parameters(config, target_layers(config, shapes)) + saved_parameters(config, shapes)


def saved_parameters(config: Config, shapes: ModelShapes) -> int:
    """Parameters of the modules that lora_modules_to_save trains in full; a head that is tied gets a copy of its own."""
    names = config.adapter.lora_modules_to_save or ()
    saved = _saved_in_full(names)
    total = sum(math.prod(shape) for name, shape in shapes.tensors.items() if saved(name.rpartition(".")[0]))
    if shapes.tied_embeddings and saved(shapes.head.name):
        total += shapes.head.out_features * shapes.head.in_features
    return total


def unmatched_saved(config: Config, shapes: ModelShapes) -> tuple[str, ...]:
    """The names in lora_modules_to_save that no module of this model has."""
    modules = {name.rpartition(".")[0] for name in shapes.tensors} | {shapes.head.name}
    return tuple(name for name in config.adapter.lora_modules_to_save or () if not any(map(_saved_in_full([name]), modules)))


def _matcher(named: str | list[str]) -> Callable[[str], bool]:
    if isinstance(named, str):
        if not is_pattern(named):
            return lambda name: False
        pattern = re.compile(named)
        return lambda name: pattern.fullmatch(name) is not None
    return lambda name: any(_ends(name, target) for target in named)


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _saved_in_full(names: Iterable[str]) -> Callable[[str], bool]:
    """PEFT finds modules_to_save anywhere in a module's path, whole parts only."""
    wanted = tuple(names)
    return lambda module: any(f".{name}." in f".{module}." for name in wanted)
