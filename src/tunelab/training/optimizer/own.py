"""Three optimizers of the dialect that no installed library has, each from its paper."""

from __future__ import annotations

from typing import Any

import torch

# Newton-Schulz iteration of Jordan et al. 2024 ("Muon"): its coefficients drive every singular value to about 1 in five rounds.
_QUINTIC = (3.4445, -4.7750, 2.0315)


class AdamC(torch.optim.AdamW):
    """AdamW whose decay follows the square of the schedule (Defazio 2025, arXiv:2506.02285): weight_decay * lr^2 / peak per step."""

    def step(self, closure: Any = None) -> Any:
        """One step."""
        for group in self.param_groups:
            group.setdefault("full_decay", group["weight_decay"])
            group["weight_decay"] = group["full_decay"] * float(group["lr"]) / group["initial_lr"]
        return super().step(closure)


class Adopt(torch.optim.Optimizer):
    """ADOPT (Taniguchi et al. 2024, arXiv:2411.02853), with the clipping of its second version and decoupled weight decay."""

    def __init__(self, groups: Any, lr: float, betas: tuple[float, float] = (0.9, 0.9999), eps: float = 1e-6, weight_decay: float = 0.0) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Any = None) -> Any:
        """One step; the first only takes the gradient's size."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=1, exp_avg=torch.zeros_like(parameter), exp_avg_sq=gradient.square())
            return
        (first, second), rate = group["betas"], group["lr"]
        bound = state["step"] ** 0.25
        scaled = gradient.div(state["exp_avg_sq"].sqrt().clamp_(min=group["eps"])).clamp_(-bound, bound)
        parameter.mul_(1 - rate * group["weight_decay"])
        parameter.add_(state["exp_avg"].lerp_(scaled, 1 - first), alpha=-rate)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        state["step"] += 1


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024): momentum made orthogonal, for the groups with `matrices`; AdamW for the others.

    The step is scaled by 0.2 * sqrt(longer side), so that AdamW's learning rates fit (Liu et al. 2025, arXiv:2502.16982).
    """

    def __init__(self, groups: Any, lr: float, **options: Any) -> None:
        """`options`: betas, eps and weight_decay (of both), momentum, nesterov and ns_steps (of matrices)."""
        defaults = {"betas": (0.95, 0.95), "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.95, "nesterov": True, "ns_steps": 5}
        if unknown := options.keys() - defaults.keys():
            raise TypeError(f"Muon has no {', '.join(sorted(unknown))}")
        super().__init__(groups, {"lr": lr, **defaults, **options, "matrices": False})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Any = None) -> Any:
        """One step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    (self._orthogonal if group["matrices"] else self._adamw)(parameter, parameter.grad, group)

    def _orthogonal(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        held = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        direction = gradient.add(held, alpha=group["momentum"]) if group["nesterov"] else held
        parameter.add_(orthogonal(direction, group["ns_steps"]), alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)

    def _adamw(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[parameter], group["betas"]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
        state["step"] += 1
        average = state["exp_avg"].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].lerp_(gradient.square(), 1 - second)
        scale = (1 - second ** state["step"]) ** 0.5 / (1 - first ** state["step"])
        parameter.addcdiv_(average, square.sqrt().add_(group["eps"]), value=-group["lr"] * scale)


def orthogonal(matrix: torch.Tensor, rounds: int) -> torch.Tensor:
    """Nearly the orthogonal matrix closest to `matrix`, in bfloat16 on a GPU and in 32 bits elsewhere."""
    a, b, c = _QUINTIC
    wide = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    tall = wide.shape[0] > wide.shape[1]
    wide = wide.T if tall else wide
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(rounds):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return (wide.T if tall else wide).to(matrix.dtype)
