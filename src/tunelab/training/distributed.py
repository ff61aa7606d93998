"""How one model is trained by several processes: copies whose gradients are averaged (DDP), or a model in shards (FSDP 2).

DDP goes through accelerate. FSDP 2 is torch's `fully_shard` (Zhao et al. 2023, arXiv:2304.11277, in its per-parameter form), which also runs
on CPUs. What a sharded model saves are whole tensors, gathered on the first process, so that checkpoints and results have one format.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard

from tunelab.config import Config
from tunelab.config.sections.distributed import FsdpSection
from tunelab.errors import ModelError
from tunelab.training.adapters import saved_names
from tunelab.training.processes import Processes

_INSIDE = "model."  # what `Costed` puts before the names of its model's parameters


def make_accelerator(config: Config, precision: str) -> Accelerator:
    """accelerate for a run's precision (fp32, bf16, fp16), on CUDA where it is."""
    settings = config.distributed
    ddp = DistributedDataParallelKwargs(
        bucket_cap_mb=settings.ddp_bucket_cap_mb or 25, broadcast_buffers=bool(settings.ddp_broadcast_buffers),
        find_unused_parameters=bool(settings.ddp_find_unused_parameters))
    return Accelerator(mixed_precision=None if precision == "fp32" else precision, cpu=not torch.cuda.is_available(), kwargs_handlers=[ddp])


def prepare(config: Config, accelerator: Accelerator, processes: Processes, costed: Any, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
    """The model (in its `Costed`) and optimizer, ready for this number of processes."""
    settings = config.distributed.fsdp_config
    if settings is None or processes.count == 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # accelerate hands DDP an argument that torch is about to rename
            return accelerator.prepare(costed, optimizer)
    if settings.activation_checkpointing and not config.hardware.gradient_checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # transformers is about to rename it
            costed.model.gradient_checkpointing_enable({"use_reentrant": False})
    before = dict(costed.named_parameters())
    costed = accelerator.prepare_model(costed, device_placement=False, evaluation_mode=True)  # precision only: no copy per process
    _shard(costed, settings)
    now = dict(costed.named_parameters())
    replaced = {id(parameter): now[name] for name, parameter in before.items()}
    for group in optimizer.param_groups:
        group["params"] = [replaced[id(parameter)] for parameter in group["params"]]
    return costed, accelerator.prepare_optimizer(optimizer, device_placement=False)


def is_sharded(costed: Any) -> bool:
    """Whether each process holds a part of the weights only."""
    return isinstance(costed, FSDPModule)


def sync_only(costed: Any, last: bool) -> None:
    """Under FSDP gradients travel with the last micro-batch of a step only, as `no_sync` does it for DDP."""
    if is_sharded(costed):
        costed.set_requires_gradient_sync(last)


def _shard(costed: torch.nn.Module, settings: FsdpSection) -> None:
    offload = CPUOffloadPolicy(pin_memory=settings.cpu_offload_pin_memory is not False) if settings.offload_params else OffloadPolicy()
    units = list(_units(costed, settings))
    for unit in units:
        fully_shard(unit, reshard_after_forward=settings.reshard_after_forward is not False, offload_policy=offload)
    fully_shard(costed, reshard_after_forward=False, offload_policy=offload)


def _units(costed: Any, settings: FsdpSection) -> Iterator[torch.nn.Module]:
    """The modules that are gathered as a whole, innermost first. Raises ModelError when the named layer is not in the model."""
    modules = list(costed.modules())[::-1]
    if settings.auto_wrap_policy == "SIZE_BASED_WRAP":
        yield from _by_size(costed, settings.min_num_params or 100_000_000)
        return
    written = settings.transformer_layer_cls_to_wrap
    names = {name.strip() for name in written.split(",")} if written else set(getattr(costed.model, "_no_split_modules", None) or ())
    found = [module for module in modules if type(module).__name__ in names]
    if written and not found:
        layers = {type(module).__name__ for module in modules if type(module).__name__.endswith(("Layer", "Block"))}
        raise ModelError(f"The model has no layer of the class {written!r}.", where="fsdp_config.transformer_layer_cls_to_wrap",
                         next_step=f"It has: {', '.join(sorted(layers)) or 'none with such a name'}. Leave the key out to take the model's own.")
    yield from found


def _by_size(module: torch.nn.Module, least: int) -> Iterator[torch.nn.Module]:
    """Modules of at least so many parameters that no unit inside them has taken yet, innermost first; tied weights stay with the whole."""
    holders = Counter(id(parameter) for one in module.modules() for parameter in one.parameters(recurse=False))

    def visit(one: torch.nn.Module) -> tuple[int, list[torch.nn.Module]]:
        free, inner = sum(parameter.numel() for parameter in one.parameters(recurse=False)), list[torch.nn.Module]()
        for child in one.children():
            more, taken = visit(child)
            free, inner = free + more, inner + taken
        tied = any(holders[id(parameter)] > 1 for parameter in one.parameters())
        whole = free >= least and not tied and one is not module and not isinstance(one, (torch.nn.ModuleList, torch.nn.ModuleDict))
        return (0, [*inner, one]) if whole else (free, inner)

    yield from visit(module)[1]


def _reshard(costed: Any) -> None:
    """Give up what a forward pass has left gathered (an evaluation has no backward pass after it): the shards are what is saved and loaded."""
    for module in costed.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole_weights(costed: Any) -> dict[str, torch.Tensor]:
    """All weights of a sharded model by their names in the model, gathered on the first process; empty on the others."""
    _reshard(costed)
    state = get_model_state_dict(costed, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    tied = {name for name, _ in costed.named_parameters(remove_duplicate=False)} - {name for name, _ in costed.named_parameters()}
    return {name.removeprefix(_INSIDE): tensor for name, tensor in state.items() if name not in tied}


def whole_optimizer(costed: Any, optimizer: Any) -> Mapping[str, Any]:
    """The optimizer's state of a sharded model, by the names of parameters, gathered on the first process; empty on the others."""
    _reshard(costed)
    inner = getattr(optimizer, "optimizer", optimizer)
    return get_optimizer_state_dict(costed, inner, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def put_weights(costed: Any, folder: Path) -> None:
    """Put saved weights into a sharded model; every process reads them and keeps its part."""
    _reshard(costed)
    names = saved_names(costed.model) if hasattr(costed.model, "peft_config") else None
    saved = load_file(folder / ("adapter_model.safetensors" if names is not None else "model.safetensors"))
    named = saved if names is None else {name: saved[stored] for name, stored in names.items()}
    set_model_state_dict(costed, {_INSIDE + name: tensor for name, tensor in named.items()},
                         options=StateDictOptions(full_state_dict=True, strict=False))


def put_optimizer(costed: Any, optimizer: Any, state: Mapping[str, Any]) -> None:
    """Take back what `whole_optimizer` gave; every process has all of it and keeps its part."""
    inner = getattr(optimizer, "optimizer", optimizer)
    set_optimizer_state_dict(costed, inner, dict(state), options=StateDictOptions(full_state_dict=True))
