"""The model of a run: base weights loaded, new tokens given rows, LoRA put on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from tunelab.config import Config
from tunelab.errors import ModelError
from tunelab.training import attention

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_model(config: Config, weights: Path, precision: str, vocabulary: int) -> torch.nn.Module:
    """Load the base model from a folder and prepare it for training.

    Frozen base weights are held in `precision`; weights that are trained are held in float32 (autocast computes in
    `precision`). `vocabulary` is the tokenizer's size: a larger one than the model's adds embedding rows.
    """
    frozen = config.adapter.adapter is not None
    _allow_tf32(config.hardware.tf32)
    model = load_base(weights, DTYPES[precision] if frozen else torch.float32)
    if vocabulary > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(vocabulary)
    if config.hardware.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if frozen:
        return _with_adapter(config, model)
    return model


def _allow_tf32(asked: bool | str | None) -> None:
    """Let 32-bit matrix products use TensorFloat-32: when asked, and with auto on the GPUs that have it (compute capability 8 and newer)."""
    if asked == "auto":
        asked = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
    torch.backends.cuda.matmul.allow_tf32 = bool(asked)
    torch.backends.cudnn.allow_tf32 = bool(asked)


def load_base(weights: Path, dtype: torch.dtype) -> Any:
    """The base model with packed attention, in evaluation mode. Raises ModelError when the folder cannot be loaded."""
    attention.register()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(weights, dtype=dtype, attn_implementation=attention.NAME, local_files_only=True,
                                                    use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"The base model cannot be loaded: {first}", where=str(weights),
                         next_step="It needs config.json and safetensors weights of an architecture that transformers knows.") from error


def _with_adapter(config: Config, model: Any) -> torch.nn.Module:
    from peft import LoraConfig, PeftModel, get_peft_model

    settings = config.adapter
    if settings.lora_model_dir is not None:
        return PeftModel.from_pretrained(model, settings.lora_model_dir, is_trainable=True)
    targets = "all-linear" if settings.lora_target_linear else settings.lora_target_modules  # with both, as in Axolotl, all of them
    optional = {"r": settings.lora_r, "lora_alpha": settings.lora_alpha, "target_modules": targets,
                "modules_to_save": settings.lora_modules_to_save, "rank_pattern": settings.lora_rank_pattern,
                "alpha_pattern": settings.lora_alpha_pattern, "fan_in_fan_out": settings.lora_fan_in_fan_out}
    lora = LoraConfig(task_type="CAUSAL_LM", lora_dropout=settings.lora_dropout,
                      **{name: value for name, value in optional.items() if value is not None})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in a way that transformers is about to rename
            adapted = get_peft_model(model, lora)
    except ValueError as error:
        raise ModelError(f"The adapter does not fit the model: {str(error).splitlines()[0]}",
                         where="lora_target_modules", next_step="Write lora_target_linear: true, or names of layers that the model has.") from error
    adapted.peft_config["default"].base_model_name_or_path = config.model.base_model
    return adapted


def trainable(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """(name, parameter) of everything that is trained, in the model's order."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
