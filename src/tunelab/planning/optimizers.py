"""How many bytes an optimizer keeps for what it trains, by its name in the config (the table beside this file, with sources)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

GALORE_RANK = 128
"""The rank of GaLore and APOLLO when optim_args names none (their papers' smallest)."""
_SMALL = 4096  # bitsandbytes and torchao keep the state of smaller tensors in 32 bits


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """Bytes per element of a matrix and of a vector. `low_rank`: "", "factored" (a row and a column per matrix besides) or "galore".

    `no_gradients`: each gradient is used as soon as it is there. `temporary`: a step needs room for two more copies of the largest tensor.
    `known`: False for a name that is not in the table, which is counted as AdamW.
    """

    name: str
    matrix: float
    vector: float
    low_rank: str
    no_gradients: bool
    temporary: bool
    source: str
    known: bool = True


def optimizer_state(name: str) -> OptimizerState:
    """What is known of an optimizer; one that is not known is counted as AdamW, the most that usual ones keep."""
    found = optimizers().get(name)
    return found or OptimizerState(name, 8, 8, "", False, False, "", known=False)


@cache
def optimizers() -> dict[str, OptimizerState]:
    """The table, by name."""
    lines = (resources.files("tunelab.planning") / "optimizers.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = (line.split("\t") for line in lines)
    return {name: OptimizerState(name, float(matrix), float(vector), low, weights == "no_gradients", weights == "temporary", source)
            for name, matrix, vector, low, weights, source in rows}


def state_bytes(name: str, shapes: Iterable[tuple[int, ...]], rank: int = GALORE_RANK) -> int:
    """Bytes of state for tensors of these shapes."""
    state = optimizer_state(name)
    return math.ceil(sum(_one(state, shape, rank) for shape in shapes))


def _one(state: OptimizerState, shape: tuple[int, ...], rank: int) -> float:
    count = math.prod(shape)
    if len(shape) < 2:
        return count * state.vector
    rows, columns = math.prod(shape[:-1]), shape[-1]
    if state.low_rank == "galore" and min(rows, columns) > rank:
        return rank * max(rows, columns) * state.matrix + 4 * rank * min(rows, columns)
    if state.low_rank == "factored":
        return count * state.matrix + 4 * (rows + columns) * (2 if state.matrix else 1)
    return count * (state.matrix if count >= _SMALL or state.matrix >= 4 else state.vector)
