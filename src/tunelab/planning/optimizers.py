"""What is known of each optimizer by its name in the config: what it keeps, whether a run can use it here, and what stands in for it.

The table beside this file holds all names of the dialect. A name without a builder is run nowhere by tunelab; one with a package needs that
package; one with hardware needs that hardware.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from tunelab.facts.machine import Machine
from tunelab.facts.packages import is_installed

GALORE_RANK = 128
"""The rank of GaLore and APOLLO when optim_args names none (their papers' smallest)."""
_SMALL = 4096  # bitsandbytes and torchao keep the state of smaller tensors in 32 bits
_TORCHAO_BLOCK = 256  # and torchao that of tensors which do not come apart in blocks


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """Bytes per element of a matrix and of a vector. `low_rank`: "", "factored" (a row and a column per matrix besides) or "galore".

    `no_gradients`: each gradient is used as soon as it is there. `temporary`: on a GPU a step needs room
    for all gradients once more (torch's loop over many tensors at once). `copies`: of the largest tensor that a step on a CPU makes (measured).
    `builder`: which part of training/optimizer makes it, "" when none does. `arguments`: what optim_args may hold. `needs`: "" or "cuda".
    `instead` and `why`: what stands in where it cannot run, and a clause that says how that differs.
    `known`: False for a name that is not in the table, which is counted as AdamW.
    """

    name: str
    matrix: float
    vector: float
    low_rank: str
    no_gradients: bool
    temporary: bool
    source: str
    copies: float = 0.0
    builder: str = ""
    arguments: tuple[str, ...] = ()
    package: str = ""
    needs: str = ""
    instead: str = ""
    why: str = ""
    known: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an optimizer cannot run here, as a sentence, and the one that stands in for it here."""

    reason: str
    instead: str


def optimizer_state(name: str) -> OptimizerState:
    """What is known of an optimizer; one that is not known is counted as AdamW, the most that usual ones keep."""
    found = optimizers().get(name)
    return found or OptimizerState(name, 8, 8, "", False, False, "", known=False)


@cache
def optimizers() -> Mapping[str, OptimizerState]:
    """The table, by name."""
    lines = (resources.files("tunelab.planning") / "optimizers.tsv").read_text(encoding="utf-8").splitlines()[1:]
    found = {}
    for line in lines:
        name, matrix, vector, low, weights, copies, builder, arguments, package, needs, instead, why, source = line.split("\t")
        found[name] = OptimizerState(name, float(matrix), float(vector), low, weights == "no_gradients", weights == "temporary", source, float(copies),
                                     builder, tuple(arguments.split()), package, needs, instead, why)
    return MappingProxyType(found)


def refusal(name: str, machine: Machine, installed: Callable[[str], bool] = is_installed) -> Refusal | None:
    """Why an optimizer of the table cannot run on this machine, or None when it can. What stands in can itself run here."""
    row = optimizers()[name]
    if not row.builder:
        reason = f"`optimizer: {name}` is not run by tunelab: {row.why}."
    elif row.package and not installed(row.package):
        reason = f"`optimizer: {name}` needs the package {row.package}, which is not installed (pip install {row.package}); {row.why}."
    elif row.needs == "cuda" and not machine.has_cuda:
        reason = f"`optimizer: {name}` needs a CUDA GPU, and this machine has none; {row.why}."
    else:
        return None
    further = refusal(row.instead, machine, installed)
    if further is None:
        return Refusal(reason, row.instead)
    return Refusal(f"{reason} That one cannot run here either; {optimizers()[row.instead].why}.", further.instead)


def optimizer_arguments(value: object) -> dict[str, Any]:
    """optim_args as a mapping: of "rank=128, scale=0.25" each value becomes the number, the switch or the word that it spells.

    Raises ValueError for a text that is no list of key=value.
    """
    if isinstance(value, Mapping):
        return {str(name): _value(one) for name, one in value.items()}
    parts = [part.strip() for part in str(value or "").split(",") if part.strip()]
    if any("=" not in part for part in parts):
        raise ValueError("it is no list of key=value")
    return {name.strip(): _value(text.strip()) for name, _, text in (part.partition("=") for part in parts)}


def _value(value: object) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def state_bytes(name: str, shapes: Iterable[tuple[int, ...]], rank: int = GALORE_RANK, embedding: tuple[int, ...] = ()) -> int:
    """Bytes of state for tensors of these shapes; a matrix of the shape of the `embedding` is neither projected nor orthogonalised."""
    state = optimizer_state(name)
    return math.ceil(sum(_one(state, shape, rank, shape == embedding) for shape in shapes))


def _one(state: OptimizerState, shape: tuple[int, ...], rank: int, is_embedding: bool) -> float:
    count = math.prod(shape)
    if len(shape) < 2 or (is_embedding and state.builder == "muon"):
        return count * state.vector
    rows, columns = math.prod(shape[:-1]), shape[-1]
    if state.low_rank == "galore":
        projected = min(rows, columns) > rank and not is_embedding
        kept = (rank, max(rows, columns)) if projected else (rows, columns)
        return (math.prod(kept) * state.matrix if state.matrix else 4 * sum(kept)) + (4 * rank * min(rows, columns) if projected else 0)
    if state.low_rank == "factored":
        return count * state.matrix + 4 * (rows + columns) * (2 if state.matrix else 1)
    whole_blocks = state.builder != "torchao" or count % _TORCHAO_BLOCK == 0
    return count * (state.matrix if (count >= _SMALL and whole_blocks) or state.matrix >= 4 else state.vector)
