"""What is fine-tuned: the base model, its tokenizer and chat template, and how its weights are held."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tunelab.config.setting import Section, Setting, Support


class SpecialTokens(Section):
    """Tokens with a role of their own; the nested keys of `special_tokens`."""

    bos_token: Annotated[str | None, Setting(
        "The token that begins a text.", "Quality: a wrong or doubled one shifts every position.", example='bos_token: "<s>"')] = None
    eos_token: Annotated[str | None, Setting(
        "The token that ends an answer; generation stops at it.",
        "Quality: if the model is never trained on it, answers do not stop.", example='eos_token: "<|im_end|>"')] = None
    pad_token: Annotated[str | None, Setting(
        "The token that fills short rows up.", "None on quality as long as it is masked; it never carries loss.",
        example='pad_token: "<|endoftext|>"')] = None
    unk_token: Annotated[str | None, Setting(
        "The token for text the vocabulary cannot spell.", "Rarely matters with byte-level vocabularies.")] = None
    additional_special_tokens: Annotated[list[str] | None, Setting(
        "More tokens that are never split.", "Memory: one embedding row each if they are new; new rows need training.")] = None


class ModelSection(Section):
    """The base model and everything that says how to read text for it."""

    base_model: Annotated[str, Field(min_length=1), Setting(
        "The pre-trained model that fine-tuning starts from: a Hugging Face id (ORG/NAME) or a folder.",
        "Decides nearly everything: memory and time grow with its parameters, quality starts from what it already knows.",
        "1B-8B for one GPU; 135M-500M for a laptop CPU", ("tokenizer_type", "sequence_len", "adapter"),
        "base_model: HuggingFaceTB/SmolLM2-135M-Instruct")]
    model_type: Annotated[str | None, Setting(
        "The transformers class that loads the model.",
        "None when it fits the model; AutoModelForCausalLM finds the right class by itself.",
        "AutoModelForCausalLM", ("base_model",), "model_type: AutoModelForCausalLM")] = None
    tokenizer_type: Annotated[str | None, Setting(
        "The transformers class that loads the tokenizer: the part that cuts text into the model's token ids.",
        "None when it fits; AutoTokenizer finds the right class by itself. tunelab reads the fast tokenizer's own file.",
        "AutoTokenizer", ("base_model", "special_tokens"), "tokenizer_type: AutoTokenizer")] = None
    special_tokens: Annotated[SpecialTokens | None, Setting(
        "Overrides of the tokenizer's special tokens.",
        "A token that is new to the vocabulary gets a fresh, untrained embedding row: plain LoRA does not train it.",
        "unset", ("tokenizer_type", "lora_modules_to_save"), 'special_tokens: {pad_token: "<|endoftext|>"}')] = None
    chat_template: Annotated[str | None, Setting(
        "The Jinja template that turns a conversation into one text: tokenizer_default, one that tunelab ships (chatml, llama3, gemma, qwen3, "
        "...), tokenizer_default_fallback_NAME, or jinja with chat_template_jinja.",
        "Quality: use at inference exactly what was trained with; a model tuned on one template answers badly in another.",
        "tokenizer_default", ("datasets",), "chat_template: tokenizer_default")] = None
    chat_template_jinja: Annotated[str | None, Setting(
        "The template's own text, or the path of a file with it, when chat_template is jinja.",
        "As chat_template.", "unset", ("chat_template",))] = None
    chat_template_kwargs: Annotated[dict[str, Any] | None, Setting(
        "Variables for the chat template, for templates with switches such as enable_thinking.",
        "Quality: they change the text of every row; use the same at inference.", "unset", ("chat_template", "datasets[].type"),
        "chat_template_kwargs: {enable_thinking: false}")] = None
    eot_tokens: Annotated[list[str] | None, Setting(
        "The tokens that end a turn, where the template does not close turns with the end-of-text token. Each must be one token.",
        "Quality: it decides whether the model learns to stop. Unset, tunelab looks which token the template prints after an answer.",
        "unset (the end-of-text token)", ("datasets[].train_on_eot", "datasets[].train_on_eos", "chat_template"),
        'eot_tokens: ["<end_of_turn>"]')] = None
    tokens: Annotated[list[str] | None, Setting(
        "New tokens for the tokenizer, each a row of its own in the embedding.",
        "Memory: the embedding has to be trained for them. Quality: a new token needs many examples.", "unset; a few markers",
        ("special_tokens", "added_tokens_overrides", "lora_modules_to_save"), "tokens: [<tool>, </tool>]")] = None
    added_tokens_overrides: Annotated[dict[int, str] | None, Setting(
        "New names for added tokens, by id: for the reserved ones that some models ship.",
        "Memory: none, the embedding keeps its size. Quality: a reserved row may never have been trained.", "unset",
        ("tokens", "special_tokens", "eot_tokens"), 'added_tokens_overrides: {128011: "<|tool|>"}')] = None
    load_in_8bit: Annotated[bool, Setting(
        "Hold the frozen base weights in 8-bit integers (bitsandbytes).",
        "Memory: half of 16-bit weights. Speed: a little slower. Quality: nearly the same.",
        "false", ("adapter", "load_in_4bit"), "load_in_8bit: true")] = False
    load_in_4bit: Annotated[bool, Setting(
        "Hold the frozen base weights in 4 bits (bitsandbytes NF4); with LoRA on top this is QLoRA.",
        "Memory: a quarter of 16-bit weights. Speed: slower per step. Quality: slightly lower.",
        "true together with adapter: qlora", ("adapter", "load_in_8bit", "bnb_config_kwargs"), "load_in_4bit: true")] = False
    mean_resizing_embeddings: Annotated[bool | None, Setting(
        "How embedding rows for new tokens start: true draws them around the mean of the existing rows, with their covariance; false uses the "
        "model's ordinary random start. Acts only when the table grows.",
        "Quality: a start near the mean keeps the first losses low and the old tokens' probabilities intact. Speed: the covariance takes a moment "
        "on large tables.",
        "false (default); true when adding tokens to a causal model", ("tokens", "special_tokens", "resize_token_embeddings_to_32x"),
        "tokens: [\"<tool>\"]\nmean_resizing_embeddings: true")] = None
    resize_token_embeddings_to_32x: Annotated[bool | None, Setting(
        "Rounds the tokenizer's size up to a multiple of 32 and enlarges the embedding table to that if it is smaller. The extra rows have no "
        "token and are saved with the model.",
        "Speed: sizes divisible by 32 suit tensor cores in the output layer. Memory: at most 31 more rows. Merging with the original model later "
        "may need the same resize.",
        "unset (off)", ("tokens", "special_tokens", "shrink_embeddings", "mean_resizing_embeddings"),
        "resize_token_embeddings_to_32x: true")] = None
    shrink_embeddings: Annotated[bool | None, Setting(
        "Cuts the embedding table down to the tokenizer's size if the model has more rows. Many models keep spare rows on purpose, so the result "
        "no longer fits tools and adapters made for the original shape.",
        "Memory: saves the spare rows of the input and output table. None on the tokens that remain.",
        "unset (off)", ("tokens", "resize_token_embeddings_to_32x", "lora_modules_to_save"),
        "shrink_embeddings: true")] = None
    embeddings_skip_upcast: Annotated[bool | None, Setting(
        "Leaves embeddings in their loaded type when an adapter run prepares a quantised model, instead of raising them to float32.",
        "tunelab always does: frozen embeddings are held in the precision of the run.",
        "unset", ("adapter", "load_in_4bit", "load_in_8bit", "cut_cross_entropy"),
        "embeddings_skip_upcast: true", Support.UNDERSTOOD)] = None
    reinit_weights: Annotated[bool | None, Setting(
        "Builds the model from its config with random weights (drawn with seed) instead of loading the checkpoint: training from scratch.",
        "Quality: everything the base model knew is gone, so loss starts near ln(vocabulary size). Combined with an adapter it makes little sense, "
        "since the random base stays frozen.",
        "unset (off)", ("pretraining_dataset", "overrides_of_model_config", "adapter", "seed"),
        "base_model: org/small-model\nreinit_weights: true")] = None
    freeze_mm_modules: Annotated[bool | None, Setting(
        "Freezes every parameter inside a vision or audio tower or a multimodal projector. Meant for training the language part of a multimodal "
        "model on text.",
        "Memory: no gradients or optimizer state for these parts. Speed: spares DDP the search for unused parameters. Quality: image understanding "
        "is left as it was.",
        "unset; true for text-only data on a vision model",
        ("ddp_find_unused_parameters", "processor_type", "unfrozen_parameters", "lora_target_modules"),
        "freeze_mm_modules: true")] = None
    bnb_config_kwargs: Annotated[dict[str, Any] | None, Setting(
        "Changes single settings of the 4-bit quantisation by bitsandbytes. Without it: nf4, double quantisation, compute in the training type, "
        "stored as bf16. It counts for 4-bit only, not for load_in_8bit.",
        "Quality and memory: fp4 is worse than nf4 for weights; double quantization saves about 0.4 bits a parameter. An explicit "
        "llm_int8_skip_modules replaces the default list, the output head included. A blocksize other than 64 is rejected.",
        "unset", ("load_in_4bit", "nf4_backend", "bf16"),
        "load_in_4bit: true\nbnb_config_kwargs:\n  bnb_4bit_use_double_quant: false")] = None
