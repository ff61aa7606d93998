"""What is trained: all weights, or a LoRA adapter beside frozen ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunelab.config.setting import Section, Setting, Support


class AdapterSection(Section):
    """The adapter and its LoRA settings (Hu et al. 2021, arXiv:2106.09685)."""

    adapter: Annotated[Literal["lora", "qlora"] | None, Setting(
        "Train small LoRA matrices beside the frozen weights (lora), the same on 4-bit weights (qlora), or everything (unset).",
        "Memory: lora needs gradients and optimizer state for about 1 % of the weights. Quality: close to full fine-tuning for most tasks.",
        "lora", ("lora_r", "lora_alpha", "lora_target_modules", "load_in_4bit"), "adapter: lora")] = None
    lora_r: Annotated[int | None, Field(gt=0), Setting(
        "The rank of the LoRA matrices: how many directions each adapted layer may change in.",
        "Memory and trainable parameters grow in proportion. Quality: higher holds more, and overfits sooner on little data.",
        "8, 16, 32, 64", ("lora_alpha", "lora_target_modules"), "lora_r: 16")] = None
    lora_alpha: Annotated[float | None, Field(gt=0), Setting(
        "The scale of the LoRA update: it is multiplied by lora_alpha / lora_r.",
        "Quality: works like a learning rate of the adapter; doubling it is much like doubling learning_rate.",
        "lora_r or twice lora_r", ("lora_r", "learning_rate"), "lora_alpha: 32")] = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1), Setting(
        "The share of the adapter's inputs zeroed at random in training.",
        "Quality: a little protection against overfitting. Speed: a little slower.", "0-0.1", ("lora_r",), "lora_dropout: 0.05")] = 0.0
    lora_target_modules: Annotated[str | list[str] | None, Setting(
        "Which layers get LoRA matrices, by the end of their names (q_proj, v_proj, ...) or a pattern.",
        "More layers: more trainable parameters and usually better results; attention only is cheapest.",
        "all linear layers (lora_target_linear: true)", ("lora_r", "lora_target_linear"), "lora_target_modules: [q_proj, v_proj]")] = None
    lora_target_linear: Annotated[bool | None, Setting(
        "Give every linear layer (except the output head) LoRA matrices.", "As lora_target_modules with all names.",
        "true", ("lora_target_modules",), "lora_target_linear: true")] = None
    lora_modules_to_save: Annotated[list[str] | None, Setting(
        "Modules trained in full beside the adapter and saved with it, such as embed_tokens and lm_head.",
        "Memory: these get full gradients and optimizer state. Needed when new tokens were added.", "unset", ("special_tokens",))] = None
    lora_rank_pattern: Annotated[dict[str, int] | None, Setting(
        "Other ranks for layers whose name matches.", "As lora_r, layer by layer.", "unset", ("lora_r",))] = None
    lora_alpha_pattern: Annotated[dict[str, float] | None, Setting(
        "Other alphas for layers whose name matches.", "As lora_alpha, layer by layer.", "unset", ("lora_alpha",))] = None
    lora_fan_in_fan_out: Annotated[bool | None, Setting(
        "Set for models that store weights transposed (GPT-2's Conv1D).", "None beyond correctness.", "unset")] = None
    lora_model_dir: Annotated[str | None, Setting(
        "An existing adapter to go on training from.", "Quality: starts from what that adapter learnt.", "unset", ("adapter",))] = None
    lora_on_cpu: Annotated[bool | None, Setting(
        "Merge adapters on the CPU.", "Only touches merging.", support=Support.UNDERSTOOD)] = None
    lora_fp32_gradients: Annotated[bool, Setting(
        "Keep adapter gradients in 32 bits.", "tunelab always does: adapter weights are 32-bit.", support=Support.UNDERSTOOD)] = False
    lora_mlp_kernel: Annotated[bool | None, Setting(
        "Fused GPU kernels for LoRA on the MLP.", "Speed and memory on CUDA only; the result is the same.",
        support=Support.UNDERSTOOD)] = None
    lora_qkv_kernel: Annotated[bool | None, Setting(
        "Fused GPU kernels for LoRA on q, k, v.", "Speed and memory on CUDA only; the result is the same.",
        support=Support.UNDERSTOOD)] = None
    lora_o_kernel: Annotated[bool | None, Setting(
        "Fused GPU kernels for LoRA on the output projection.", "Speed and memory on CUDA only; the result is the same.",
        support=Support.UNDERSTOOD)] = None
    lora_embedding_kernel: Annotated[bool | None, Setting(
        "Fused GPU kernels for LoRA on embeddings.", "Speed and memory on CUDA only; the result is the same.",
        support=Support.UNDERSTOOD)] = None
