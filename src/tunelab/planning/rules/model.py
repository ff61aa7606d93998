"""Rules on the base model, its tokenizer and its chat template (TL2xx). TL201 and TL202 are about finding the model: workflow."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.known import names
from tunelab.data.templates import SUPPORTED, is_known
from tunelab.facts.licences import known_licence
from tunelab.planning.rules.registry import Context, rule


@rule("TL203", Severity.WARNING, title="model_type is not the model's class",
      why="tunelab loads the class that the model's own config.json names, so a different model_type has no effect here; in Axolotl it "
          "makes loading fail or, worse, fills a wrong architecture with random weights.",
      bad="model_type: MistralForCausalLM", good="model_type: AutoModelForCausalLM")
def other_class(context: Context) -> Iterator[Finding]:
    """model_type names another class than config.json."""
    wanted, shapes = context.config.model.model_type, context.shapes
    if wanted is None or wanted == "AutoModelForCausalLM" or shapes is None or wanted == shapes.architecture:
        return
    yield context.finding(f"`model_type` is {wanted}; this model is a {shapes.architecture}, and that is what is loaded.", "model_type",
                          expected=f"AutoModelForCausalLM or {shapes.architecture}", fix="model_type: AutoModelForCausalLM")


@rule("TL204", Severity.NOTE, title="model_type is not needed",
      why="The model's own config.json names its class; a written one has to be changed whenever base_model is.",
      bad="model_type: LlamaForCausalLM", good="model_type: AutoModelForCausalLM")
def named_class(context: Context) -> Iterator[Finding]:
    """model_type names a class that config.json names too (or would)."""
    wanted, shapes = context.config.model.model_type, context.shapes
    if wanted is None or wanted == "AutoModelForCausalLM" or (shapes is not None and wanted != shapes.architecture):
        return
    yield context.finding(f"`model_type: {wanted}` is not needed: the class is read from the model's config.json.", "model_type",
                          fix="model_type: AutoModelForCausalLM")


@rule("TL205", Severity.NOTE, title="tokenizer_type is not needed",
      why="tunelab reads the model's tokenizer.json, whatever the class is called; the name has no effect.",
      bad="tokenizer_type: LlamaTokenizer", good="tokenizer_type: AutoTokenizer")
def named_tokenizer(context: Context) -> Iterator[Finding]:
    """tokenizer_type is another class than AutoTokenizer."""
    wanted = context.config.model.tokenizer_type
    if wanted is not None and wanted != "AutoTokenizer":
        yield context.finding(f"`tokenizer_type: {wanted}` has no effect: the tokenizer is read from the model's tokenizer.json.",
                              "tokenizer_type", fix="tokenizer_type: AutoTokenizer")


@rule("TL206", Severity.ERROR, title="A chat template that is not known",
      why="Rows would be turned into another text than the one that the name promises.",
      bad="chat_template: llama33", good="chat_template: tokenizer_default")
def unknown_template(context: Context) -> Iterator[Finding]:
    """chat_template (here or in a dataset) is a name without a text."""
    for path, name, _ in _templates(context):
        if name and not is_known(name):
            in_dialect = name in names("chat_template") or name.startswith("tokenizer_default_fallback_")
            yield context.finding(f"`chat_template: {name}` is {'a template that this version does not ship' if in_dialect else 'not known'}; "
                                  "the model's own is tokenizer_default.", *path, severity=Severity.BLOCKED if in_dialect else None,
                                  expected="one of " + ", ".join(SUPPORTED), fix="chat_template: tokenizer_default")


@rule("TL207", Severity.ERROR, title="chat_template: jinja without a template",
      why="There is no text to turn conversations with.",
      bad="chat_template: jinja", good="chat_template: jinja\nchat_template_jinja: templates/mine.jinja")
def missing_template(context: Context) -> Iterator[Finding]:
    """chat_template is jinja and chat_template_jinja is empty."""
    for path, name, text in _templates(context):
        if name == "jinja" and not text:
            yield context.finding("`chat_template: jinja` needs `chat_template_jinja`, which is not written.", *path,
                                  expected="the template's text, or the path of a file with it",
                                  fix="chat_template_jinja: path/to/template.jinja")


@rule("TL208", Severity.WARNING, title="chat_template_jinja has no effect",
      why="Only chat_template: jinja reads it; the training would use another template than the one written here.",
      bad="chat_template: chatml\nchat_template_jinja: templates/mine.jinja",
      good="chat_template: jinja\nchat_template_jinja: templates/mine.jinja")
def unread_template(context: Context) -> Iterator[Finding]:
    """chat_template_jinja is written beside a chat_template that does not read it."""
    for path, name, text in _templates(context):
        if text and name is not None and name != "jinja":
            yield context.finding(f"`chat_template_jinja` has no effect with `chat_template: {name}`.", *path[:-1], "chat_template_jinja",
                                  fix="chat_template: jinja")


def _templates(context: Context) -> Iterator[tuple[tuple[str | int, ...], str | None, str | None]]:
    """(path of chat_template, its value, the text beside it) for the config and each dataset."""
    config = context.config
    yield ("chat_template",), config.model.chat_template, config.model.chat_template_jinja
    for index, dataset in enumerate(config.data.datasets):
        yield ("datasets", index, "chat_template"), dataset.chat_template, dataset.chat_template_jinja


@rule("TL220", Severity.WARNING, title="New tokens that LoRA does not train",
      why="A token that is new to the vocabulary gets a fresh row in the embedding and in the output head. LoRA leaves both frozen, so the "
          "model never learns what the token means.",
      bad="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\ntokens: [<tool>, </tool>]",
      good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\ntokens: [<tool>, </tool>]\n"
           "lora_modules_to_save: [embed_tokens, lm_head]")
def untrained_tokens(context: Context) -> Iterator[Finding]:
    """tokens (or additional_special_tokens) with an adapter that trains no embedding."""
    raw = context.raw
    new = next((key for key in ("tokens", "special_tokens.additional_special_tokens") if raw.truthy(key)), None)
    saved = raw.get("lora_modules_to_save") or []
    trained = isinstance(saved, list) and any("embed" in str(name) or "wte" in str(name) for name in saved)
    if new and raw.text("adapter") and not trained and not raw.truthy("peft_trainable_token_indices"):
        yield context.finding(f"`{new}` adds tokens, and the adapter trains neither the embedding nor the output head.", new,
                              expected="lora_modules_to_save: [embed_tokens, lm_head]",
                              fix="lora_modules_to_save: [embed_tokens, lm_head]" if "." not in new else "")


@rule("TL221", Severity.NOTE, title="The base model has terms of its own",
      why="A gated model is only downloaded after its terms are accepted on the Hub, with a token in HF_TOKEN. What is trained from a model "
          "comes under its licence too.",
      bad="base_model: meta-llama/Llama-3.2-1B", good="base_model: HuggingFaceTB/SmolLM2-135M")
def terms(context: Context) -> Iterator[Finding]:
    """base_model is of a family whose terms are known."""
    licence = known_licence(context.config.model.base_model)
    if licence is None:
        return
    access = " Downloads need accepted terms and HF_TOKEN." if licence.gated else ""
    use = "no commercial use" if licence.commercial == "no" else "commercial use with conditions"
    yield context.finding(f"This model comes under {licence.name} ({use}), and so does what is trained from it.{access}", "base_model",
                          expected="its card has the last word")
