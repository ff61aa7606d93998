"""Which trained parameters decay and at which rate they learn: transformers' rules, LoRA+, and the dialect's own rates for parts."""

from __future__ import annotations

import re
from typing import Any

import torch

from tunelab.config import Config
from tunelab.errors import ConfigError

Named = list[tuple[str, torch.nn.Parameter]]

# As transformers' Trainer.get_decay_parameter_names: not biases, not norms, nothing inside a LayerNorm.
_UNDECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
_EMBEDDINGS = ("lora_embedding_", "embed_tokens", "lm_head", "trainable_tokens_delta")
# Optimizers that Axolotl builds itself leave embeddings undecayed, as its own rates for parts do.
_OF_AXOLOTL = frozenset({"optimi_adamw", "ao_adamw_4bit", "ao_adamw_8bit", "ao_adamw_fp8", "adopt_adamw", "adamc", "came_pytorch"})


def grouped(config: Config, model: torch.nn.Module) -> list[dict[str, Any]]:
    """Groups of trained parameters with `lr` (the peak) and `weight_decay`. Raises ConfigError when a name in lr_groups matches nothing."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    _check_names(config, named)
    layer_norms = {f"{name}.{part}" for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)
                   for part, _ in module.named_parameters(recurse=False)}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in named:
        decays = name not in layer_norms and not _UNDECAYED.search(name.lower())
        groups.setdefault(_rate_and_decay(config, name, parameter, decays), []).append(parameter)
    return [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]


def is_embedding(name: str) -> bool:
    """Whether a parameter is an embedding or the output head, LoRA on them, or a module trained in full beside LoRA."""
    return name.endswith("modules_to_save.default.weight") or any(part in name for part in _EMBEDDINGS)


def _rate_and_decay(config: Config, name: str, parameter: torch.nn.Parameter, decays: bool) -> tuple[float, float]:
    settings = config.optimisation
    rate, decay = settings.learning_rate, settings.weight_decay if decays else 0.0
    own_embeddings = settings.embedding_lr is not None or settings.embedding_lr_scale is not None
    if settings.loraplus_lr_ratio is not None and not own_embeddings:
        return _lora_plus(config, name, parameter, decays)
    if is_embedding(name) and (own_embeddings or settings.lr_groups or settings.optimizer in _OF_AXOLOTL):
        decay = 0.0
        rate = rate * settings.embedding_lr_scale if settings.embedding_lr_scale else settings.embedding_lr or rate
    elif decays:
        rate = next((group.lr for group in settings.lr_groups or () if any(part in name for part in group.modules)), rate)
    if settings.loraplus_lr_ratio is not None and "lora_B" in name.split("."):
        rate *= settings.loraplus_lr_ratio
    return rate, decay


def _lora_plus(config: Config, name: str, parameter: torch.nn.Parameter, decays: bool) -> tuple[float, float]:
    """LoRA+ (Hayou et al. 2024, arXiv:2402.12354) as PEFT's create_loraplus_optimizer has it."""
    settings = config.optimisation
    ratio = settings.loraplus_lr_ratio or 1.0
    if "lora_embedding_" in name:
        return settings.loraplus_lr_embedding or settings.learning_rate, settings.weight_decay
    if "lora_B" in name or parameter.ndim == 1:
        return settings.learning_rate * ratio, settings.weight_decay if decays else 0.0
    return settings.learning_rate, settings.weight_decay


def _check_names(config: Config, named: Named) -> None:
    for index, group in enumerate(config.optimisation.lr_groups or ()):
        for piece in group.modules:
            if not any(piece in name for name, _ in named):
                raise ConfigError(f"No trained parameter has {piece!r} in its name, so the group {group.name!r} would not hold.",
                                  where=f"lr_groups[{index}].modules",
                                  next_step=f"Name a part that is trained, for example a piece of {named[0][0]!r}." if named else None)
