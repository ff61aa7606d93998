"""On what it is trained: number formats, memory savers, many devices."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from tunelab.config.setting import Section, Setting, Support


class HardwareSection(Section):
    """Number formats and hardware-dependent choices; none of them changes what is learnt, only how exactly and how fast."""

    bf16: Annotated[Literal["auto"] | bool | None, Setting(
        "Compute in bfloat16: 16 bits with the range of 32. auto takes it where the hardware has it.",
        "Memory and time about half on hardware that has it (Ampere and newer, AVX512-BF16/AMX CPUs); on other CPUs many times slower.",
        "auto", ("fp16", "tf32"), "bf16: auto")] = "auto"
    fp16: Annotated[bool | None, Setting(
        "Compute in float16: 16 bits with a narrow range, so gradients need scaling.",
        "For GPUs without bfloat16 (T4, V100). Not for CPUs.", "false", ("bf16",), "fp16: true", Support.ON_HARDWARE, "CUDA")] = None
    tf32: Annotated[Literal["auto"] | bool | None, Setting(
        "Let 32-bit matrix products use the 19-bit TensorFloat format.", "Speed on Ampere and newer; not noticed in quality.",
        "auto", ("bf16",), "tf32: true", Support.ON_HARDWARE, "CUDA, Ampere or newer")] = "auto"
    gradient_checkpointing: Annotated[Literal["offload", "offload_disk"] | bool, Setting(
        "Do not keep the activations of each layer; compute them again in the backward pass.",
        "Memory of activations falls to about one layer's; each step takes about a third longer.", "true when memory is short",
        ("sequence_len", "micro_batch_size"), "gradient_checkpointing: true")] = False
    gradient_checkpointing_kwargs: Annotated[dict[str, Any] | None, Setting(
        "Options of gradient checkpointing, such as use_reentrant.", "tunelab always uses the non-reentrant form.",
        support=Support.UNDERSTOOD)] = None
    deepspeed: Annotated[str | dict[str, Any] | None, Setting(
        "Split optimizer state (stage 1), gradients (2) and weights (3) over the processes with DeepSpeed (ZeRO). A JSON file, its settings as a "
        "mapping, or a name such as deepspeed_configs/zero2.json, which says the stage where there is no such file. Acts with several processes "
        "(`tunelab train --nproc`); accumulation, clipping, optimizer and schedule are those of this file (write `auto` there), checkpoints and the "
        "result are whole files.",
        "Memory: what is split falls to about 1/processes on each; offload_optimizer and offload_param move it to main memory. The losses are those of "
        "one process but for rounding.", "unset on one device", ("fsdp_config", "gradient_accumulation_steps", "optimizer", "bf16"),
        "deepspeed: deepspeed_configs/zero2.json")] = None
    attn_implementation: Annotated[str | None, Setting(
        "Which attention code runs: sdpa, eager, flash_attention_2, ...", "Speed and memory; results differ by rounding only.",
        "unset (sdpa)", ("sample_packing",), support=Support.UNDERSTOOD)] = None
    flash_attention: Annotated[bool | None, Setting(
        "Ask for FlashAttention (older spelling of attn_implementation).", "Speed and memory on CUDA only.",
        support=Support.UNDERSTOOD)] = None
