"""How bitsandbytes packs the base of a QLoRA run: Axolotl's defaults, under what the config says (Dettmers et al. 2023, arXiv:2305.14314)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def four_bit_settings(own: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings for 4 bits out of `bnb_config_kwargs`: NF4 with its scales quantised too, where they say nothing else."""
    settings = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, **(own or {})}
    settings.pop("blocksize", None)  # 64, the only one that there is (rule TL465)
    return settings
