"""The optimizer by its name in the config."""

from __future__ import annotations

import torch

from tunelab.config import Config
from tunelab.errors import ConfigError


def build_optimizer(config: Config, parameters: list[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
    """AdamW or SGD over the trained parameters; vectors (biases, norms) are not decayed, as is usual."""
    settings = config.optimisation
    groups = [
        {"params": [p for _, p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for _, p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer in {"adamw_torch", "adamw_torch_fused"}:
        betas = (0.9 if settings.adam_beta1 is None else settings.adam_beta1, 0.999 if settings.adam_beta2 is None else settings.adam_beta2)
        return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, eps=settings.adam_epsilon or 1e-8,
                                 fused=settings.optimizer == "adamw_torch_fused")
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate)
    raise ConfigError(f"The optimizer {settings.optimizer!r} is not one that tunelab runs.", where="optimizer",
                      next_step="Write optimizer: adamw_torch_fused")
