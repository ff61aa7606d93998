"""The model of a run: base weights loaded, each token given a row, an adapter put on or weights frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tunelab.config import Config
from tunelab.training.adapters import with_adapter
from tunelab.training.base_weights import fit_vocabulary, load_base, packing, random_base
from tunelab.training.freezing import freeze
from tunelab.training.preference.scoring import ScoringModel

__all__ = ["DTYPES", "build_model", "load_base", "trainable"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_model(config: Config, weights: Path, precision: str, vocabulary: int) -> torch.nn.Module:
    """Load the base model from a folder and prepare it for training.

    Frozen base weights are held in `precision`, or packed to 4 or 8 bits; weights that are trained are held in float32 (autocast computes in
    `precision`). `vocabulary` is the tokenizer's size: a larger one than the model's adds embedding rows.
    Random numbers are drawn (new rows, LoRA matrices): seed torch before. Raises ModelError.
    """
    frozen = config.adapter.adapter is not None
    reward = config.preference.method == "reward"
    auto_class: Any = ScoringModel if reward else AutoModelForCausalLM
    dtype = DTYPES[precision] if frozen else torch.float32
    _allow_tf32(config.hardware.tf32)
    if config.model.reinit_weights:
        model = random_base(weights, dtype, auto_class)
    else:
        model = load_base(weights, dtype, packing(config, DTYPES[precision]), auto_class)
    fit_vocabulary(config, model, vocabulary)
    if config.hardware.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if frozen:
        return with_adapter(config, model, weights, "SEQ_CLS" if reward else "CAUSAL_LM")
    freeze(config, model)
    return model


def trainable(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """(name, parameter) of everything that is trained, in the model's order."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def _allow_tf32(asked: bool | str | None) -> None:
    """Let 32-bit matrix products use TensorFloat-32: when asked, and with auto on the GPUs that have it (compute capability 8 and newer)."""
    if asked == "auto":
        asked = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
    torch.backends.cuda.matmul.allow_tf32 = bool(asked)
    torch.backends.cudnn.allow_tf32 = bool(asked)
