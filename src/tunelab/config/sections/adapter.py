"""What is trained: all weights, or a LoRA adapter beside frozen ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunelab.config.setting import Section, Setting, Support


class LoftqSection(Section):
    """The nested keys of `peft.loftq_config`."""

    loftq_bits: Annotated[int, Setting(
        "To how many bits the base is packed for which LoftQ prepares the adapter.",
        "Quality: fewer bits leave more for the adapter to make good. tunelab runs 4, on the 4-bit base of QLoRA.", "4",
        ("peft.loftq_config", "load_in_4bit"), "peft: {loftq_config: {loftq_bits: 4}}")] = 4


class PeftSection(Section):
    """The nested keys of `peft`."""

    loftq_config: Annotated[LoftqSection | None, Setting(
        "LoftQ (arXiv 2310.08659): the adapter starts from the best low-rank stand-in for what packing the base to 4 bits loses, so that base "
        "plus adapter begin close to the original weights.",
        "Quality: a better start at 4 bits. Loading takes longer (a singular value decomposition per layer). The adapter belongs on the 4-bit base.",
        "unset", ("peft.loftq_config.loftq_bits", "peft_init_lora_weights", "load_in_4bit"),
        "peft:\n  loftq_config:\n    loftq_bits: 4")] = None


class AdapterSection(Section):
    """The adapter and its LoRA settings (Hu et al. 2021, arXiv:2106.09685), and which weights are trained without one."""

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
    lora_target_parameters: Annotated[str | list[str] | None, Setting(
        "LoRA on weights that are plain tensors, not linear layers: the fused experts of MoE models (mlp.experts.gate_up_proj, "
        "mlp.experts.down_proj). Names match by their end, as lora_target_modules does; both may be used together.",
        "Quality: trains the experts, most of a MoE model. Memory: one adapter for every expert, so keep the rank low. lora_dropout must be 0, and "
        "peft_init_lora_weights the default or gaussian, else it is rejected.",
        "unset; the two expert tensors with rank 8-16",
        ("lora_target_modules", "lora_dropout", "lora_r", "peft_init_lora_weights", "use_scattermoe", "quantize_moe_experts"),
        "lora_target_parameters:\n  - mlp.experts.gate_up_proj\n  - mlp.experts.down_proj")] = None
    peft_layers_to_transform: Annotated[list[int] | None, Setting(
        "The numbers of the decoder layers that get LoRA, counted from 0. The others stay as they were. Not together with unfrozen_parameters when "
        "there is an adapter.",
        "Memory and speed: fewer adapters; when only late layers are named, the backward pass can stop there. Quality: less room to learn.",
        "unset (all layers); the last quarter for style only", ("peft_layers_pattern", "lora_target_modules", "unfrozen_parameters"),
        "peft_layers_to_transform: [24, 25, 26, 27]")] = None
    peft_layers_pattern: Annotated[list[str] | None, Setting(
        "The name of the layer list in the model (layers, h, blocks), for architectures where PEFT doesn't find the layer numbers by itself. "
        "Rejected without peft_layers_to_transform.",
        "Only makes the layer numbers match.",
        "unset", ("peft_layers_to_transform",),
        "peft_layers_to_transform: [0, 1]\npeft_layers_pattern: [layers]")] = None
    peft: Annotated[PeftSection | None, Setting(
        "A block that holds loftq_config and nothing else; the other PEFT settings are top-level keys that begin with peft_ or lora_.",
        "None without loftq_config. With qat the block is rejected.",
        "unset", ("peft.loftq_config", "qat"),
        "peft:\n  loftq_config:\n    loftq_bits: 4")] = None
    peft_use_dora: Annotated[bool | None, Setting(
        "DoRA (arXiv 2402.09353): splits each weight into a length and a direction; LoRA trains the direction, and a vector of lengths is trained "
        "beside it.",
        "Quality: often better than LoRA at low ranks. Speed: clearly slower, as column norms are computed in each step. Memory: some more. "
        "Rejected with staged NF4 loading (nf4_backend: torchao).",
        "unset; try it at ranks up to 16", ("lora_r", "lora_mlp_kernel", "nf4_backend", "merge_method"),
        "adapter: lora\nlora_r: 8\npeft_use_dora: true")] = None
    peft_use_rslora: Annotated[bool | None, Setting(
        "Rank-stabilized LoRA (arXiv 2312.03732): scales the adapter by alpha / sqrt(r) instead of alpha / r, so that high ranks are not damped.",
        "Quality: from about rank 64 on, more of the rank is used. It also makes the update sqrt(r) times larger at the same alpha: lower "
        "lora_alpha or the learning rate.",
        "unset; true for ranks of 64 and more", ("lora_r", "lora_alpha", "learning_rate"),
        "lora_r: 128\nlora_alpha: 32\npeft_use_rslora: true")] = None
    peft_layer_replication: Annotated[list[tuple[int, int]] | None, Setting(
        "Builds a deeper model from ranges of the base's layers, [from, to) each; layers that occur twice share their base weights but have LoRA "
        "weights of their own.",
        "Quality: a repeated stack makes poor text until it is trained. Memory: only adapters and activations of the extra layers. Speed: slower "
        "by the added layers, also when serving. Not every architecture can do it.",
        "unset", ("adapter", "lora_target_modules"),
        "peft_layer_replication: [[0, 16], [8, 24], [16, 32]]")] = None
    peft_init_lora_weights: Annotated[bool | str | None, Setting(
        "How LoRA's A and B start. Default: A random, B zero, so training begins at the base model. gaussian is a variant; pissa (arXiv "
        "2404.02948; pissa_niter_16 is its fast form) and olora (arXiv 2406.01775) begin from the base's main directions and subtract that part "
        "from the base; orthogonal needs an even rank. false is taken as unset.",
        "Quality: pissa often learns faster. tunelab saves such an adapter so that it fits the original base; it has twice the rank then. Loading "
        "takes a decomposition per layer. Rejected with lora_target_parameters and staged NF4, gaussian aside.",
        "unset", ("lora_target_parameters", "nf4_backend", "peft.loftq_config", "lora_model_dir"),
        "adapter: lora\npeft_init_lora_weights: pissa")] = None
    peft_trainable_token_indices: Annotated[list[int] | dict[str, list[int]] | None, Setting(
        "Trains the embedding rows of these token ids only, beside LoRA: a list for embed_tokens, or embedding name to ids. Meant for new or "
        "unused special tokens.",
        "Memory: a few rows, where lora_modules_to_save: [embed_tokens] copies the whole table. Quality: without either, new tokens keep their "
        "untrained vectors. fix_untrained_tokens warns about tokens missing here.",
        "unset; the ids of added tokens",
        ("lora_modules_to_save", "added_tokens_overrides", "tokens", "fix_untrained_tokens", "peft_ensure_weight_tying"),
        "peft_trainable_token_indices: [128002, 128003]")] = None
    peft_ensure_weight_tying: Annotated[bool | None, Setting(
        "For models whose output head is their embedding table: also share the adapter or trained rows between the two, so they stay one table.",
        "Quality: without it the two drift apart, and merging into a tied model is wrong or impossible. Memory: one adapter rather than two.",
        "unset; true when training embeddings of a tied model",
        ("lora_modules_to_save", "lora_target_modules", "peft_trainable_token_indices", "merge_method"),
        "lora_modules_to_save: [embed_tokens]\npeft_ensure_weight_tying: true")] = None
    peft_autocast_adapter_dtype: Annotated[bool | None, Setting(
        "Whether PEFT holds the LoRA weights in 32 bits although the base is in 16. Unset, PEFT does.",
        "Quality: in bf16, small updates can be lost to rounding. Memory: false halves weights and gradients of the adapter, which is little next "
        "to the base.",
        "unset (32 bits)", ("bf16", "lora_fp32_gradients", "learning_rate"),
        "peft_autocast_adapter_dtype: false")] = None
    unfrozen_parameters: Annotated[list[str] | None, Setting(
        "Patterns of parameter names that are trained; everything else is frozen. A name has to begin with the pattern; a dot is a literal dot "
        "(.+ stands for anything), $ binds the end; a range behind it, as in $[32000:32064], trains only those rows.",
        "Memory: no gradients or optimizer state for frozen weights. With a row range the whole tensor has both, and a copy of the other rows, "
        "which no step changes (in Axolotl weight decay shrinks them). use_reentrant: true is rejected.",
        "unset", ("adapter", "peft_layers_to_transform", "gradient_checkpointing_kwargs", "weight_decay", "spectrum_top_fraction"),
        "unfrozen_parameters:\n  - ^lm_head.weight$\n  - model.layers.2[0-9]+.mlp")] = None
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
