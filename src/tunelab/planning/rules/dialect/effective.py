"""What a later check of Axolotl sees: settings under their old spellings, with the values that earlier steps give them."""

from __future__ import annotations

import fnmatch
import math
from typing import Any

from tunelab.config.raw import Raw

# Old flags in the order in which Axolotl asks for them.
_FLAGS = {"xformers_attention": "xformers", "sage_attention": "sage", "flex_attention": "flex_attention",
          "flash_attention": "flash_attention_2", "sdp_attention": "sdpa", "eager_attention": "eager"}
_PACKING = frozenset({"flash_attention_2", "flash_attention_3", "flash_attention_4", "flash_attention_torch", "flex_attention", "xformers",
                      "sage", "kernels-community/flash-attn2", "kernels-community/flash-attn3", "kernels-community/sage-attention"})
LORA_KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel")


def attention(raw: Raw) -> str:
    """The attention implementation that the file asks for, "" when it leaves it open."""
    written = raw.text("attn_implementation")
    if written:
        return written
    flagged = next((name for flag, name in _FLAGS.items() if raw.truthy(flag)), "")
    return flagged or ("flash_attention_2" if raw.truthy("gemma4_hybrid_attn_impl") else "")


def keeps_rows_apart(implementation: str) -> bool:
    """Whether an attention implementation reads several rows laid end to end without padding."""
    return implementation.split(":", 1)[0].split("@", 1)[0].strip() in _PACKING


def above_one(raw: Raw, key: str) -> bool:
    """Whether a degree of parallelism is asked for."""
    return (raw.number(key) or 0) > 1


def whole(raw: Raw, key: str, default: int | None = None) -> int | None:
    """The value as a whole number, or `default` when it is none."""
    number = raw.number(key)
    return int(number) if number is not None and math.isfinite(number) else default


def context_parallel(raw: Raw) -> tuple[str, float]:
    """(the key that says it, into how many parts each row is split); 1 part when nothing says it."""
    for key in ("context_parallel.size", "context_parallel_size", "sequence_parallel_degree"):
        if raw.number(key):
            return key, raw.number(key) or 1
    return "context_parallel_size", 1


def fsdp(raw: Raw, name: str) -> Any:
    """A setting of fsdp_config, also under its old prefix."""
    value = raw.get(f"fsdp_config.{name}")
    return raw.get(f"fsdp_config.fsdp_{name}") if value is None else value


def fsdp_key(raw: Raw, name: str) -> str:
    """The spelling under which `fsdp` finds a setting."""
    return f"fsdp_config.{name}" if raw.written(f"fsdp_config.{name}") else f"fsdp_config.fsdp_{name}"


def reentrant(raw: Raw) -> bool:
    """Whether gradient checkpointing of the older, reentrant kind is asked for."""
    return raw.truthy("gradient_checkpointing_kwargs.use_reentrant")


def offloading(raw: Raw) -> Any:
    """activation_offloading, also when `gradient_checkpointing: offload` asks for it; False when nothing does."""
    old = {"offload": True, "offload_disk": "disk"}.get(raw.text("gradient_checkpointing"))
    return old if old is not None else (raw.get("activation_offloading") or False)


def fused_lora(raw: Raw, flag: str) -> bool:
    """Whether a fused LoRA kernel is on: asked for, or switched on by Axolotl because nothing speaks against it."""
    if raw.written(flag):
        return raw.truthy(flag, "adapter")
    return fused_lora_by_itself(raw)


def fused_lora_by_itself(raw: Raw) -> bool:
    """Whether Axolotl switches its fused LoRA kernels on without being asked."""
    adapter = raw.text("adapter")
    return (adapter in ("lora", "qlora") and not raw.first("rl", "nvfp4_merge_aware", "trust_remote_code")
            and not any(raw.written(flag) for flag in LORA_KERNELS) and not (adapter == "lora" and raw.truthy("load_in_8bit")))


def matches(pattern: str, names: tuple[str, ...]) -> bool:
    """Whether the last part of a dotted pattern ("layers.0.mlp", "*_proj") names one of these."""
    last = pattern.rsplit(".", 1)[-1]
    return any(fnmatch.fnmatchcase(name, last) if any(char in last for char in "*?[") else name == last for name in names)
