"""What a preference method needs beside the model that learns: the reference, and how it is had."""

from __future__ import annotations

from typing import Literal

from tunelab.config.config import Config

_STARTS_AT_THE_BASE = (None, True, False, "gaussian", "eva")
"""Values of peft_init_lora_weights with which a new adapter changes nothing, so that switching it off gives the model that the run began with."""


def reference_kind(config: Config) -> Literal["adapter off", "recorded"] | None:
    """How the reference is asked: by switching the adapter off in every step, or once for all rows before step 1 (recorded). None: not at all.

    Recorded is right whatever the weights are; it is chosen on request, and where switching off would not give the model at the start.
    """
    if config.preference.rl not in ("dpo", "ipo", "kto"):
        return None
    adapter = config.adapter
    plain = adapter.adapter is not None and adapter.lora_model_dir is None and config.raw.get("peft_init_lora_weights") in _STARTS_AT_THE_BASE
    return "adapter off" if plain and not config.preference.precompute_ref_log_probs else "recorded"
