"""`read_zero`: what `deepspeed` asks for, out of a mapping, a JSON file, or the name of a file that is not here.

Stages as in ZeRO (Rajbhandari et al. 2019, arXiv:1910.02054); the keys are those of DeepSpeed's own configuration file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.config.config import Config
from tunelab.errors import ConfigError

_LARGEST_FILE = 1_000_000
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Zero:
    """A DeepSpeed configuration. `file`: where it was read, "" when it stands in the YAML; `guessed`: there is no such file, its name was read."""

    settings: Mapping[str, Any]
    file: str = ""
    guessed: bool = False

    @property
    def optimization(self) -> Mapping[str, Any]:
        """The part on ZeRO."""
        part = self.settings.get("zero_optimization")
        return part if isinstance(part, Mapping) else {}

    @property
    def stage(self) -> int:
        """0: nothing is split. 1: the optimizer's state. 2: also gradients. 3: also weights. -1 for anything else."""
        stage = self.optimization.get("stage", 0)
        return stage if isinstance(stage, int) and not isinstance(stage, bool) and 0 <= stage <= 3 else -1

    def offloaded(self, what: str) -> str:
        """Where "param" or "optimizer" is kept: "cpu", "nvme", or "" on the device that trains."""
        place = self.optimization.get(f"offload_{what}")
        device = place.get("device") if isinstance(place, Mapping) else None
        return device if isinstance(device, str) and device != "none" else ""


def read_zero(config: Config) -> Zero | None:
    """What a config asks of DeepSpeed; None when it asks for nothing. Raises ConfigError for a file that cannot be read and a name that says nothing."""
    asked = config.hardware.deepspeed
    return read_settings(asked, config.source.path.parent) if asked else None


def read_settings(asked: str | Mapping[str, Any], beside: Path) -> Zero:
    """The same, for the value of the key in a config in the folder `beside`."""
    if isinstance(asked, Mapping):
        return Zero(asked)
    for place in (Path(asked), beside / asked):
        if place.is_file():
            return Zero(_read(place), str(place))
    named = re.search(r"zero_?([0-3])", Path(asked).name.lower())
    if named is None:
        raise ConfigError(f"There is no file {asked}.", where="deepspeed",
                          next_step="Name a DeepSpeed JSON file, or write its settings here: deepspeed: {zero_optimization: {stage: 2}}")
    return Zero({"zero_optimization": {"stage": int(named.group(1)), **_offloading(asked.lower())}}, asked, guessed=True)


def _offloading(name: str) -> dict[str, Any]:
    """What the names of Axolotl's own files say: zero3_bf16_cpuoffload_all.json, zero3_bf16_cpuoffload_params.json."""
    weights = {"offload_param": {"device": "cpu"}} if re.search(r"cpuoffload_(params|all)", name) else {}
    return {**({"offload_optimizer": {"device": "cpu"}} if "cpuoffload" in name else {}), **weights}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError("it is too large")
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}.", where="deepspeed", next_step="Mend the file, or name another.") from error
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{path} holds no JSON object.", where="deepspeed",
                          next_step='It should begin like {"zero_optimization": {"stage": 2}}.')
    return settings


HANDED_ON = frozenset({
    "stage", "contiguous_gradients", "overlap_comm", "reduce_scatter", "reduce_bucket_size", "allgather_partitions", "allgather_bucket_size",
    "round_robin_gradients", "ignore_unused_parameters", "offload_optimizer", "offload_param", "sub_group_size", "stage3_prefetch_bucket_size",
    "stage3_param_persistence_threshold", "stage3_model_persistence_threshold", "stage3_max_live_parameters", "stage3_max_reuse_distance"})
"""Keys of zero_optimization that DeepSpeed is given."""


def for_deepspeed(zero: Zero, *, width: int, trained: int) -> dict[str, Any]:
    """The part on ZeRO as DeepSpeed is given it. `width`: of the model's hidden states, from which "auto" is filled as accelerate does it;
    `trained`: parameters, more than which no bucket needs to hold."""
    filled = {"reduce_bucket_size": width * width, "stage3_prefetch_bucket_size": int(0.9 * width * width),
              "stage3_param_persistence_threshold": 10 * width}
    given = {name: filled.get(name, AUTO) if value == AUTO else value for name, value in zero.optimization.items() if name in HANDED_ON}
    given = {name: value for name, value in given.items() if value != AUTO}  # what is left to DeepSpeed's own defaults
    for name in ("reduce_bucket_size", "allgather_bucket_size"):
        if isinstance(given.get(name, trained), int | float):
            given[name] = int(min(given.get(name, trained), max(1, trained)))
    return given
