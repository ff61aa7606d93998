"""Chat templates: untrusted Jinja text that turns a conversation into one string, run in a sandbox.

The environment offers what transformers' templates expect: trimmed blocks, loop controls, `raise_exception`,
`strftime_now`, a `tojson` that does not escape HTML, and the `generation` tag (whose body is printed as it stands).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from tunelab.errors import ConfigError, DataError

CHATML = ("{% for message in messages %}"
          "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
          "{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
"""The ChatML template: no text of its own beyond the turn markers."""

_SAME_TEXT = {"aya": "cohere", "gemma3n": "gemma3", "qwen3_5": "qwen3"}
"""Templates that print text alike; they differ only in what is not text."""

SHIPPED = ("alpaca", "chatml", "cohere", "deepseek_v2", "deepseek_v3", "exaone", "exaone4", "falcon_h1", "gemma", "gemma3", "jamba", "llama3",
           "llama3_2_vision", "llama4", "llava", "metharme", "mistral_v1", "mistral_v2v3", "mistral_v3_tekken", "mistral_v7_tekken",
           "nemotron_h", "phi_3", "phi_35", "pixtral", "qwen2_vl", "qwen3", "qwen_25", *_SAME_TEXT)
"""Names of the templates that come with tunelab: written for it, and printing what the dialect's templates of these names print of text."""

SUPPORTED = ("tokenizer_default", "jinja", *sorted(SHIPPED))
"""Values of `chat_template` that are understood, beside tokenizer_default_fallback_NAME."""

_FALLBACK = "tokenizer_default_fallback_"


def is_known(name: str) -> bool:
    """Whether `chat_template: name` can be followed."""
    return name in SUPPORTED or name.removeprefix(_FALLBACK) in SHIPPED


@lru_cache(maxsize=64)
def shipped(name: str) -> str:
    """The text of a template that comes with tunelab."""
    if name == "chatml":
        return CHATML
    return (resources.files("tunelab.data") / "chat_templates" / f"{_SAME_TEXT.get(name, name)}.jinja").read_text(encoding="utf-8")


def resolve_template(name: str | None, jinja: str | None, own: str | None, *, where: str = "chat_template") -> str | None:
    """The template text that `chat_template` and `chat_template_jinja` ask for; `own` is the tokenizer's.

    Returns None when the tokenizer's template is asked for and it has none. Raises ConfigError for an unknown name, or
    when the text for `jinja` is missing.
    """
    if name is None and jinja:
        name = "jinja"
    if name is None or name == "tokenizer_default":
        return own
    if name == "jinja":
        return _jinja_text(jinja, where)
    if name.startswith(_FALLBACK) and name.removeprefix(_FALLBACK) in SHIPPED:
        return own if own is not None else shipped(name.removeprefix(_FALLBACK))
    if name in SHIPPED:
        return shipped(name)
    raise ConfigError(f"chat_template {name!r} is not known; expected one of {', '.join(SUPPORTED)}.", where=where,
                      next_step="Use tokenizer_default for the model's own template, or write it out: chat_template: jinja "
                                "and chat_template_jinja: path/to/template.jinja")


def _jinja_text(jinja: str | None, where: str) -> str:
    if not jinja:
        raise ConfigError("chat_template is jinja and chat_template_jinja is empty.", where=where,
                          next_step="Write the template, or the path of a file with it: chat_template_jinja: path/to/template.jinja")
    if "{{" in jinja or "{%" in jinja or "\n" in jinja:
        return jinja
    path = Path(jinja).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"chat_template_jinja names the file {path.absolute()}, which cannot be read: {error}.", where=where,
                          next_step="Correct the path, or write the template's text itself.") from error


def render(template: str, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
    """Run a template over messages. Raises ConfigError for broken template text, DataError when it refuses these messages."""
    compiled = compile_template(template)
    try:
        return str(compiled.render(messages=[dict(message) for message in messages], **variables))
    except Exception as error:  # a template is somebody else's program: it can fail in any way it likes
        raise DataError(f"The chat template cannot be applied to this conversation: {error}.",
                        next_step="Check the roles and their order, and that each message has text.") from error


@lru_cache(maxsize=32)
def compile_template(template: str) -> Any:
    """A compiled template (jinja2.Template). Raises ConfigError with the line of a syntax error."""
    import jinja2

    try:
        return _environment().from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"The chat template is not valid Jinja: {error.message} (line {error.lineno} of the template).",
                          where="chat_template", next_step="Mend the template, or use chat_template: tokenizer_default") from error


@lru_cache(maxsize=32)
def message_keys(template: str) -> frozenset[str]:
    """The keys that a template reads from a message (or from something it took out of a message).

    Found in the syntax tree: attributes and constant subscripts of `messages`, `message`, and of every name that a loop
    or an assignment binds to a part of them.
    """
    from jinja2 import nodes

    tree = _environment().parse(template)
    names = {"messages", "message"}
    bindings = [(node.target, node.iter) for node in tree.find_all(nodes.For)]
    bindings += [(node.target, node.node) for node in tree.find_all(nodes.Assign)]
    for _ in bindings:  # each round follows one more link of a chain of assignments
        found = {target.name for target, source in bindings if isinstance(target, nodes.Name) and _base_name(source) in names}
        if found <= names:
            break
        names |= found
    keys = {node.attr for node in tree.find_all(nodes.Getattr) if _base_name(node) in names}
    keys |= {node.arg.value for node in tree.find_all(nodes.Getitem)
             if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) and _base_name(node) in names}
    return frozenset(keys)


def _base_name(node: Any) -> str | None:
    """`message` for `message.tool_calls[0].function`, also through filters; None when it does not start with a name."""
    from jinja2 import nodes

    while isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Filter):
        node = node.node
    return node.name if isinstance(node, nodes.Name) else None


@lru_cache(maxsize=1)
def _environment() -> Any:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}...{% endgeneration %}` marks the model's own text; for rendering it changes nothing."""

        tags = {"generation"}  # noqa: RUF012 (jinja2 declares it as a plain set)

        def parse(self, parser: jinja2.parser.Parser) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: tuple[str, str] | None = None,
             sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)
