"""Any optimizer's state as plain tensors and JSON, and back, bit for bit: nested mappings, quantised tensors, projectors. No pickles.

`pack` takes a value apart; `unpack` rebuilds it. Classes are rebuilt from a fixed list only, so that a checkpoint cannot name others.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch

# How a class is named in a checkpoint -> where it is. Quantised tensors know how to come apart; of a projector it is its attributes.
_QUANTISED = {name: ("torchao.optim." + module, name) for name, module in
              {"OptimState4bit": "subclass_4bit", "OptimState8bit": "subclass_8bit", "OptimStateFp8": "subclass_fp8"}.items()}
_PROJECTORS = {"GaLoreProjector": ("galore_torch.galore_projector", "GaLoreProjector"),
               "ApolloProjector": ("apollo_torch.random_projector", "GradientProjector"),
               "ApolloSvdProjector": ("apollo_torch.svd_projector", "GaLoreProjector")}


def pack(value: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """A value as (tensors by name, JSON that names them). Raises TypeError for a class that no checkpoint can hold."""
    packing = _Packing()
    return packing.tensors, packing.apart(value, "")


def unpack(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The value that `pack` took apart."""
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        return _laid_out(tensors[content], value.get("stride"))
    if kind == "map":
        return {key: unpack(one, tensors) for key, one in content}
    if kind in ("list", "tuple"):
        return (list if kind == "list" else tuple)(unpack(one, tensors) for one in content)
    if kind == "dtype":
        return getattr(torch, content)
    if kind == "quantised":
        parts = {part: tensors[name] for part, name in value["parts"].items()}
        return _class(_QUANTISED[content]).__tensor_unflatten__(parts, unpack(value["rest"], tensors))
    projector = object.__new__(_class(_PROJECTORS[content]))
    vars(projector).update(unpack(value["has"], tensors))
    return projector


class _Packing:
    """The tensors met so far. One that is met again (8-bit optimizers share a table of values among all parameters) is kept once."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._places: dict[tuple[int, torch.dtype, torch.Size], str] = {}

    def apart(self, value: Any, name: str) -> Any:
        """The JSON of a value whose tensors are to be named after `name`."""
        if isinstance(value, torch.Tensor):
            return self._tensor(value, name)
        if isinstance(value, Mapping):
            return {"map": [[key, self.apart(one, f"{name}.{key}".strip("."))] for key, one in value.items()]}
        if isinstance(value, (list, tuple)):
            return {"list" if isinstance(value, list) else "tuple": [self.apart(one, f"{name}.{index}") for index, one in enumerate(value)]}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        for label, place in _PROJECTORS.items():
            if (type(value).__module__, type(value).__name__) == place:
                return {"projector": label, "has": self.apart(vars(value), name)}
        raise TypeError(f"an optimizer's state holds a {type(value).__name__}, which no checkpoint can hold")

    def _tensor(self, tensor: torch.Tensor, name: str) -> dict[str, Any]:
        kind = type(tensor).__name__
        if kind not in _QUANTISED:
            stride = {} if tensor.is_contiguous() else {"stride": list(tensor.stride())}
            return {"tensor": self._put(tensor, name), **stride}
        attributes, rest = tensor.__tensor_flatten__()
        return {"quantised": kind, "parts": {one: self._put(getattr(tensor, one), f"{name}.{one}") for one in attributes},
                "rest": self.apart(list(rest), f"{name}.rest")}

    def _put(self, tensor: torch.Tensor, name: str) -> str:
        tensor = tensor.detach().contiguous()
        if tensor.numel():
            name = self._places.setdefault((tensor.data_ptr(), tensor.dtype, tensor.shape), name)
        self.tensors[name] = tensor
        return name


def _laid_out(tensor: torch.Tensor, stride: list[int] | None) -> torch.Tensor:
    """The tensor with its numbers where they were in memory: a matrix product rounds otherwise over another layout."""
    return tensor if stride is None else torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)


def _class(place: tuple[str, str]) -> Any:
    return getattr(importlib.import_module(place[0]), place[1])
