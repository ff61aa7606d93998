"""The optimizer of a run: its parameter groups, the library that builds it, its learning rate, its state as tensors."""

from tunelab.training.optimizer.averaging import resting, wake
from tunelab.training.optimizer.build import build_optimizer, set_rate

__all__ = ["build_optimizer", "resting", "set_rate", "wake"]
