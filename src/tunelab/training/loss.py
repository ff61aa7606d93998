"""The loss of a micro-batch: cross entropy summed over its supervised tokens.

Only positions that predict a supervised token go through the output head, so memory follows their number and not the
row's length times the vocabulary. The sum, not the mean, is returned: the mean is taken once over the whole step.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.nn import functional

from tunelab.training.batch import MicroBatch


def takes_logits_to_keep(model: torch.nn.Module) -> bool:
    """Whether this architecture can compute logits at chosen positions only."""
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def summed_loss(model: torch.nn.Module, batch: MicroBatch, selective: bool) -> torch.Tensor:
    """Cross entropy in nats, summed over `batch.supervised` tokens; a scalar in float32."""
    inputs: dict[str, Any] = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "segment_borders": batch.borders,
                              "use_cache": False}
    if selective:
        logits = model(**inputs, logits_to_keep=batch.keep).logits[0]
    else:
        logits = model(**inputs).logits[0, batch.keep]
    return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")
