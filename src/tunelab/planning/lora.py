"""Which layers get LoRA matrices and how many parameters that trains (Hu et al. 2021, arXiv:2106.09685; matching as in PEFT).

DoRA (Liu et al. 2024, arXiv:2402.09353) adds a magnitude for each output; rsLoRA (Kalajdzievski 2023, arXiv:2312.03732) changes the scale
and no count. The experts of a mixture are one tensor, and its matrices have the rank for each expert (PEFT's conversion for
transformers 5).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunelab.config.config import Config
from tunelab.errors import ModelError
from tunelab.facts.adapter import SavedAdapter, read_adapter
from tunelab.facts.shapes import LinearLayer, ModelShapes
from tunelab.planning.freezing import thawed

DEFAULT_R = 8
DEFAULT_ALPHA = 8.0
"""PEFT's own defaults, used when lora_r or lora_alpha is not written."""

EMBEDDING_NAMES = ("embed_tokens", "wte", "word_embeddings", "embed_in")
_DEFAULT_TARGETS = ("q_proj", "v_proj")
# Families whose default in PEFT is not q_proj and v_proj; for a family without a default all linear layers stand in.
_OTHER_TARGETS = {"gpt2": ("c_attn",), "gpt_bigcode": ("c_attn",), "gpt_neox": ("query_key_value",), "falcon": ("query_key_value",),
                  "bloom": ("query_key_value",), "mpt": ("Wqkv",), "codegen": ("qkv_proj",), "phi": ("q_proj", "v_proj", "fc1", "fc2")}
# Mixtures whose experts and routers, no longer linear layers in transformers 5, PEFT still finds by their old names.
_CONVERTED = frozenset({"mixtral", "qwen3_moe"})


def target_layers(config: Config, shapes: ModelShapes) -> tuple[LinearLayer, ...]:
    """The layers that get LoRA matrices, in the order of the model; empty for full fine-tuning.

    A list matches the ends of module names, a string is a pattern for the whole name ("all-linear": every linear layer except the
    head). The head and the embedding are matched too when they are named. What is trained in full (lora_modules_to_save) is left out.
    peft_layers_to_transform narrows them to some layers; lora_target_parameters adds tensors by their names. A pattern that cannot be
    compiled matches nothing (rule TL406 says so).
    """
    settings = config.adapter
    if settings.adapter is None:
        return ()
    shapes = replicated(config, shapes)
    if (saved_adapter := adapter_to_go_on_from(config)) is not None:
        return tuple(layer for layer in (shapes.embedding, *shapes.linear_layers, shapes.head) if _rank_in(saved_adapter, layer))
    named, everything = settings.lora_target_modules, bool(settings.lora_target_linear)
    if isinstance(named, str) and named.lower() == "all-linear":
        named, everything = None, True
    if named is None and not everything:
        named = list(default_targets(shapes))
        everything = not named
    matches = _matcher(named if named is not None else [])
    saved = _saved_in_full(settings.lora_modules_to_save or ())
    linear = {layer.name for layer in shapes.linear_layers} if everything else set()
    converted = shapes.model_type in _CONVERTED
    within, by_name = _layer_filter(config), _names(settings.lora_target_parameters)
    return tuple(layer for layer in (shapes.embedding, *shapes.linear_layers, shapes.head)
                 if ((layer.name in linear or any(map(matches, _spellings(layer)))) and not saved(layer.name)
                     and (within(layer.name) or (isinstance(named, list) and layer.name in named))
                     and (converted or not (layer.experts > 1 or layer.is_router)))
                 or any(_ends(name, target) for target in by_name for name in (layer.name, f"{layer.name}.weight")))


def _spellings(layer: LinearLayer) -> tuple[str, ...]:
    """The names by which a config can mean a layer: experts also by those that each had of its own (Qwen's and Mixtral's)."""
    if layer.experts == 1:
        return (layer.name,)
    parent, _, name = layer.name.rpartition(".")
    return tuple(f"{parent}.0.{old}" for old in (("gate_proj", "w1") if name == "gate_up_proj" else ("down_proj", "w2")))


def _layer_filter(config: Config) -> Callable[[str], bool]:
    """peft_layers_to_transform and peft_layers_pattern, as PEFT reads a layer's number from a module's name."""
    chosen = config.adapter.peft_layers_to_transform
    if not chosen:
        return lambda name: True
    wanted = set(chosen)
    patterns = [re.escape(one) for one in config.adapter.peft_layers_pattern or ()] or ["[^.]*"]

    def within(name: str) -> bool:
        found = next((match for pattern in patterns if (match := re.match(rf".*\.{pattern}\.(\d+)\.", name))), None)
        return found is not None and int(found.group(1)) in wanted

    return within


def _names(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value] if isinstance(value, list) else []


def default_targets(shapes: ModelShapes) -> tuple[str, ...]:
    """What PEFT adapts when no target is written: q_proj and v_proj for Llama-like models; empty when it has no default."""
    wanted = _OTHER_TARGETS.get(shapes.model_type, _DEFAULT_TARGETS)
    return tuple(name for name in wanted if any(layer.name.endswith(f".{name}") for layer in shapes.linear_layers))


def matches_any(target: str, shapes: ModelShapes) -> bool:
    """Whether one name of a list of targets is the end of any module that LoRA can sit beside."""
    return any(_ends(name, target) for layer in (shapes.embedding, *shapes.linear_layers, shapes.head) for name in _spellings(layer))


def rank_of(config: Config, layer: LinearLayer) -> int:
    """lora_r for this layer: the first matching entry of lora_rank_pattern, else lora_r; twice for the fused gate and up of experts. An
    adapter to go on from has its own."""
    if (saved := adapter_to_go_on_from(config)) is not None and (rank := _rank_in(saved, layer)):
        return rank
    for pattern, rank in (config.adapter.lora_rank_pattern or {}).items():
        if is_pattern(pattern) and re.match(rf"(.*\.)?({pattern})$", layer.name):
            return rank
    by_name = any(_ends(layer.name, target) for target in _names(config.adapter.lora_target_parameters))
    fused = layer.experts > 1 and layer.name.endswith(".gate_up_proj") and not by_name
    return (config.adapter.lora_r or DEFAULT_R) * (2 if fused else 1)


def is_pattern(text: str) -> bool:
    """Whether a text is a regular expression."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def lora_parameters(config: Config, layers: Iterable[LinearLayer]) -> int:
    """Parameters of the LoRA matrices: for each layer A (r x in) and B (out x r), for each expert; with DoRA a magnitude per output."""
    dora = bool(config.adapter.peft_use_dora)
    return sum(rank_of(config, layer) * layer.experts * (layer.in_features + layer.out_features) + (_magnitudes(layer) if dora else 0)
               for layer in layers)


def _magnitudes(layer: LinearLayer) -> int:
    """DoRA's vector: a number per output of a matrix, per dimension of an embedding; tensors of experts and routers have none."""
    if layer.experts > 1 or layer.is_router:
        return 0
    return layer.in_features if layer.name.rpartition(".")[2] in EMBEDDING_NAMES else layer.out_features


def lora_shapes(config: Config, layers: Iterable[LinearLayer]) -> list[tuple[int, ...]]:
    """The shapes of all LoRA tensors, as an optimizer sees them."""
    if (saved := adapter_to_go_on_from(config)) is not None:
        return list(saved.trained)
    dora = bool(config.adapter.peft_use_dora)
    found: list[tuple[int, ...]] = []
    for layer in layers:
        rank = rank_of(config, layer) * layer.experts
        found += [(rank, layer.in_features), (layer.out_features, rank)]
        if dora and (size := _magnitudes(layer)):
            found.append((size,))
    return found


def trainable_parameters(config: Config, shapes: ModelShapes) -> int:
    """How many parameters are trained: of a full fine-tuning all (or the unfrozen ones), else LoRA matrices and modules trained in full."""
    if config.adapter.adapter is None:
        return sum(math.prod(shape) for shape in full_shapes(config, shapes).values())
    if (saved := adapter_to_go_on_from(config)) is not None:
        return saved.parameters
    return lora_parameters(config, target_layers(config, shapes)) + saved_parameters(config, shapes) + token_parameters(config, shapes)


def full_shapes(config: Config, shapes: ModelShapes) -> dict[str, tuple[int, ...]]:
    """The tensors that a full fine-tuning trains: all, or those that unfrozen_parameters names. Of a tensor with a range of rows the whole
    is counted: it has gradients and optimizer state as a whole."""
    return {name: one.shape for name, one in thawed(config, shapes.tensors).items()}


def adapter_to_go_on_from(config: Config) -> SavedAdapter | None:
    """What is in lora_model_dir; None without one, or when it cannot be read (rule TL417 says so)."""
    if config.adapter.adapter is None or config.adapter.lora_model_dir is None:
        return None
    try:
        return read_adapter(Path(config.adapter.lora_model_dir).expanduser())
    except ModelError:
        return None


def _rank_in(adapter: SavedAdapter, layer: LinearLayer) -> int:
    """The rank of a layer's matrices in a saved adapter, 0 when it has none."""
    prefix = f"base_model.model.{layer.name}."
    for name, shape in adapter.shapes.items():
        if name.startswith(prefix) and "lora_" in name and "_A" in name and len(shape) == 2:
            return shape[0] // layer.experts
    return 0


def initialisation(config: Config) -> str:
    """How the LoRA matrices start: "default", or what peft_init_lora_weights or loftq_config name (false is taken as unset, as in Axolotl)."""
    written, peft = config.adapter.peft_init_lora_weights, config.adapter.peft
    if written:
        return "default" if written is True else written.lower()
    return "loftq" if peft is not None and peft.loftq_config is not None and peft.loftq_config.loftq_bits else "default"


def replicated(config: Config, shapes: ModelShapes) -> ModelShapes:
    """The model with peft_layer_replication: as many layers as its ranges have, which share the tensors that are there."""
    ranges = config.adapter.peft_layer_replication
    if not ranges or config.adapter.adapter is None:
        return shapes
    order = [index for start, end in ranges for index in range(start, min(end, shapes.layers))]
    layers = tuple(replace(layer, name=f"{match[1]}{new}{match[3]}") for new, old in enumerate(order) for layer in shapes.linear_layers
                   if (match := re.fullmatch(r"(.+?\.)(\d+)(\..+)", layer.name)) and int(match[2]) == old)
    return replace(shapes, layers=len(order), linear_layers=layers)


def token_parameters(config: Config, shapes: ModelShapes) -> int:
    """Parameters of peft_trainable_token_indices: a row of the embedding for each token, and of an untied head when it is named."""
    chosen = config.adapter.peft_trainable_token_indices
    if chosen is None:
        return 0
    if isinstance(chosen, list):
        return len(chosen) * shapes.embedding.in_features
    modules = [layer for layer in (shapes.embedding, shapes.head) if not (layer is shapes.head and shapes.tied_embeddings)]
    return sum(len(tokens) * layer.in_features for name, tokens in chosen.items() for layer in modules if _ends(layer.name, name))


def saved_parameters(config: Config, shapes: ModelShapes) -> int:
    """Parameters of the modules that lora_modules_to_save trains in full."""
    return sum(math.prod(shape) for shape in saved_shapes(config, shapes))


def saved_shapes(config: Config, shapes: ModelShapes) -> list[tuple[int, ...]]:
    """The tensors of the modules that lora_modules_to_save trains in full; a head that is tied gets a copy of its own
    (unless peft_ensure_weight_tying shares the embedding's)."""
    if config.adapter.adapter is None:
        return []
    heads = ("score",) if config.preference.method == "reward" else ()  # PEFT adds the head of a classifier by itself
    saved = _saved_in_full((*(config.adapter.lora_modules_to_save or ()), *heads))
    found = [shape for name, shape in shapes.tensors.items() if saved(name.rpartition(".")[0])]
    shared = config.adapter.peft_ensure_weight_tying and saved(shapes.embedding.name)
    if shapes.tied_embeddings and saved(shapes.head.name) and not shared:
        found.append((shapes.head.out_features, shapes.head.in_features))
    return found


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
