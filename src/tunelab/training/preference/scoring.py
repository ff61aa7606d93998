"""A reward model: the base with a head that gives one number instead of the vocabulary, chosen as transformers' auto classes are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from transformers import AutoModelForSequenceClassification


def _from_pretrained(weights: Any, **options: Any) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(weights, num_labels=1, **options)


def _from_config(config: Any, **options: Any) -> Any:
    config.num_labels = 1
    return AutoModelForSequenceClassification.from_config(config, **options)


ScoringModel = SimpleNamespace(from_pretrained=_from_pretrained, from_config=_from_config)
"""AutoModelForSequenceClassification with one label. The base has no such head: its weights are drawn from torch's generator."""
