"""`fleet_of`: over how many devices a run is spread, and what each of them holds only a part of.

ZeRO's stages (Rajbhandari et al. 2019, arXiv:1910.02054): 1 splits the optimizer's state, 2 also the gradients, 3 also the weights; FSDP
(Zhao et al. 2023, arXiv:2304.11277) is stage 3, with reshard_after_forward off it is close to stage 2. Offloading: ZeRO-Offload
(arXiv:2101.06840).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunelab.config.config import Config
from tunelab.errors import ConfigError
from tunelab.facts.machine import Machine
from tunelab.planning.zero import Zero, read_settings

MAX_DEVICES = 4096


@dataclass(frozen=True, slots=True)
class Fleet:
    """`kind`: "one", "DDP", "FSDP" or "ZeRO-n". `shards`: over how many devices the split parts are spread. `stage`: 0 to 3 as in ZeRO.

    `tensor`, `context`: degrees of tensor and context parallelism (matrices and rows are cut that often). `offload_weights`,
    `offload_optimizer`: kept in main memory. `bucket`, `live`: numbers of gradients that travel together, and of gathered weights that stage 3
    keeps, at most (as DeepSpeed sets them; 0 for "auto").
    """

    kind: str = "one"
    devices: int = 1
    shards: int = 1
    stage: int = 0
    tensor: int = 1
    context: int = 1
    offload_weights: bool = False
    offload_optimizer: bool = False
    bucket: int = 500_000_000
    live: int = 1_000_000_000

    @property
    def is_zero(self) -> bool:
        """Whether DeepSpeed splits it."""
        return self.kind.startswith("ZeRO") and self.stage > 0


def fully_sharded(devices: int) -> Fleet:
    """FSDP over so many devices."""
    return Fleet("FSDP" if devices > 1 else "one", devices, devices, 3 if devices > 1 else 0)


def fleet_of(config: Config, machine: Machine, processes: int = 1) -> Fleet:
    """The fleet that a config asks for on this machine, or that so many processes make. One process without a GPU, or without a key that spreads
    the run, is one device."""
    if not machine.gpus and processes == 1:
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
        return _of_deepspeed(Fleet("DDP", devices, shards, 0, tensor, context), deepspeed, config.source.path.parent)
    if fsdp or shard > 1:
        whole = str(raw.get("fsdp_config.reshard_after_forward", raw.get("fsdp_config.fsdp_reshard_after_forward", True))).lower()
        stage = 2 if whole in ("false", "shard_grad_op") else 3
        off = raw.truthy("fsdp_config.offload_params") or raw.truthy("fsdp_config.fsdp_offload_params") or "offload" in str(raw.get("fsdp"))
        return Fleet("FSDP", devices, shards, stage, tensor, context, off, off)
    return Fleet("DDP", devices, 1, 0, tensor, context)


def _of_deepspeed(fleet: Fleet, asked: str | Mapping[str, Any], beside: Path) -> Fleet:
    """The fleet, split as a DeepSpeed config says; where nobody can say how, by stage 2, which is the usual one."""
    try:
        zero = read_settings(asked, beside)
    except ConfigError:
        zero = Zero({"zero_optimization": {"stage": 2}})
    if zero.stage < 1:
        return replace(fleet, shards=1)
    return replace(fleet, kind=f"ZeRO-{zero.stage}", stage=zero.stage, offload_weights=bool(zero.offloaded("param")),
                   offload_optimizer=bool(zero.offloaded("optimizer")), bucket=_number(zero, "reduce_bucket_size", fleet.bucket),
                   live=_number(zero, "stage3_max_live_parameters", fleet.live))


def _number(zero: Zero, key: str, default: int) -> int:
    value = zero.optimization.get(key, default)
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e15 else 0


def _degree(value: Any) -> int:
    return min(value, MAX_DEVICES) if isinstance(value, int) and not isinstance(value, bool) and value > 1 else 1
