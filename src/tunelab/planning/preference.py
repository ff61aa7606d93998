"""What a preference method needs beside the model that learns: the reference, and how it is had."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from tunelab.config.config import Config
from tunelab.config.sections.preference import PreferenceSection
from tunelab.facts.shapes import ModelShapes

SCORE_HEAD = "score"
"""What transformers calls the head of a reward model."""

_STARTS_AT_THE_BASE = (None, True, False, "gaussian", "eva")
"""Values of peft_init_lora_weights with which a new adapter changes nothing, so that switching it off gives the model that the run began with."""


def reference_kind(config: Config) -> Literal["adapter off", "recorded"] | None:
    """How the reference is asked: by switching the adapter off in every step, or once for all rows before step 1 (recorded). None: not at all.

    Recorded is right whatever the weights are; it is chosen on request, and where switching off would not give the model at the start.
    """
    if config.preference.rl not in ("dpo", "ipo", "kto"):
        return None
    adapter = config.adapter
    plain = adapter.adapter is not None and adapter.lora_model_dir is None and config.raw.get("peft_init_lora_weights") in _STARTS_AT_THE_BASE
    return "adapter off" if plain and not config.preference.precompute_ref_log_probs else "recorded"


def beta_of(settings: PreferenceSection) -> float:
    """The method's beta, as Axolotl hands it on: rl_beta, else orpo_alpha, else 0.1."""
    return settings.rl_beta if settings.rl_beta is not None else settings.orpo_alpha if settings.orpo_alpha is not None else 0.1


def with_score_head(config: Config, shapes: ModelShapes) -> ModelShapes:
    """The shapes of a reward model: one number for each token in place of the head over the vocabulary; unchanged for all else."""
    if not config.preference.reward_model or config.preference.rl is not None:
        return shapes
    tensors = {name: shape for name, shape in shapes.tensors.items() if not name.startswith(f"{shapes.head.name}.")}
    tensors[f"{SCORE_HEAD}.weight"] = (1, shapes.hidden_size)
    return replace(shapes, tensors=MappingProxyType(tensors), parameters=sum(map(math.prod, tensors.values())))


def about_reference(config: Config) -> str | None:
    """What the reference costs, in a sentence."""
    kind = reference_kind(config)
    if kind == "adapter off":
        return ("The reference model is the base with the adapter switched off: no second copy in memory, one more forward pass in each step, which is in "
                "the time and not in the tokens.")
    if kind == "recorded":
        return ("The reference model is asked about every row once before step 1: one forward pass over the data, which is in neither time nor tokens, "
                "and two numbers a row to keep instead of a second copy of the model.")
    return None
