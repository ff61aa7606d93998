"""`fleet_of`: over how many devices a run is spread, and what each of them holds only a part of.

ZeRO's stages (Rajbhandari et al. 2019, arXiv:1910.02054): 1 splits the optimizer's state, 2 also the gradients, 3 also the weights; FSDP
(Zhao et al. 2023, arXiv:2304.11277) is stage 3, with reshard_after_forward off it is close to stage 2. Offloading: ZeRO-Offload
(arXiv:2101.06840).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.config.config import Config
from tunelab.errors import ConfigError
from tunelab.facts.machine import Machine
from tunelab.planning.zero import read_settings

MAX_DEVICES = 4096


@dataclass(frozen=True, slots=True)
class Fleet:
    """`kind`: "one", "DDP", "FSDP" or "ZeRO-n". `shards`: over how many devices the split parts are spread. `stage`: 0 to 3 as in ZeRO.

    `tensor`, `context`: degrees of tensor and context parallelism (matrices and rows are cut that often). `offload_weights`,
    `offload_optimizer`: kept in main memory.
    """

    kind: str = "one"
    devices: int = 1
    shards: int = 1
    stage: int = 0
    tensor: int = 1
    context: int = 1
    offload_weights: bool = False
    offload_optimizer: bool = False


def fully_sharded(devices: int) -> Fleet:
    """FSDP over so many devices."""
    return Fleet("FSDP" if devices > 1 else "one", devices, devices, 3 if devices > 1 else 0)


def fleet_of(config: Config, machine: Machine, processes: int = 1) -> Fleet:
    """The fleet that a config asks for on this machine, or that so many processes make. Without a GPU, or without a key that spreads the run,
    it is one device."""
    if not machine.gpus:
        return Fleet()
    raw = config.raw
    tensor, context = _degree(raw.get("tensor_parallel_size")), _degree(raw.get("context_parallel_size") or raw.get("sequence_parallel_degree"))
    shard, replicate = _degree(raw.get("dp_shard_size")), _degree(raw.get("dp_replicate_size"))
    fsdp, deepspeed = raw.truthy("fsdp") or raw.truthy("fsdp_config"), raw.get("deepspeed")
    asked = shard * replicate * tensor * context
    devices = processes if processes > 1 else asked if asked > 1 else len(machine.gpus) if fsdp or deepspeed or raw.truthy("ddp") else 1
    if devices == 1:
        return Fleet()
    shards = shard if shard > 1 else max(1, devices // (replicate * tensor * context))
    if deepspeed:
        stage, weights, optimizer = zero_stage(deepspeed, config.source.path.parent)
        return Fleet(f"ZeRO-{stage}", devices, shards, stage, tensor, context, weights, optimizer)
    if fsdp or shard > 1:
        whole = str(raw.get("fsdp_config.reshard_after_forward", raw.get("fsdp_config.fsdp_reshard_after_forward", True))).lower()
        stage = 2 if whole in ("false", "shard_grad_op") else 3
        off = raw.truthy("fsdp_config.offload_params") or raw.truthy("fsdp_config.fsdp_offload_params") or "offload" in str(raw.get("fsdp"))
        return Fleet("FSDP", devices, shards, stage, tensor, context, off, off)
    return Fleet("DDP", devices, 1, 0, tensor, context)


def zero_stage(deepspeed: str | Mapping[str, Any], beside: Path) -> tuple[int, bool, bool]:
    """(stage, weights offloaded, optimizer offloaded) of a DeepSpeed config; where nobody can say, stage 2, which is the usual one."""
    try:
        zero = read_settings(deepspeed, beside)
    except ConfigError:
        return 2, False, False
    return max(0, zero.stage), bool(zero.offloaded("param")), bool(zero.offloaded("optimizer"))


def _degree(value: Any) -> int:
    return min(value, MAX_DEVICES) if isinstance(value, int) and not isinstance(value, bool) and value > 1 else 1
