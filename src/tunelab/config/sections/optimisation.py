"""How it is trained: batches, epochs, optimizer and learning rate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunelab.config.setting import Section, Setting

Scheduler = Literal["linear", "cosine", "cosine_with_min_lr", "constant", "constant_with_warmup", "polynomial"]


class OptimisationSection(Section):
    """Batches, epochs, optimizer, schedule."""

    micro_batch_size: Annotated[int, Field(gt=0), Setting(
        "Rows per device in one forward pass.", "Memory of activations grows in proportion; speed improves until the device is full.",
        "1-8", ("gradient_accumulation_steps", "sequence_len"), "micro_batch_size: 2")] = 1
    gradient_accumulation_steps: Annotated[int, Field(gt=0), Setting(
        "Forward passes whose gradients are added up before one optimizer step.",
        "A larger effective batch at no memory cost; each step takes that much longer. The loss is averaged over all supervised tokens of the step.",
        "1-16", ("micro_batch_size", "learning_rate"), "gradient_accumulation_steps: 4")] = 1
    eval_batch_size: Annotated[int | None, Field(gt=0), Setting(
        "Rows per device in one evaluation pass.", "Memory and speed of evaluation only.", "as micro_batch_size", ("micro_batch_size",))] = None
    num_epochs: Annotated[float, Field(gt=0), Setting(
        "How many times the whole data set is gone through.",
        "Time in proportion. Quality: too few underfit, too many memorise; watch the evaluation loss.", "1-4", ("max_steps",),
        "num_epochs: 3")] = 1.0
    max_steps: Annotated[int | None, Field(gt=0), Setting(
        "Stop after this many optimizer steps, whatever num_epochs says.", "Time in proportion.", "unset", ("num_epochs",),
        "max_steps: 100")] = None
    learning_rate: Annotated[float, Field(gt=0), Setting(
        "The highest step size that the optimizer takes.",
        "Quality: too high and the loss jumps or explodes, too low and nothing is learnt.",
        "1e-4 to 3e-4 for LoRA (1e-3 for very small models); 1e-5 to 5e-5 for full fine-tuning",
        ("lr_scheduler", "warmup_steps", "lora_alpha", "optimizer"), "learning_rate: 0.0002")]
    lr_scheduler: Annotated[Scheduler, Setting(
        "How the learning rate moves after warm-up.", "Quality: cosine and linear both end near zero, which settles the weights.",
        "cosine", ("learning_rate", "warmup_steps"), "lr_scheduler: cosine")] = "cosine"
    warmup_steps: Annotated[int | None, Field(ge=0), Setting(
        "Steps over which the learning rate rises from 0 to its peak.", "Quality: avoids a jolt at the start.",
        "3-10 % of the steps", ("warmup_ratio", "learning_rate"), "warmup_steps: 10")] = None
    warmup_ratio: Annotated[float | None, Field(ge=0, le=1), Setting(
        "The same as a share of all steps.", "As warmup_steps.", "0.03-0.1", ("warmup_steps",), "warmup_ratio: 0.05")] = None
    weight_decay: Annotated[float, Field(ge=0), Setting(
        "How strongly weights are pulled toward zero in each step.", "Quality: mild regularisation; small with LoRA.",
        "0-0.1", ("optimizer",), "weight_decay: 0.01")] = 0.0
    optimizer: Annotated[str, Setting(
        "The rule that turns gradients into weight changes.",
        "Memory: AdamW keeps two extra 32-bit numbers per trained weight; 8-bit variants keep two bytes.",
        "adamw_torch_fused", ("learning_rate", "weight_decay"), "optimizer: adamw_torch_fused")] = "adamw_torch_fused"
    adam_beta1: Annotated[float | None, Field(ge=0, lt=1), Setting(
        "AdamW: memory of the gradient's average.", "Quality; rarely changed.", "0.9", ("optimizer",))] = None
    adam_beta2: Annotated[float | None, Field(ge=0, lt=1), Setting(
        "AdamW: memory of the gradient's size.", "Quality; 0.95 reacts faster.", "0.999", ("optimizer",))] = None
    adam_epsilon: Annotated[float | None, Field(gt=0), Setting(
        "AdamW: keeps the division finite.", "Rarely matters.", "1e-8", ("optimizer",))] = None
    max_grad_norm: Annotated[float | None, Field(ge=0), Setting(
        "Gradients are scaled down to this norm when they are larger; 0 turns it off.",
        "Quality: one strange batch cannot throw the weights far.", "1.0", ("learning_rate",), "max_grad_norm: 1.0")] = None
