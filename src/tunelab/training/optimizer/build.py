"""The optimizer by its name in the config: each builder gives the library the settings that transformers' Trainer or Axolotl would.

planning/optimizers.tsv says which builder a name has, which package and hardware it needs, and which optim_args it reads.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tunelab.config import Config
from tunelab.errors import ConfigError, needs
from tunelab.planning.optimizers import GALORE_RANK, optimizer_arguments, optimizers
from tunelab.planning.rate import Rate
from tunelab.training.freezing import hold_frozen_rows
from tunelab.training.optimizer.groups import grouped, is_embedding
from tunelab.training.optimizer.own import AdamC, Adopt, Muon


@dataclass(frozen=True)
class _Wish:
    """What a builder may look at: the config, the model, its parameter groups, optim_args, and the steps of warm-up."""

    config: Config
    model: torch.nn.Module
    groups: list[dict[str, Any]]
    arguments: Mapping[str, Any]
    warmup: int

    @property
    def name(self) -> str:
        return self.config.optimisation.optimizer

    @property
    def rate(self) -> float:
        return self.config.optimisation.learning_rate

    def adam(self, first: float = 0.9, second: float = 0.999, epsilon: float = 1e-8) -> dict[str, Any]:
        """AdamW's numbers, with the library's own where the config has none."""
        settings = self.config.optimisation
        betas = (first if settings.adam_beta1 is None else settings.adam_beta1, second if settings.adam_beta2 is None else settings.adam_beta2)
        return {"betas": betas, "eps": epsilon if settings.adam_epsilon is None else settings.adam_epsilon}


def build_optimizer(config: Config, model: torch.nn.Module, *, warmup: int = 0) -> torch.optim.Optimizer:
    """The optimizer over what is trained in `model`; `warmup` is told to those that have a warm-up of their own.

    Raises ConfigError for a name that no run can use and for settings that the optimizer refuses, MissingPartError for a missing package.
    """
    settings = config.optimisation
    row = optimizers().get(settings.optimizer)
    if row is None or not row.builder:
        raise ConfigError(f"The optimizer {settings.optimizer!r} is not one that tunelab runs.", where="optimizer",
                          next_step=f"Write optimizer: {row.instead if row is not None else 'adamw_torch_fused'}")
    try:
        arguments = optimizer_arguments(settings.optim_args)
        wish = _Wish(config, model, grouped(config, model), {name: value for name, value in arguments.items() if name in row.arguments}, warmup)
        with needs("optimizers", f"The optimizer {settings.optimizer}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # galore-torch and others warn of their own age
            optimizer = _BUILDERS[row.builder](wish)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The optimizer {settings.optimizer} refuses its settings: {str(error).splitlines()[0]}", where="optim_args",
                          next_step="tunelab explain CONFIG optim_args") from error
    for group in optimizer.param_groups:
        group["initial_lr"] = float(group["lr"])
    hold_frozen_rows(optimizer)
    return optimizer


def set_rate(optimizer: Any, rate: Rate, step: int) -> float:
    """Give every group its rate (and with one_cycle its momentum) for the update after `step` done ones; returns that of learning_rate."""
    share, momentum = rate.share(step), rate.momentum(step)
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(share * group["initial_lr"])  # torchao's compiled step reads it as a tensor
        else:
            group["lr"] = share * group["initial_lr"]
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        elif momentum is not None and "momentum" in group:
            group["momentum"] = momentum
    return rate.at(step)


def _adamw(wish: _Wish) -> torch.optim.Optimizer:
    fused = {"fused": True} if wish.name == "adamw_torch_fused" else {}  # fused=False would also turn off torch's loop over many tensors at once
    return torch.optim.AdamW(wish.groups, lr=wish.rate, **fused, **wish.adam())


def _sgd(wish: _Wish) -> torch.optim.Optimizer:
    return torch.optim.SGD(wish.groups, lr=wish.rate, **wish.arguments)


def _adagrad(wish: _Wish) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(wish.groups, lr=wish.rate, **wish.arguments)


def _rmsprop(wish: _Wish) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(wish.groups, lr=wish.rate, **wish.arguments)


def _adafactor(wish: _Wish) -> torch.optim.Optimizer:
    from transformers.optimization import Adafactor

    return Adafactor(wish.groups, lr=wish.rate, scale_parameter=False, relative_step=False)


def _bitsandbytes(wish: _Wish) -> torch.optim.Optimizer:
    from bitsandbytes import optim

    bits = 8 if "8bit" in wish.name else 32
    if "rmsprop" in wish.name:
        return optim.RMSprop(wish.groups, lr=wish.rate, optim_bits=bits, **wish.arguments)
    shared: dict[str, Any] = {"lr": wish.rate, "optim_bits": bits, "is_paged": wish.name.startswith("paged_")}
    adam = wish.adam()
    if "lion" in wish.name:
        return optim.Lion(wish.groups, betas=adam["betas"], **shared)
    if "ademamix" in wish.name:
        given = dict(wish.arguments)
        betas = (given.pop("beta1", adam["betas"][0]), given.pop("beta2", adam["betas"][1]), given.pop("beta3", 0.9999))
        return optim.AdEMAMix(wish.groups, **{"alpha": 5.0, "eps": adam["eps"], **given}, betas=betas, **shared)
    return optim.AdamW(wish.groups, **adam, **shared)


def _torchao(wish: _Wish) -> torch.optim.Optimizer:
    from torchao import optim

    kind = {"4bit": optim.AdamW4bit, "8bit": optim.AdamW8bit, "_fp8": optim.AdamWFp8}[wish.name[-4:]]
    block = {} if wish.name.startswith("ao_") else {"block_size": 256}  # transformers' default; torchao's own is smaller for 4 bits
    optimizer = kind(wish.groups, lr=wish.rate, **{**block, **wish.arguments}, **wish.adam())
    if not torch.cuda.is_available():
        _uncompiled(optimizer)
    return optimizer


def _uncompiled(optimizer: torch.optim.Optimizer) -> None:
    """torchao compiles its step, anew for each shape: on a CPU that takes a C++ compiler and more time than it saves."""
    compiled = optimizer.step

    def step(closure: Any = None) -> Any:
        with torch.compiler.set_stance("force_eager"):
            return compiled(closure)

    optimizer.step = step


def _galore(wish: _Wish) -> torch.optim.Optimizer:
    import galore_torch

    groups = _low_rank_groups(wish, {"rank": GALORE_RANK, "update_proj_gap": 200, "scale": 0.25, "proj_type": "std", **wish.arguments})
    if wish.name == "galore_adafactor":
        return galore_torch.GaLoreAdafactor(groups, lr=wish.rate, scale_parameter=False, relative_step=False)
    return galore_torch.GaLoreAdamW(groups, lr=wish.rate, no_deprecation_warning=True, **wish.adam(epsilon=1e-6))


def _apollo(wish: _Wish) -> torch.optim.Optimizer:
    from apollo_torch import APOLLOAdamW

    projection = {"rank": GALORE_RANK, "proj": "random", "scale_type": "channel", "update_proj_gap": 200, "scale": 1.0, "proj_type": "std",
                  **wish.arguments}
    return APOLLOAdamW(_low_rank_groups(wish, {**projection, **wish.adam()}), lr=wish.rate, **wish.adam(epsilon=1e-6))


def _low_rank_groups(wish: _Wish, projection: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each group in two: linear layers that optim_target_modules names, with the projection, and the rest."""
    from transformers.trainer_utils import check_target_module_exists

    wanted = wish.config.optimisation.optim_target_modules
    every = wanted in ("all_linear", "all-linear")
    chosen = {module.weight for name, module in wish.model.named_modules()
              if isinstance(module, torch.nn.Linear) and (every or (wanted and check_target_module_exists(wanted, name)))}
    split = [(group, [one for one in group["params"] if (one in chosen) == low]) for group in wish.groups for low in (False, True)]
    groups = [{**group, "params": parameters, **(projection if parameters[0] in chosen else {})} for group, parameters in split if parameters]
    if not any("rank" in group for group in groups):
        raise ConfigError(f"No trained linear layer has one of the names in optim_target_modules ({wanted}), so nothing would be projected.",
                          where="optim_target_modules", next_step="Write optim_target_modules: all_linear")
    return groups


def _optimi(wish: _Wish) -> torch.optim.Optimizer:
    import optimi

    if wish.name == "optimi_adamw":
        return optimi.AdamW(wish.groups, lr=wish.rate, foreach=False, **wish.adam(second=0.99, epsilon=1e-6), **wish.arguments)
    return optimi.StableAdamW(wish.groups, lr=wish.rate, weight_decay=wish.config.optimisation.weight_decay, **wish.adam(), **wish.arguments)


def _schedulefree(wish: _Wish) -> torch.optim.Optimizer:
    import schedulefree

    shared: dict[str, Any] = {"lr": wish.rate, "weight_lr_power": 2.0, "r": 0.0, **wish.arguments}
    kinds: dict[str, Callable[..., Any]] = {
        "schedule_free_radam": lambda: schedulefree.RAdamScheduleFree(wish.groups, **wish.adam(), **shared),
        "schedule_free_adamw": lambda: schedulefree.AdamWScheduleFree(wish.groups, warmup_steps=wish.warmup, **wish.adam(), **shared),
        "schedule_free_sgd": lambda: schedulefree.SGDScheduleFree(wish.groups, warmup_steps=wish.warmup, **shared)}
    optimizer = kinds[wish.name]()
    optimizer.train()
    return optimizer


def _grokadamw(wish: _Wish) -> torch.optim.Optimizer:
    from grokadamw import GrokAdamW

    given = {"alpha_init": 0.98, "lamb": 2.0, "gamma": 0.1, "grokking_signal_decay_rate": 0.1, "gradient_clipping": 1.0, **wish.arguments}
    return GrokAdamW(wish.groups, lr=wish.rate, **given, **wish.adam())


def _came(wish: _Wish) -> torch.optim.Optimizer:
    from came_pytorch import CAME

    settings, adam = wish.config.optimisation, wish.adam(epsilon=1e-30)
    return CAME(wish.groups, lr=wish.rate, betas=(*adam["betas"], 0.9999 if settings.adam_beta3 is None else settings.adam_beta3),
                eps=(adam["eps"], settings.adam_epsilon2 or 1e-16), **wish.arguments)


def _adopt(wish: _Wish) -> torch.optim.Optimizer:
    return Adopt(wish.groups, lr=wish.rate, **wish.adam(second=0.9999, epsilon=1e-6))


def _adamc(wish: _Wish) -> torch.optim.Optimizer:
    return AdamC(wish.groups, lr=wish.rate, **wish.adam())


def _muon(wish: _Wish) -> torch.optim.Optimizer:
    """Muon for matrices; embeddings, the output head, norms and biases get AdamW."""
    matrices = {parameter for name, parameter in wish.model.named_parameters() if parameter.ndim == 2 and not is_embedding(name)}
    split = [{**group, "matrices": inside, "params": [one for one in group["params"] if (one in matrices) == inside]}
             for group in wish.groups for inside in (True, False)]
    return Muon([group for group in split if group["params"]], lr=wish.rate, **wish.adam(0.95, 0.95), **wish.arguments)


_BUILDERS: Mapping[str, Callable[[_Wish], torch.optim.Optimizer]] = {
    "adamw": _adamw, "sgd": _sgd, "adagrad": _adagrad, "rmsprop": _rmsprop, "adafactor": _adafactor, "bitsandbytes": _bitsandbytes,
    "torchao": _torchao, "galore": _galore, "apollo": _apollo, "optimi": _optimi, "schedulefree": _schedulefree, "grokadamw": _grokadamw,
    "came": _came, "adopt": _adopt, "adamc": _adamc, "muon": _muon}
