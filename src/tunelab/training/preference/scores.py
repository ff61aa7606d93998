"""What a model says of answers, token by token; and what the reference says of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from tunelab.training.preference.batch import Laid, PairBatch


def takes_logits_to_keep(model: torch.nn.Module) -> bool:
    """Whether this architecture can compute logits at chosen positions only."""
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def token_logps(model: Any, laid: Laid, selective: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probability of each token with loss, its logits): (tokens,) and (tokens, vocabulary), in float32."""
    batch = laid.flat
    inputs: dict[str, Any] = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "segment_borders": batch.borders, "use_cache": False}
    logits = model(**inputs, logits_to_keep=batch.keep).logits[0] if selective else model(**inputs).logits[0, batch.keep]
    logits = logits.float()
    return logits.gather(-1, batch.targets[:, None])[:, 0] - logits.logsumexp(-1), logits


class Reference:
    """What the model said of the answers before it learnt.

    With a new adapter it can be asked at any time, by switching the adapter off. Otherwise it is asked once for all rows, before step 1
    (`recorded`), and what it said is kept: a few numbers a row instead of a second copy of the model.
    """

    def __init__(self, recorded: bool) -> None:
        self.recorded = recorded
        self._kept: dict[tuple[bool, int], tuple[float, ...]] = {}

    def knows(self, rows: Sequence[int], held_out: bool) -> bool:
        """Whether nothing has to be asked for these rows."""
        return not self.recorded or all((held_out, row) in self._kept for row in rows)

    def asked(self, model: Any, batch: PairBatch, ask: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What the reference says of a batch, (figures, rows): `ask` asks the model that it is given."""
        if self.recorded and not batch.recording:
            kept = [self._kept[batch.held_out, row] for row in batch.rows]
            return torch.tensor(kept, device=batch.answers.flat.input_ids.device, dtype=torch.float32).T
        with torch.no_grad(), nullcontext() if self.recorded else _adapter_off(model):
            found = ask()
        if self.recorded:
            for row, figures in zip(batch.rows, found.T.tolist(), strict=True):
                self._kept[batch.held_out, row] = tuple(figures)
        return found


def _adapter_off(model: Any) -> AbstractContextManager[None]:
    off: AbstractContextManager[None] = model.disable_adapter()
    return off
