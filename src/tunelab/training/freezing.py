"""Which weights of a run without an adapter are trained: `unfrozen_parameters` and `freeze_mm_modules` put into effect."""

from __future__ import annotations

from typing import Any

import torch

from tunelab.config import Config
from tunelab.errors import ModelError
from tunelab.planning.freezing import Rows, thawed

_MARK = "tunelab_frozen_rows"


def freeze(config: Config, model: torch.nn.Module) -> None:
    """Freeze what the config does not name. Of a tensor with a range of rows the other rows get no gradient.

    Raises ModelError when nothing is left to train.
    """
    if not config.adapter.unfrozen_parameters and not config.model.freeze_mm_modules:
        return
    trained = thawed(config, {name: tuple(parameter.shape) for name, parameter in model.named_parameters()})
    if not trained:
        raise ModelError("`unfrozen_parameters` matches no weight of this model, so nothing would be trained.", where="unfrozen_parameters",
                         next_step="Write the beginning of a name, such as model.layers.1.mlp, where a dot stands for itself and .+ for anything.")
    for name, parameter in model.named_parameters():
        one = trained.get(name)
        parameter.requires_grad_(one is not None)
        if one is not None and one.frozen_rows:
            setattr(parameter, _MARK, one.frozen_rows)
            parameter.register_hook(_without(one.frozen_rows))


def hold_frozen_rows(optimizer: torch.optim.Optimizer) -> None:
    """Let no step of an optimizer change rows that are not trained: weight decay would, and so would optimizers that mix rows.

    Call it once, on the optimizer of the parameters that `freeze` has seen; without ranges of rows it does nothing.
    """
    kept = [(parameter, [(start, end, parameter.detach()[start:end].clone()) for start, end in getattr(parameter, _MARK)])
            for group in optimizer.param_groups for parameter in group["params"] if hasattr(parameter, _MARK)]
    if not kept:
        return

    def put_back(*_: Any) -> None:
        with torch.no_grad():
            for parameter, rows in kept:
                for start, end, values in rows:
                    parameter[start:end] = values

    optimizer.register_step_post_hook(put_back)


def _without(rows: Rows) -> Any:
    def zeroed(gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        for start, end in rows:
            gradient[start:end] = 0
        return gradient

    return zeroed
