"""How it is trained: batches, epochs, optimizer and learning rate."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tunelab.config.setting import Section, Setting

Scheduler = Literal["linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "constant",
                    "constant_with_warmup", "polynomial", "inverse_sqrt", "warmup_stable_decay", "one_cycle", "rex", "reduce_lr_on_plateau", "greedy"]


class LrGroup(Section):
    """One entry of `lr_groups`: a part of the model with a learning rate of its own."""

    name: Annotated[str, Setting("A label for the group.", "None on training, as long as names differ.", "short and unique",
                                 ("lr_groups[].modules", "lr_groups[].lr"), "lr_groups:\n  - name: attention\n    modules: [q_proj]\n    lr: 0.0001")]
    modules: Annotated[list[str], Field(min_length=1), Setting(
        "Pieces of parameter names. A matrix joins the group if one of them occurs anywhere in its full name; of several groups the first wins.",
        "Quality: tunelab stops when a piece matches nothing (Axolotl goes on with an empty group).", "[q_proj, v_proj], [vision_tower]",
        ("lr_groups[].lr", "lr_groups[].name"), "lr_groups:\n  - name: attention\n    modules: [q_proj, k_proj]\n    lr: 0.0001")]
    lr: Annotated[float, Field(gt=0), Setting(
        "Peak learning rate of the group; the schedule scales it like all others.", "Quality: as learning_rate, for these weights alone.",
        "0.1-10 times learning_rate", ("learning_rate", "lr_groups[].modules", "lr_scheduler"),
        "lr_groups:\n  - name: attention\n    modules: [q_proj, k_proj]\n    lr: 0.0001")]


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
        "How the learning rate moves after warm-up. reduce_lr_on_plateau and greedy follow the evaluation loss, so they need held-out rows.",
        "Quality: cosine and linear both end near zero, which settles the weights.",
        "cosine", ("learning_rate", "warmup_steps", "lr_scheduler_kwargs"), "lr_scheduler: cosine")] = "cosine"
    lr_scheduler_kwargs: Annotated[dict[str, Any] | None, Setting(
        "Further settings of the schedule, such as the floor of cosine_with_min_lr or pct_start of one_cycle. Not read by rex, nor once "
        "cosine_min_lr_ratio or lr_quadratic_warmup replaces the cosine.",
        "Quality: shapes the learning rate; a name that the schedule does not have is an error.", "unset",
        ("lr_scheduler", "cosine_min_lr_ratio", "warmup_ratio"), "lr_scheduler: cosine_with_min_lr\nlr_scheduler_kwargs:\n  min_lr_rate: 0.1")] = None
    lr_quadratic_warmup: Annotated[bool | None, Setting(
        "Lets the learning rate rise with the square of the step during warm-up, slower at first than the usual straight line. With lr_scheduler "
        "cosine only; switches cosine_min_lr_ratio off.",
        "Quality: gentler first steps for big learning rates.", "unset", ("lr_scheduler", "warmup_steps", "cosine_min_lr_ratio"),
        "lr_scheduler: cosine\nlr_quadratic_warmup: true\nwarmup_steps: 100")] = None
    cosine_min_lr_ratio: Annotated[float | None, Field(ge=0, le=1), Setting(
        "Where the cosine ends, as a share of the peak learning rate, in place of 0. Read with lr_scheduler cosine and rex; also the floor of jagged "
        "restarts.",
        "Quality: the last steps still learn; handy if training may be continued.", "unset = 0; 0.1",
        ("lr_scheduler", "cosine_constant_lr_ratio", "jagged_restart_steps"), "lr_scheduler: cosine\ncosine_min_lr_ratio: 0.1")] = None
    cosine_constant_lr_ratio: Annotated[float | None, Field(ge=0, le=1), Setting(
        "Share of all steps after which the cosine has reached its floor; the rest runs at that floor. Needs cosine_min_lr_ratio above 0.",
        "Quality: a steeper fall and a flat tail, used in continued pretraining (arXiv 2308.04014).", "unset; 0.8",
        ("cosine_min_lr_ratio", "lr_scheduler"),
        "lr_scheduler: cosine\ncosine_min_lr_ratio: 0.1\ncosine_constant_lr_ratio: 0.8")] = None
    jagged_restart_steps: Annotated[int | None, Field(gt=0), Setting(
        "Every so many steps the learning rate drops to a floor and warms up again, on top of the schedule. It is made for relora, where LoRA is "
        "merged at each restart (arXiv 2307.05695); tunelab runs it as a learning rate alone.",
        "Quality: a saw-tooth learning rate. Too short leaves each tooth no time to learn.", "unset; 150-2000",
        ("relora", "jagged_restart_warmup_steps", "jagged_restart_anneal_steps", "cosine_min_lr_ratio"), "jagged_restart_steps: 500")] = None
    jagged_restart_warmup_steps: Annotated[int | None, Field(gt=0), Setting(
        "Steps in which the learning rate climbs from the floor back to the schedule after each restart.",
        "Quality: must be well below jagged_restart_steps.", "unset = 10; 10-100", ("jagged_restart_steps", "warmup_steps"),
        "jagged_restart_steps: 500\njagged_restart_warmup_steps: 20")] = None
    jagged_restart_anneal_steps: Annotated[int | None, Field(gt=0), Setting(
        "Steps before each restart in which the learning rate falls to the floor, which is cosine_min_lr_ratio, or 0.001 of the schedule if that is "
        "unset.",
        "Quality: a short fall lets the weights settle before the restart.", "unset = 1; 10-50", ("jagged_restart_steps", "cosine_min_lr_ratio"),
        "jagged_restart_steps: 500\njagged_restart_anneal_steps: 20")] = None
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
        "adamw_torch_fused", ("learning_rate", "weight_decay", "optim_args"), "optimizer: adamw_torch_fused")] = "adamw_torch_fused"
    optim_args: Annotated[str | dict[str, Any] | None, Setting(
        "Further settings of the optimizer, as a mapping or as 'key=value,key=value'. adamw_torch and adafactor have none; a name that the "
        "optimizer does not read is an error.",
        "Quality: depends on the setting.", "unset", ("optimizer", "adam_beta1", "adam_beta2", "adam_epsilon"),
        "optimizer: sgd\noptim_args:\n  momentum: 0.9")] = None
    optim_target_modules: Annotated[str | list[str] | None, Setting(
        "Which weights the low-rank optimizers (galore_*, apollo_*) project, by pieces of the names of linear layers; all_linear takes every one. "
        "Others ignore it.",
        "Memory: only matching matrices save optimizer state. Quality: the rest is trained in full rank.", "[attn, mlp]", ("optimizer", "optim_args"),
        "optimizer: galore_adamw\noptim_target_modules: [attn, mlp]")] = None
    loraplus_lr_ratio: Annotated[float | None, Field(gt=0), Setting(
        "LoRA+ (arXiv 2402.12354): the B matrices learn this many times faster than A, which stays at learning_rate. Not together with lr_groups.",
        "Quality: faster learning, most on hard tasks. B's step grows by the ratio, so lower learning_rate when the loss jumps.", "unset; 16",
        ("learning_rate", "loraplus_lr_embedding", "lr_groups", "optimizer"), "learning_rate: 5e-5\nloraplus_lr_ratio: 16")] = None
    loraplus_lr_embedding: Annotated[float | None, Field(gt=0), Setting(
        "LoRA+: the learning rate of LoRA weights on embedding layers. It counts only with loraplus_lr_ratio, and is ignored when embedding_lr or "
        "embedding_lr_scale is set.",
        "Quality: the default is far below usual LoRA rates, so adapters on embeddings hardly move.", "1e-6",
        ("loraplus_lr_ratio", "embedding_lr", "embedding_lr_scale"), "loraplus_lr_ratio: 16\nloraplus_lr_embedding: 1.0e-5")] = 1e-6
    embedding_lr: Annotated[float | None, Field(gt=0), Setting(
        "Peak learning rate of embeddings and of the output head, of LoRA on them, and of modules that are trained in full beside LoRA.",
        "Quality: new tokens often need a rate unlike the rest; trained embeddings in continued pretraining usually a lower one.",
        "unset = learning_rate; a tenth of it", ("embedding_lr_scale", "learning_rate", "lora_modules_to_save", "loraplus_lr_embedding"),
        "learning_rate: 0.0002\nembedding_lr: 0.00002")] = None
    embedding_lr_scale: Annotated[float | None, Field(gt=0), Setting(
        "The same as embedding_lr, but as a factor on learning_rate, so it follows when you change that. Wins over embedding_lr.",
        "Quality: see embedding_lr.", "unset; 0.1-0.5", ("embedding_lr", "learning_rate"), "learning_rate: 0.0002\nembedding_lr_scale: 0.1")] = None
    lr_groups: Annotated[list[LrGroup] | None, Setting(
        "Own learning rates for parts of the model, by name. They apply to matrices only: norms and biases keep learning_rate, embeddings follow "
        "embedding_lr. Not together with loraplus_lr_ratio.",
        "Quality: for instance a low rate for a vision tower.", "unset", ("learning_rate", "loraplus_lr_ratio", "embedding_lr", "optimizer"),
        "lr_groups:\n  - name: vision\n    modules: [vision_tower]\n    lr: 0.00001")] = None
    adam_beta1: Annotated[float | None, Field(ge=0, lt=1), Setting(
        "AdamW: memory of the gradient's average.", "Quality; rarely changed.", "0.9", ("optimizer",))] = None
    adam_beta2: Annotated[float | None, Field(ge=0, lt=1), Setting(
        "AdamW: memory of the gradient's size.", "Quality; 0.95 reacts faster.", "0.999", ("optimizer",))] = None
    adam_epsilon: Annotated[float | None, Field(gt=0), Setting(
        "AdamW: keeps the division finite.", "Rarely matters.", "1e-8", ("optimizer",))] = None
    adam_beta3: Annotated[float | None, Field(ge=0, lt=1), Setting(
        "Decay of CAME's running estimate of how far updates stray from their mean. Only optimizer came_pytorch reads it.",
        "Quality: nearer to 1 remembers longer and damps unsteady updates more evenly.", "unset = 0.9999",
        ("optimizer", "adam_beta1", "adam_beta2", "adam_epsilon2"), "optimizer: came_pytorch\nadam_beta3: 0.9999")] = None
    adam_epsilon2: Annotated[float | None, Field(gt=0), Setting(
        "Second epsilon of CAME (arXiv 2307.02047), which keeps its confidence estimate from dividing by zero. Only optimizer came_pytorch reads it.",
        "Quality: numerical safety; the default suits nearly all runs.", "unset = 1e-16", ("optimizer", "adam_epsilon", "adam_beta3"),
        "optimizer: came_pytorch\nadam_epsilon2: 1.0e-16")] = None
    max_grad_norm: Annotated[float | None, Field(ge=0), Setting(
        "Gradients are scaled down to this norm when they are larger; 0 turns it off.",
        "Quality: one strange batch cannot throw the weights far.", "1.0", ("learning_rate",), "max_grad_norm: 1.0")] = None
