"""LoRA put on a base model, in all its forms, through PEFT; and an adapter written and read back.

PiSSA (Meng et al. 2024, arXiv:2404.02948) and OLoRA (Buyukakyuz 2024, arXiv:2406.01775) take the part that the adapter starts with out of
the base weights. Such an adapter is written as the difference to its start, [A; A0] and [B, -B0] of twice the rank, so that it fits the
base as everybody else has it; reading a checkpoint takes the two halves apart again, so that the run goes on exactly.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tunelab.config import Config
from tunelab.errors import ModelError
from tunelab.facts.adapter import WEIGHTS, read_adapter
from tunelab.facts.model import weight_paths
from tunelab.planning.lora import initialisation
from tunelab.training.base_weights import let_go_of_the_file, refuse_not_finite

_START, _RESIZED = "tunelab_start", "tunelab_resized"
_DOES_NOT_FIT = (ValueError, TypeError, KeyError, IndexError, NotImplementedError, RuntimeError)


def with_adapter(config: Config, model: Any, weights: Path, task: str = "CAUSAL_LM") -> torch.nn.Module:
    """The model with a fresh adapter, or with that of lora_model_dir; only the adapter is trained, in float32. Raises ModelError.

    `weights`: the base model's folder, which LoftQ compares with the packed weights. `task`: as PEFT names it (SEQ_CLS for a reward model).
    """
    settings = config.adapter
    rows = model.get_input_embeddings().num_embeddings
    resized = rows != getattr(_text_config(weights, model), "vocab_size", rows)
    wide = settings.peft_autocast_adapter_dtype is not False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers in a way that it is about to rename; what matters is checked below
        adapted = _going_on(settings.lora_model_dir, model, wide) if settings.lora_model_dir else _fresh(config, model, task, wide)
    adapted.peft_config["default"].base_model_name_or_path = config.model.base_model
    setattr(adapted, _RESIZED, resized)
    if wide:
        for parameter in adapted.parameters():
            if parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16):
                parameter.data = parameter.data.float()
    start = initialisation(config) if not settings.lora_model_dir else "default"
    if start == "loftq":
        _start_from_what_packing_loses(adapted, weights)
    if start.startswith(("pissa", "olora")):
        let_go_of_the_file(one for name, one in adapted.named_parameters() if not one.requires_grad and ".base_layer." not in name)
        setattr(adapted, _START, {name: tensor.detach().clone() for name, tensor in _matrices(adapted)})
    return adapted


def _fresh(config: Config, model: Any, task: str, wide: bool) -> Any:
    from peft import LoraConfig, get_peft_model

    settings = config.adapter
    start = initialisation(config)
    parameters = settings.lora_target_parameters
    optional = {
        "r": settings.lora_r, "lora_alpha": settings.lora_alpha, "target_modules": _targets(config, model),
        "target_parameters": [parameters] if isinstance(parameters, str) else parameters, "modules_to_save": settings.lora_modules_to_save,
        "rank_pattern": settings.lora_rank_pattern, "alpha_pattern": settings.lora_alpha_pattern, "fan_in_fan_out": settings.lora_fan_in_fan_out,
        "use_dora": settings.peft_use_dora, "use_rslora": settings.peft_use_rslora, "layers_to_transform": settings.peft_layers_to_transform,
        "layers_pattern": settings.peft_layers_pattern, "layer_replication": settings.peft_layer_replication,
        "trainable_token_indices": settings.peft_trainable_token_indices, "ensure_weight_tying": settings.peft_ensure_weight_tying,
        "init_lora_weights": start if start not in ("default", "loftq") else None}
    lora = LoraConfig(task_type=task, lora_dropout=settings.lora_dropout, **{name: value for name, value in optional.items() if value})
    try:
        return get_peft_model(model, lora, autocast_adapter_dtype=wide)
    except _DOES_NOT_FIT as error:
        raise ModelError(f"The adapter does not fit the model: {_first_line(error)}", where="lora_target_modules",
                         next_step="Write lora_target_linear: true, or names of layers that the model has.") from error


def _targets(config: Config, model: Any) -> str | list[str] | None:
    """Which modules get LoRA. lora_target_linear adds the name of every linear layer except the head's to lora_target_modules, as in Axolotl."""
    settings = config.adapter
    named = settings.lora_target_modules
    if not settings.lora_target_linear and not (isinstance(named, str) and named.lower() == "all-linear"):
        return named
    more = [named] if isinstance(named, str) else named or []
    if not settings.peft_layers_to_transform and not [one for one in more if one.lower() != "all-linear"]:
        return "all-linear"  # also finds the experts of a mixture
    head = model.get_output_embeddings()
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head}
    return sorted(linear.union(one for one in more if one.lower() != "all-linear"))


def _going_on(folder: str, model: Any, wide: bool) -> Any:
    from peft import PeftModel

    saved = read_adapter(Path(folder).expanduser())
    if saved.changed_base:
        raise ModelError(f"The adapter starts from {saved.changed_base} and was saved without being converted: it belongs to a changed base.",
                         where=folder, next_step="Save it with peft's path_initial_model_for_weight_conversion; tunelab's own runs do that.")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, str(saved.folder), is_trainable=True, autocast_adapter_dtype=wide)
    except _DOES_NOT_FIT as error:
        raise ModelError(f"The adapter was made for another model: {_first_line(error)}", where=folder,
                         next_step=f"Its base is {saved.base or 'not named'}; write that as base_model, or leave lora_model_dir out.") from error
    if any("missing adapter keys" in str(one.message) for one in said):
        raise ModelError("The adapter's file lacks some of the weights that its config asks for.", where=folder,
                         next_step="Copy it again from where it was trained.")
    refuse_not_finite(((name, one) for name, one in adapted.named_parameters() if one.requires_grad), saved.folder, "adapter")
    return adapted


def save_adapter(model: Any, folder: Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write an adapter in PEFT's format, made for the unchanged base. Embeddings are written too when the vocabulary was resized.

    `weights`: the model's whole weights by name, when it holds a part of them only.
    """
    config = model.peft_config["default"]
    start: dict[str, torch.Tensor] | None = getattr(model, _START, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if start is None:
            model.save_pretrained(folder, save_embedding_layers=getattr(model, _RESIZED, False), state_dict=weights)
            return
        state = _state(model)
    for name, first in start.items():
        parts = [state[name], first.to(state[name].dtype)] if "lora_A" in name else [state[name], -first.to(state[name].dtype)]
        state[name] = torch.cat(parts, dim=0 if "lora_A" in name else 1)
    folder.mkdir(parents=True, exist_ok=True)
    _doubled(config).save_pretrained(str(folder))
    seen: set[int] = set()
    for name, tensor in state.items():  # a tied head is the embedding's memory, which safetensors does not write twice
        state[name] = tensor.clone() if tensor.data_ptr() in seen else tensor.contiguous()
        seen.add(tensor.data_ptr())
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def saved_names(model: Any) -> dict[str, str]:
    """How each weight of an adapted model is called in the adapter's file, by its name in the model."""
    from peft import get_peft_model_state_dict

    marks = {name: torch.empty(0) for name in model.state_dict()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = get_peft_model_state_dict(model, state_dict=marks, save_embedding_layers=getattr(model, _RESIZED, False))
    found = {id(mark): name for name, mark in stored.items()}
    return {name: found[id(mark)] for name, mark in marks.items() if id(mark) in found}


def load_adapter(model: Any, folder: Path) -> None:
    """Put an adapter that `save_adapter` wrote for this very run back into place, bit for bit."""
    from peft import set_peft_model_state_dict

    state = load_file(folder / WEIGHTS)
    start: dict[str, torch.Tensor] | None = getattr(model, _START, None)
    if start is not None:
        saved = {}
        for name in start:
            whole = state[name]
            dim = 0 if "lora_A" in name else 1
            state[name], first = (half.contiguous() for half in whole.chunk(2, dim=dim))
            saved[name] = first if dim == 0 else -first
        _start_again_from(model, start, saved)
    set_peft_model_state_dict(model, state)


def _start_again_from(model: Any, start: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    """Where a decomposition came out differently than when the run began (on another machine), move the base to what it was then."""
    for name, module in _layers(model):
        a, b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        if a in start and not (torch.equal(start[a].cpu(), saved[a]) and torch.equal(start[b].cpu(), saved[b])):
            weight = module.get_base_layer().weight
            new, old = (one[b].to(weight.device, torch.float32) @ one[a].to(weight.device, torch.float32) for one in (start, saved))
            change = module.scaling["default"] * (new - old)
            weight.data += (change.T if module.fan_in_fan_out else change).to(weight.dtype)
            start[a], start[b] = saved[a].to(weight.device), saved[b].to(weight.device)


def _start_from_what_packing_loses(model: Any, weights: Path) -> None:
    """LoftQ (Li et al. 2023, arXiv:2310.08659) in one alternation: base plus adapter begin at the best fit to the unpacked weights."""
    from bitsandbytes.functional import dequantize_4bit

    for name, module in _layers(model):
        base = module.get_base_layer().weight
        original = _original(weights, f"{name.removeprefix('base_model.model.')}.weight").to(base.device, torch.float32)
        lost = original - dequantize_4bit(base.data, base.quant_state).float()
        left, sizes, right = torch.linalg.svd(lost, full_matrices=False)
        rank, roots = module.r["default"], sizes[: module.r["default"]].sqrt()
        module.lora_A["default"].weight.data.copy_(roots[:, None] * right[:rank])
        module.lora_B["default"].weight.data.copy_(left[:, :rank] * roots / module.scaling["default"])


def _original(weights: Path, name: str) -> torch.Tensor:
    for path in weight_paths(weights):
        with safe_open(path, "pt") as file:
            if name in file.keys():  # noqa: SIM118 (not a mapping)
                tensor: torch.Tensor = file.get_tensor(name)
                return tensor
    raise ModelError(f"LoftQ looks for the weight {name!r} of the base model and does not find it.", where=str(weights),
                     next_step="Leave `loftq_config` out for this architecture.")


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    """(name, layer) of each linear layer that has LoRA matrices."""
    from peft.tuners.lora import LoraLayer

    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer) and "default" in module.lora_A)


def _matrices(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(name in the adapter's file, matrix) of A and B of each linear layer."""
    for name, module in _layers(model):
        yield f"{name}.lora_A.weight", module.lora_A["default"].weight
        yield f"{name}.lora_B.weight", module.lora_B["default"].weight


def _state(model: Any) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    found: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=getattr(model, _RESIZED, False))
    return {name: tensor.detach() for name, tensor in found.items()}


def _doubled(config: Any) -> Any:
    """The config of the adapter with twice the rank and the same scale (alpha / rank, or alpha / its root)."""
    new = copy.deepcopy(config)
    more = math.sqrt(2) if config.use_rslora else 2
    new.r, new.lora_alpha = 2 * config.r, more * config.lora_alpha
    new.rank_pattern = {name: 2 * rank for name, rank in config.rank_pattern.items()}
    new.alpha_pattern = {name: more * alpha for name, alpha in config.alpha_pattern.items()}
    new.init_lora_weights, new.inference_mode = True, True
    return new


def _text_config(weights: Path, model: Any) -> Any:
    """The config of the base as it lies on disk: the model's own has followed a resized vocabulary."""
    return type(model.config).from_pretrained(weights, local_files_only=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
