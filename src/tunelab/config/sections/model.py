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
        "false", ("adapter", "load_in_4bit"), "load_in_8bit: true", Support.UNDERSTOOD)] = False
    load_in_4bit: Annotated[bool, Setting(
        "Hold the frozen base weights in 4 bits (bitsandbytes NF4); with LoRA on top this is QLoRA.",
        "Memory: a quarter of 16-bit weights. Speed: slower per step. Quality: slightly lower.",
        "true together with adapter: qlora", ("adapter", "load_in_8bit"), "load_in_4bit: true", Support.UNDERSTOOD)] = False
