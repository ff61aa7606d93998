"""`read_adapter`: what a saved PEFT adapter is made of, read from its config and the header of its weights, and whether it fits a model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.errors import ModelError
from tunelab.facts.safetensors_header import read_header
from tunelab.facts.shapes import ModelShapes

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_BY_VALUE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # such an adapter, as PEFT leaves it, sits on a changed base


@dataclass(frozen=True)
class SavedAdapter:
    """`base`: the model it was trained on, as its config names it ("" when it does not). `changed_base`: the initialisation that changed
    the base weights and was not converted, "" when there is none. `shapes`: of its tensors, by the names in the file; `trained`: of those
    that going on from it trains, without embeddings that are only saved with it."""

    folder: Path
    base: str
    rank: int
    alpha: float
    changed_base: str
    shapes: Mapping[str, tuple[int, ...]]
    trained: tuple[tuple[int, ...], ...]

    @property
    def parameters(self) -> int:
        """How many numbers going on from it trains."""
        return sum(map(math.prod, self.trained))

    def misfits(self, shapes: ModelShapes) -> tuple[str, ...]:
        """What in it does not fit a model's layers, in words: "lora_A of model.layers.0.self_attn.q_proj is for 576 inputs, the layer has 48"."""
        layers = {layer.name: layer for layer in (shapes.embedding, *shapes.linear_layers, shapes.head)}
        found = []
        for name, shape in self.shapes.items():
            module, _, part = name.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
            if part not in ("lora_A", "lora_B") or len(shape) != 2:
                continue
            layer = layers.get(module)
            if layer is None:
                if ".experts" not in module:  # the experts of a mixture are named by their tensors
                    found.append(f"the model has no layer {module}")
            elif part == "lora_A" and shape[1] != layer.in_features:
                found.append(f"{part} of {module} is for {shape[1]:,} inputs, the layer has {layer.in_features:,}")
            elif part == "lora_B" and shape[0] != layer.out_features:
                found.append(f"{part} of {module} is for {shape[0]:,} outputs, the layer has {layer.out_features:,}")
        return tuple(dict.fromkeys(found))


def read_adapter(folder: Path) -> SavedAdapter:
    """Read a LoRA adapter's folder. Raises ModelError: a file is missing or damaged, or it is an adapter of another kind."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"There is no {name}; a saved adapter has {CONFIG} and {WEIGHTS}.", where=str(folder),
                             next_step="Give the output_dir of a finished LoRA run, or one of its checkpoints.")
    config = _config(folder / CONFIG)
    kind = str(config.get("peft_type", "unknown")).upper()
    if kind != "LORA":
        raise ModelError(f"The adapter is of the kind {kind}; expected LORA.", where=str(folder / CONFIG))
    shapes = {name: tuple(entry["shape"]) for name, entry in read_header(folder / WEIGHTS).items()}
    in_full = [str(one) for one in config.get("modules_to_save") or ()]
    trained = tuple(shape for name, shape in shapes.items() if ".lora_" in name or "trainable_tokens" in name
                    or any(f".{module}." in f".{name}" for module in in_full))
    start = str(config.get("init_lora_weights", True)).lower()
    rank, alpha = config.get("r"), config.get("lora_alpha")
    return SavedAdapter(folder, str(config.get("base_model_name_or_path") or ""), rank if isinstance(rank, int) else 8,
                        float(alpha) if isinstance(alpha, int | float) else 8.0, start if start.startswith(_BY_VALUE) else "", shapes, trained)


def same_base(one: str, other: str) -> bool:
    """Whether two names can mean one model: their last parts are equal (a folder and a Hub id of the same name are taken for one)."""
    return not one or not other or _last(one) == _last(other)


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ModelError(f"{path.name} is not a JSON mapping.", where=str(path), next_step="Copy the adapter again from where it was trained.")
    return found
