"""Checkpoints: everything that the next step depends on, written whole or not at all, read back bit for bit.

A checkpoint folder holds the weights (an adapter in PEFT's format, or a model in transformers'), `optimizer.safetensors`,
`random.safetensors` and `state.json` with a checksum of each file. No pickles are written or read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file

from tunelab.errors import StorageError
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import whole_folder

STATE = "state.json"


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

    def restore(self) -> None:
        """Make it the present state again."""
        torch.set_rng_state(self.tensors["cpu"])
        if "cuda" in self.tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.tensors["cuda"])


def save_checkpoint(run: RunFolder, step: int, model: Any, optimizer: torch.optim.Optimizer, random: RandomState, keep: int | None) -> Path:
    """Write checkpoint-`step`, then remove the oldest ones over `keep`. Raises StorageError; older checkpoints stay."""
    target = run.checkpoint(step)
    saved = [path.name for _, path in run.checkpoints()]
    resume_from = f"{saved[-1]} is whole" if saved else "no checkpoint was written yet"
    try:
        with whole_folder(target, f"Saving the checkpoint of step {step}") as folder:
            save_weights(model, folder)
            tensors, layout = _flatten(optimizer.state_dict())
            _save_tensors(tensors, folder / "optimizer.safetensors")
            _save_tensors(random.tensors, folder / "random.safetensors")
            checksums = {file.name: _checksum(file) for file in sorted(folder.iterdir()) if file.is_file()}
            (folder / STATE).write_text(json.dumps({"step": step, "optimizer": layout, "sha256": checksums}, indent=1), encoding="utf-8")
    except StorageError as error:
        raise StorageError(error.message, where=error.where,
                           next_step=f"{resume_from.capitalize()}; make room, then go on with --resume.") from error
    if keep is not None:
        for _, old in run.checkpoints()[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    return target


def save_weights(model: Any, folder: Path) -> None:
    """Write the adapter (PEFT's format) or the model (transformers' format) into a folder. Raises OSError."""
    try:
        model.save_pretrained(folder)
    except Exception as error:
        raise _as_os_error(error) from error
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's placeholder card says nothing


def save_result(model: Any, run: RunFolder) -> None:
    """Put the finished weights into the run's own folder; a failure leaves nothing half-written there."""
    with whole_folder(run.path / "result", "Saving the result") as folder:
        save_weights(model, folder)
    result = run.path / "result"
    for file in sorted(result.iterdir()):
        file.replace(run.path / file.name)
    result.rmdir()


def newest_whole(run: RunFolder) -> tuple[int, Path] | None:
    """The newest checkpoint whose files match their checksums, or None."""
    for step, folder in reversed(run.checkpoints()):
        if is_whole(folder):
            return step, folder
    return None


def is_whole(folder: Path) -> bool:
    """Whether every file of a checkpoint is there and unchanged."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return all(_checksum(folder / name) == digest for name, digest in state["sha256"].items())
    except (OSError, ValueError, KeyError):
        return False


def load_checkpoint(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> tuple[int, RandomState]:
    """Put a checkpoint's weights and optimizer state into place; returns its step and random state."""
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    if hasattr(model, "peft_config"):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
    else:
        load_model(model, folder / "model.safetensors", strict=False)
    optimizer.load_state_dict(_unflatten(load_file(folder / "optimizer.safetensors"), state["optimizer"]))
    return int(state["step"]), RandomState(load_file(folder / "random.safetensors"))


def _flatten(state: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Split an optimizer's state into tensors by name and a JSON-able rest."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        plain[str(index)] = {name: value for name, value in values.items() if not isinstance(value, torch.Tensor)}
        tensors.update({f"{index}.{name}": value.contiguous() for name, value in values.items() if isinstance(value, torch.Tensor)})
    return tensors, {"plain": plain, "groups": state["param_groups"]}


def _unflatten(tensors: dict[str, torch.Tensor], layout: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in layout["plain"].items()}
    for name, tensor in tensors.items():
        index, field = name.split(".", 1)
        state[int(index)][field] = tensor
    groups = [{key: tuple(value) if key == "betas" else value for key, value in group.items()} for group in layout["groups"]]
    return {"state": state, "param_groups": groups}


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


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
