"""A model in shards by torch's `fully_shard` (FSDP 2: Zhao et al. 2023, arXiv:2304.11277, in its per-parameter form), which also runs on CPUs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard

from tunelab.config.sections.distributed import FsdpSection
from tunelab.errors import ModelError
from tunelab.training.checkpoint import State, saved_weights
from tunelab.training.engine import Engine
from tunelab.training.objective import Costed

_INSIDE = "model."  # what `Costed` puts before the names of its model's parameters
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Shards(Engine):
    """Each process holds a part of every weight, gradient and state, and gathers the weights of a unit while it is at work."""

    def __init__(self, accelerator: Accelerator, costed: Costed, optimizer: torch.optim.Optimizer, clip_at: float, settings: FsdpSection) -> None:
        self._settings = settings
        super().__init__(accelerator, costed, optimizer, clip_at)

    def _prepared(self, costed: Any, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        before = dict(costed.named_parameters())
        costed = self._accelerator.prepare_model(costed, device_placement=False, evaluation_mode=True)  # precision only: no copy per process
        _shard(costed, self._settings)
        now = dict(costed.named_parameters())
        replaced = {id(parameter): now[name] for name, parameter in before.items()}
        for group in optimizer.param_groups:
            group["params"] = [replaced[id(parameter)] for parameter in group["params"]]
        return costed, self._accelerator.prepare_optimizer(optimizer, device_placement=False)

    @contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        self._costed.set_requires_gradient_sync(last)
        yield

    def state(self) -> State:
        _reshard(self._costed)
        weights = get_model_state_dict(self._costed, options=_WHOLE)
        tied = {name for name, _ in self._costed.named_parameters(remove_duplicate=False)} - {name for name, _ in self._costed.named_parameters()}
        if hasattr(self.model, "peft_config"):  # whose file has them twice
            tied = set()
        named = {name.removeprefix(_INSIDE): tensor for name, tensor in weights.items() if name not in tied}
        return State(self.model, get_optimizer_state_dict(self._costed, self.optimizer.optimizer, options=_WHOLE), named)

    def put_weights(self, folder: Path) -> None:
        """Every process reads them and keeps its part."""
        _reshard(self._costed)
        set_model_state_dict(self._costed, {_INSIDE + name: tensor for name, tensor in saved_weights(folder, self.model).items()},
                             options=StateDictOptions(full_state_dict=True, strict=False))

    def put_optimizer(self, state: Mapping[str, Any]) -> None:
        """Every process has all of it and keeps its part."""
        set_optimizer_state_dict(self._costed, self.optimizer.optimizer, dict(state), options=StateDictOptions(full_state_dict=True))


def checkpoint_activations(model: Any) -> None:
    """Compute activations again in the backward pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers is about to rename it
        model.gradient_checkpointing_enable({"use_reentrant": False})


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
