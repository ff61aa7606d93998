"""Checkpoints: everything that the next step depends on, written whole or not at all, read back bit for bit.

A checkpoint folder holds the weights (an adapter in PEFT's format, or a model in transformers'), `optimizer.safetensors`,
`random.safetensors` and `state.json` with a checksum of each file. No pickles are written or read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file

from tunelab.errors import StorageError, storage_errors
from tunelab.facts.adapter import WEIGHTS
from tunelab.runs.checkpoints import FORMAT, STATE, checksums, read_state, rotate
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import whole_folder
from tunelab.training.adapters import load_adapter, save_adapter, saved_names
from tunelab.training.optimizer.state import pack, unpack


@dataclass(frozen=True, slots=True)
class RandomState:
    """The state of torch's generators between two steps."""

    tensors: dict[str, torch.Tensor]

    @staticmethod
    def now() -> RandomState:
        """The present state."""
        tensors = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors["cuda"] = torch.cuda.get_rng_state()
        return RandomState(tensors)

    @staticmethod
    def of_all(tensors: Sequence[Mapping[str, torch.Tensor]]) -> RandomState:
        """The states of several processes as one, those of the first under plain names."""
        return RandomState({f"{name}.{rank}" if rank else name: tensor for rank, mine in enumerate(tensors) for name, tensor in mine.items()})

    def of(self, rank: int) -> RandomState:
        """That of one process."""
        ending = f".{rank}" if rank else ""
        return RandomState({name: self.tensors[name + ending] for name in ("cpu", "cuda") if name + ending in self.tensors})

    def restore(self) -> None:
        """Make it the present state again."""
        torch.set_rng_state(self.tensors["cpu"])
        if "cuda" in self.tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.tensors["cuda"])


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. `evaluations`: loss by step; `memories`: what else has a state between steps, as JSON, by name."""

    step: int
    random: RandomState
    evaluations: Mapping[int, float] = field(default_factory=dict)
    memories: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> int | None:
        """The step with the lowest evaluation loss, the first of equals."""
        return min(self.evaluations, key=lambda step: (self.evaluations[step], step), default=None)


@dataclass(frozen=True, slots=True)
class State:
    """A model and its optimizer's state. `weights`: all weights by name, when the model itself holds a part of them only (FSDP)."""

    model: Any
    optimizer: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor] | None = None


def save_checkpoint(run: RunFolder, progress: Progress, state: State, keep: int | None, best: int | None) -> Path:
    """Write the checkpoint of a step, then remove the oldest ones over `keep`, though not that of step `best`.

    Raises StorageError; older checkpoints stay.
    """
    step = progress.step
    target = run.checkpoint(step)
    saved = [path.name for _, path in run.checkpoints()]
    resume_from = f"{saved[-1]} is whole" if saved else "no checkpoint was written yet"
    try:
        with whole_folder(target, f"Saving the checkpoint of step {step}") as folder:
            save_weights(state, folder)
            tensors, layout = pack(state.optimizer)
            _save_tensors(tensors, folder / "optimizer.safetensors")
            _save_tensors(progress.random.tensors, folder / "random.safetensors")
            facts = {"format": FORMAT, "step": step, "optimizer": layout, "evaluations": progress.evaluations, "memories": progress.memories,
                     "sha256": checksums(folder)}
            (folder / STATE).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    except StorageError as error:
        raise StorageError(error.message, where=error.where,
                           next_step=f"{resume_from.capitalize()}; make room, then go on with --resume.") from error
    rotate(run, keep, best)
    return target


def save_weights(state: State, folder: Path) -> None:
    """Write the adapter (PEFT's format) or the model (transformers' format) into a folder. Raises OSError."""
    try:
        if hasattr(state.model, "peft_config"):
            save_adapter(state.model, folder, state.weights)
        else:
            state.model.save_pretrained(folder, state_dict=state.weights)
    except Exception as error:
        raise _as_os_error(error) from error
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's placeholder card says nothing


def save_result(state: State, run: RunFolder) -> None:
    """Put the finished weights into the run's own folder; a failure leaves nothing half-written there."""
    with whole_folder(run.path / "result", "Saving the result") as folder:
        save_weights(state, folder)
    result = run.path / "result"
    with storage_errors(run.path, "Saving the result"):
        for file in sorted(result.iterdir()):
            file.replace(run.path / file.name)
        result.rmdir()


def load_checkpoint(folder: Path) -> tuple[Progress, Any]:
    """(how far a checkpoint was, the optimizer's state). The weights are `load_weights`'s."""
    state = read_state(folder)
    optimizer = unpack(state["optimizer"], load_file(folder / "optimizer.safetensors"))
    evaluations = {int(step): float(loss) for step, loss in state.get("evaluations", {}).items()}
    return Progress(int(state["step"]), RandomState(load_file(folder / "random.safetensors")), evaluations, state.get("memories", {})), optimizer


def load_weights(folder: Path, model: Any) -> None:
    """Put the weights of a checkpoint into place."""
    if hasattr(model, "peft_config"):
        load_adapter(model, folder)
    else:
        load_model(model, folder / "model.safetensors", strict=False)


def saved_weights(folder: Path, model: Any) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint by their names in the model."""
    if not hasattr(model, "peft_config"):
        return load_file(folder / "model.safetensors")
    saved = load_file(folder / WEIGHTS)
    return {name: saved[stored] for name, stored in saved_names(model).items()}


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except Exception as error:
        raise _as_os_error(error) from error


def _as_os_error(error: Exception) -> Exception:
    """safetensors reports a full disk as its own error with the system's number in the text; give it back its number."""
    import re

    found = re.search(r"os error (\d+)", str(error))
    return OSError(int(found.group(1)), str(error)) if found and not isinstance(error, OSError) else error
