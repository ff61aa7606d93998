"""NEFTune (Jain et al. 2023, arXiv:2310.05914): uniform noise on the input embeddings while training, none in evaluation.

Its size is alpha / sqrt(length x width), with the length of each sample also where samples share a row. It is drawn from torch's generator
in the way of transformers, so that a sample alone in its row gets the noise that transformers' Trainer gives it, and a resumed run the same
as one that was never stopped.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch


def add_noise(model: torch.nn.Module, alpha: float) -> None:
    """Put noise of size `alpha` on the embeddings of a language model, adapters included, from now on."""
    causal: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    noise = _Noise(alpha)
    getattr(causal, causal.base_model_prefix).register_forward_pre_hook(noise.see_borders, with_kwargs=True)
    causal.get_input_embeddings().register_forward_hook(noise.add)


class _Noise:
    """Knows the borders of the row that is on its way to the embedding."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._borders: tuple[int, ...] | None = None

    def see_borders(self, _decoder: torch.nn.Module, _args: Any, options: dict[str, Any]) -> None:
        self._borders = options.get("segment_borders")

    def add(self, embedding: torch.nn.Module, _args: Any, output: torch.Tensor) -> torch.Tensor:
        """output: (rows, tokens, width)."""
        if not embedding.training:
            return output
        noise = torch.zeros_like(output)
        for start, end in pairwise(self._borders or (0, output.shape[1])):
            size = self._alpha / math.sqrt((end - start) * output.shape[2])
            noise[:, start:end].uniform_(-size, size)
        return output + noise
