"""The loss of a micro-batch: summed over its supervised tokens, with the output head and cross entropy computed in chunks that are dropped at once.

Scores over the vocabulary (logits) are the largest tensor of a small model's step. Only positions that predict a supervised token get them, a
chunk at a time, and the gradients of a chunk are computed before the next one, so memory grows with neither. In the manner of Liger Kernel
(Hsu et al. 2024, arXiv:2410.10989, section 3.2), with the model's own code between decoder and logits (soft-capping, scales, adapters on the
head). torch's linear_cross_entropy knows a plain matrix only. The sum, not the mean, is returned: the mean is taken once over the whole step.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tunelab.config import Config
from tunelab.planning.activations import loss_rows
from tunelab.training.batch import MicroBatch

_TRIED = 4  # positions whose logits are held against the model's own


@dataclass(frozen=True, slots=True)
class Weighting:
    """What a token's cross entropy is multiplied by, without a gradient through it.

    `by` "": nothing. "probability": the probability that the model gives the token (dynamic fine-tuning, Wu et al. 2025, arXiv:2508.05629).
    "entropy": the entropy in nats of the `top` likeliest tokens to the power `power` (entropy-adaptive fine-tuning, as in Axolotl).
    """

    by: str = ""
    power: float = 1.0
    top: int = 20

    @classmethod
    def of(cls, config: Config) -> Weighting:
        """As the config asks."""
        loss = config.loss
        if loss.use_eaft:
            return cls("entropy", loss.eaft_alpha, loss.eaft_k)
        return cls("probability" if loss.use_dft else "")

    def cost(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The weighted cross entropies, summed. logits: (tokens, vocabulary), float32; targets: (tokens,)."""
        if not self.by:
            return functional.cross_entropy(logits, targets, reduction="sum")
        each = functional.cross_entropy(logits, targets, reduction="none")
        if self.by == "probability":
            return (each * each.detach().neg().exp()).sum()
        with torch.no_grad():
            likeliest = logits.topk(min(self.top, logits.shape[-1]), dim=-1).values.softmax(-1)
            entropy = -(likeliest * (likeliest + 1e-10).log()).sum(-1)
        return (each * entropy.pow(self.power)).sum()


def takes_logits_to_keep(model: torch.nn.Module) -> bool:
    """Whether this architecture can compute logits at chosen positions only."""
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


class TokenLoss:
    """The loss of one model. `in_chunks`: None until the first batch has shown whether its head can be run apart from its decoder."""

    def __init__(self, model: torch.nn.Module, weighting: Weighting = Weighting()) -> None:
        self._weighting = weighting
        self._causal: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._decoder = getattr(self._causal, "base_model_prefix", "")
        self._selective = takes_logits_to_keep(model)
        possible = self._selective and isinstance(getattr(self._causal, self._decoder, None), torch.nn.Module)
        self.in_chunks: bool | None = None if possible else False
        self._rows = 1
        self._matrix: torch.nn.Linear | None = None

    def summed(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        """Weighted cross entropy in nats, summed over `batch.supervised` tokens; a scalar in float32."""
        if self.in_chunks is False or (self.in_chunks is None and not batch.supervised):
            return self._at_once(model, batch)
        output, logits = self._decoded(model, batch, batch.keep[: _TRIED if self.in_chunks is None else 0])
        hidden = output.last_hidden_state[0].index_select(0, batch.keep)
        if self.in_chunks is None and not self._try(output, hidden, logits):
            return self._at_once(model, batch)
        return in_chunks(hidden, batch.targets, self._rows, lambda rows: self._logits(output, rows), self._weighting.cost, self._matrix)

    def _at_once(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        """For a model whose head is not understood: all supervised positions together."""
        inputs = _inputs(batch)
        logits = model(**inputs, logits_to_keep=batch.keep).logits[0] if self._selective else model(**inputs).logits[0, batch.keep]
        return self._weighting.cost(logits.float(), batch.targets)

    def _decoded(self, model: Any, batch: MicroBatch, positions: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """What the decoder gave in the model's own forward pass, and the model's logits at `positions`, without dropout in the head."""
        seen: list[Any] = []
        handle = getattr(self._causal, self._decoder).register_forward_hook(lambda _module, _args, output: seen.append(output))
        try:
            with self._steady_head():
                logits = model(**_inputs(batch), logits_to_keep=positions).logits[0]
        finally:
            handle.remove()
        return seen[-1], logits

    def _try(self, output: Any, hidden: torch.Tensor, own: torch.Tensor) -> bool:
        """Decide, on the model's own logits, whether the head can be run on rows of hidden states."""
        try:
            with torch.no_grad(), self._steady_head():
                mine = self._logits(output, hidden[:_TRIED])
        except (AttributeError, TypeError, ValueError, RuntimeError):
            self.in_chunks = False
            return False
        tolerance = 1e-5 if own.dtype == torch.float32 else 1e-2
        self.in_chunks = mine.shape == own.shape and torch.allclose(mine, own, rtol=tolerance, atol=tolerance, equal_nan=True)
        size = own.shape[-1] * hidden.shape[-1]
        self._matrix = next((part for child in self._outside() for part in child.modules()
                             if type(part) is torch.nn.Linear and part.weight.requires_grad and part.weight.numel() >= size), None)
        self._rows = loss_rows(own.shape[-1], cuda=hidden.is_cuda)
        return self.in_chunks

    def _logits(self, output: Any, rows: torch.Tensor) -> torch.Tensor:
        """The model's own code after its decoder, run on rows of hidden states: (n, width) -> (n, vocabulary)."""
        given = replace(output, last_hidden_state=rows[None])
        view = object.__new__(type(self._causal))  # the same model, whose decoder answers with these rows
        view.__dict__.update(self._causal.__dict__, _modules={**self._causal._modules, self._decoder: lambda *_args, **_options: given})
        logits: torch.Tensor = type(self._causal).forward(view, inputs_embeds=rows[None], use_cache=False).logits[0]
        return logits

    def _outside(self) -> Iterator[torch.nn.Module]:
        """The parts of the model that are not its decoder."""
        return (child for name, child in self._causal.named_children() if name != self._decoder)

    @contextmanager
    def _steady_head(self) -> Iterator[None]:
        """Without dropout in the head, which would also draw random numbers that a resumed run does not draw."""
        training = [part for child in self._outside() for part in child.modules() if part.training]
        for part in training:
            part.training = False
        try:
            yield
        finally:
            for part in training:
                part.training = True


def _inputs(batch: MicroBatch) -> dict[str, Any]:
    return {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "segment_borders": batch.borders, "use_cache": False}


def in_chunks(hidden: torch.Tensor, targets: torch.Tensor, rows: int, logits_of: Callable[[torch.Tensor], torch.Tensor],
              cost: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], matrix: torch.nn.Linear | None = None) -> torch.Tensor:
    """The summed cost of hidden states, (n, width), whose gradients are computed here, chunk by chunk, and handed on in the backward pass.

    `matrix`: the head where it is a trained linear layer: its gradient is then added up in place, without a second one beside it.
    """
    total = torch.zeros((), device=hidden.device)
    source, gradient = hidden.detach(), torch.zeros_like(hidden) if hidden.requires_grad else None
    sums: dict[torch.Tensor, torch.Tensor] = {}
    for start in range(0, max(1, len(targets)), rows):
        part = source[start : start + rows].requires_grad_(hidden.requires_grad)
        with _watched(matrix) as calls:
            one = cost(logits_of(part).float(), targets[start : start + rows])
        total += one.detach()
        if not one.requires_grad:
            continue
        products = [(matrix.weight, *call) for call in calls] if matrix is not None else []
        trained = [weight for weight in _trained(one, part) if not any(weight is known for known, _, _ in products)]
        wanted = [*([part] if gradient is not None else []), *trained, *(output for _, _, output in products)]
        found = list(torch.autograd.grad(one, wanted))
        if gradient is not None:
            gradient[start : start + rows] = found.pop(0)
        for weight in trained:
            sums[weight] = sums[weight].add_(found.pop(0)) if weight in sums else found.pop(0)
        for weight, given, _ in products:
            _add_product(sums, weight, given.flatten(0, -2), found.pop(0).flatten(0, -2))
    if gradient is None and not sums:
        return total
    known = [*([] if gradient is None else [gradient]), *sums.values()]
    computed: torch.Tensor = _Computed.apply(total, known, *([] if gradient is None else [hidden]), *sums)
    return computed


@contextmanager
def _watched(matrix: torch.nn.Linear | None) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Input and output of each call of a linear layer."""
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    if matrix is None or not torch.is_grad_enabled():
        yield calls
        return
    handle = matrix.register_forward_hook(lambda _module, given, output: calls.append((given[0].detach(), output)))
    try:
        yield calls
    finally:
        handle.remove()


def _add_product(sums: dict[torch.Tensor, torch.Tensor], weight: torch.Tensor, given: torch.Tensor, gradient: torch.Tensor) -> None:
    """Add the gradient of weight @ given, in place where both are of the weight's format."""
    if weight not in sums:
        sums[weight] = (gradient.T @ given.to(gradient.dtype)).to(weight.dtype)
    elif gradient.dtype == given.dtype == weight.dtype:
        sums[weight].addmm_(gradient.T, given)
    else:
        sums[weight].add_(gradient.T @ given.to(gradient.dtype))


def _trained(cost: torch.Tensor, part: torch.Tensor) -> Sequence[torch.Tensor]:
    """The weights that a cost depends on, in the order of its graph: found there and not by name, as adapters hide and tie weights."""
    found: dict[torch.Tensor, None] = {}
    seen: set[Any] = set()
    open_nodes: list[Any] = [cost.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        weight = getattr(node, "variable", None)
        if weight is not None and weight is not part:
            found[weight] = None
        open_nodes.extend(before for before, _ in node.next_functions)
    return list(found)


class _Computed(torch.autograd.Function):
    """A scalar whose gradients are known already: the backward pass only scales them. Once: they are scaled in place."""

    @staticmethod
    def forward(context: Any, total: torch.Tensor, known: list[torch.Tensor], *_inputs: torch.Tensor) -> torch.Tensor:
        context.known = copy.copy(known)
        known.clear()
        return total.clone()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(context: Any, scale: torch.Tensor) -> Any:
        known, context.known = context.known, None
        return None, None, *(gradient.mul_(scale) for gradient in known)
