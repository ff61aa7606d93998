"""A model trained by DeepSpeed's engine: optimizer state, gradients and weights split over processes (ZeRO, Rajbhandari et al. 2019, arXiv:1910.02054).

The loop keeps its own accumulation, clipping limit, learning rates and checkpoints: what DeepSpeed writes itself are pickles, one per process. Trained
weights stay in 32 bits, as everywhere here, so DeepSpeed's own mixed precision is off and autocast computes in 16.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from pydantic import ValidationError

from tunelab.errors import ConfigError, FolderError, needs
from tunelab.planning.zero import Zero, for_deepspeed
from tunelab.training.adapters import saved_names
from tunelab.training.checkpoint import State, saved_weights
from tunelab.training.engine import Engine
from tunelab.training.model import trainable
from tunelab.training.objective import Costed


class ZeroShards(Engine):
    """Stages 1 to 3. Stages 1 and 2 have all weights everywhere; stage 3 gathers those of a layer while it is at work."""

    def __init__(self, accelerator: Accelerator, costed: Costed, optimizer: torch.optim.Optimizer, clip_at: float, zero: Zero) -> None:
        self._zero, self._deepspeed = zero, _deepspeed()
        super().__init__(accelerator, costed, optimizer, clip_at)

    def _prepared(self, costed: Any, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        costed = self._accelerator.prepare_model(costed, device_placement=False, evaluation_mode=True)  # precision only
        trained = sum(parameter.numel() for _, parameter in trainable(costed))
        width = int(getattr(costed.model.config.get_text_config(), "hidden_size", 1024))
        settings = {
            "zero_optimization": for_deepspeed(self._zero, width=width, trained=trained),
            "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1,  # the loop has counted both already
            "gradient_clipping": self._clip_at if isfinite(self._clip_at) else 0.0,
            "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False}
        try:
            engine, sharded, _, _ = self._deepspeed.initialize(model=costed, optimizer=optimizer, config=settings, dist_init_required=False)
        except ValidationError as error:
            wrong = error.errors()[0]
            raise ConfigError(f"DeepSpeed refuses {'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}.", where="deepspeed",
                              next_step="Mend it there; the keys are those of zero_optimization.") from error
        return engine, sharded

    @contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        self._costed.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: torch.Tensor) -> None:
        self._costed.backward(loss)

    def update(self) -> float:
        self._costed.step()
        return float(self._costed.get_global_grad_norm())

    def rehearse(self, loss: torch.Tensor) -> None:
        """Gradients that DeepSpeed has taken cannot be given back, but zeros add nothing."""
        with self.micro_batch(last=False):
            self.backward(loss * 0.0)

    def state(self) -> State:
        optimizer = {"zero": self._zero.stage, "state": [{name: _whole(value, flat) for name, value in self._state_of(flat).items()}
                                                         for flat in self._flats()]}
        return State(self.model, optimizer, self._whole_weights())

    def put_weights(self, folder: Path) -> None:
        """Every process reads them and keeps its part."""
        saved = saved_weights(folder, self.model)
        for name, tensor in self.model.named_parameters():
            if name in saved:
                with self._gathered(tensor, changed=True), torch.no_grad():
                    tensor.copy_(saved[name])
        self.optimizer.refresh_fp32_params()

    def put_optimizer(self, state: Mapping[str, Any]) -> None:
        flats, count = self._flats(), dist.get_world_size()
        wanted, parts = [count * flat.numel() for flat in flats], state.get("state", [])
        sizes = [max((tensor.numel() for tensor in part.values() if isinstance(tensor, torch.Tensor)), default=0) for part in parts]
        if state.get("zero") != self._zero.stage or any(size > 1 and size != want for size, want in zip(sizes, wanted, strict=True)):
            raise FolderError(f"The checkpoint was written by ZeRO stage {state.get('zero', 'unknown')}, and `deepspeed` now asks for another split "
                              f"(stage {self._zero.stage}).", where="deepspeed", next_step="Restore the DeepSpeed settings, or train in a new output_dir.")
        for flat, part in zip(flats, parts, strict=True):
            self._inner.state[flat] = {name: _mine(value, flat) for name, value in part.items()}

    @property
    def _inner(self) -> torch.optim.Optimizer:
        """The optimizer that DeepSpeed has put its flat shards into."""
        inner: torch.optim.Optimizer = self.optimizer.optimizer
        return inner

    def _flats(self) -> list[torch.Tensor]:
        """The shards of trained weights in 32 bits, which the optimizer updates: one flat tensor per group."""
        flats = self.optimizer.fp32_partitioned_groups_flat if self._zero.stage == 3 else self.optimizer.single_partition_of_fp32_groups
        return list(flats)

    def _state_of(self, flat: torch.Tensor) -> Mapping[str, Any]:
        return self._inner.state.get(flat, {})

    def _gathered(self, tensor: torch.Tensor, *, changed: bool = False) -> Any:
        """A context with the whole of a weight on every process, which in stages 1 and 2 it is; what the first makes of it is cut up again."""
        return self._deepspeed.zero.GatheredParameters([tensor], modifier_rank=0 if changed else None)

    def _whole_weights(self) -> dict[str, torch.Tensor]:
        """What is saved by its names in the model, on the first process; nothing on the others. An adapter's file has tied weights twice."""
        wanted = saved_names(self.model) if hasattr(self.model, "peft_config") else None
        found: dict[str, torch.Tensor] = {}
        parameters = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        for name, tensor in self.model.named_parameters(remove_duplicate=wanted is None):
            if wanted is None or name in wanted:
                with self._gathered(tensor):
                    if dist.get_rank() == 0:
                        found[name] = tensor.detach().to("cpu", copy=True)
        buffers = {name: tensor for name, tensor in self.model.state_dict().items() if name not in parameters}
        return {**found, **buffers} if dist.get_rank() == 0 else {}


def _whole(value: Any, flat: torch.Tensor) -> Any:
    """A state of one shard put together on the first process; what is not cut stays as it is."""
    if not isinstance(value, torch.Tensor) or value.shape != flat.shape:
        return value
    whole = value.new_empty(dist.get_world_size() * value.numel()) if dist.get_rank() == 0 else None
    dist.gather(value.contiguous(), list(whole.chunk(dist.get_world_size())) if whole is not None else None, dst=0)
    return whole.cpu() if whole is not None else None


def _mine(value: Any, flat: torch.Tensor) -> Any:
    """My part of what `_whole` has put together."""
    if not isinstance(value, torch.Tensor) or value.numel() != dist.get_world_size() * flat.numel():
        return value
    return value.chunk(dist.get_world_size())[dist.get_rank()].to(flat.device, copy=True)


def _deepspeed() -> Any:
    """The package, imported when it is needed: it takes two seconds and looks for compilers."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")  # it calls what torch is about to rename
    with needs("distributed", "`deepspeed`"):
        deepspeed = import_module("deepspeed")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # would compile C++ for a minute, for inference
    return deepspeed
