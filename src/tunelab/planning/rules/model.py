"""Rules on the base model, its tokenizer and its chat template (TL2xx). TL201 and TL202 are about finding the model: workflow."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.known import names
from tunelab.planning.rules.registry import Context, rule

# What data.templates resolves; every other name of Axolotl's is a text that this version does not carry.
TEMPLATES = ("tokenizer_default", "chatml", "jinja")


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
        if name and name not in TEMPLATES:
            in_dialect = name in names("chat_template") or name.startswith("tokenizer_default_fallback_")
            yield context.finding(f"`chat_template: {name}` is {'a template that this version does not ship' if in_dialect else 'not known'}; "
                                  "the model's own is tokenizer_default.", *path, severity=Severity.BLOCKED if in_dialect else None,
                                  expected="one of " + ", ".join(TEMPLATES), fix="chat_template: tokenizer_default")


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
