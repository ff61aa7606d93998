"""Which engine trains a run: copies whose gradients are averaged (DDP; also DeepSpeed's stage 0), or a model in shards (FSDP 2, ZeRO)."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from tunelab.config import Config
from tunelab.planning.zero import read_zero
from tunelab.training.engine import Engine
from tunelab.training.fsdp import Shards, checkpoint_activations
from tunelab.training.objective import Costed


def make_accelerator(config: Config, precision: str) -> Accelerator:
    """accelerate for a run's precision (fp32, bf16, fp16), on CUDA where it is."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # accelerate imports DeepSpeed where it is installed, which warns when it has to guess
    settings = config.distributed
    ddp = DistributedDataParallelKwargs(
        bucket_cap_mb=settings.ddp_bucket_cap_mb or 25, broadcast_buffers=bool(settings.ddp_broadcast_buffers),
        find_unused_parameters=bool(settings.ddp_find_unused_parameters))
    return Accelerator(mixed_precision=None if precision == "fp32" else precision, cpu=not torch.cuda.is_available(), kwargs_handlers=[ddp])


def make_engine(config: Config, accelerator: Accelerator, processes: int, costed: Costed, optimizer: torch.optim.Optimizer) -> Engine:
    """The engine that a config asks for, with so many processes; one process needs nothing but the model."""
    limit = config.optimisation.max_grad_norm
    clip_at = float("inf") if limit == 0 else 1.0 if limit is None else limit
    shards, zero = config.distributed.fsdp_config, read_zero(config)
    if processes > 1 and zero is not None and zero.stage > 0:
        from tunelab.training.zero import ZeroShards

        return ZeroShards(accelerator, costed, optimizer, clip_at, zero)
    if processes == 1 or shards is None:
        return Engine(accelerator, costed, optimizer, clip_at)
    if shards.activation_checkpointing and not config.hardware.gradient_checkpointing:
        checkpoint_activations(costed.model)
    return Shards(accelerator, costed, optimizer, clip_at, shards)
