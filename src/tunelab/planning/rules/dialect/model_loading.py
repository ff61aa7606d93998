"""Loading the base model, its tokenizer and its code: what Axolotl refuses or decides by itself (TL230-236)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.registry import Context, listed, rule

# What mistral-common's tokenizer brings itself and lets nobody change.
_FIXED_BY_MISTRAL_COMMON = ("added_tokens_overrides", "special_tokens", "tokens", "chat_template", "processor_kwargs")
_REWARD_DEFAULTS = {"reward_model": (1, "AutoModelForSequenceClassification"), "process_reward_model": (2, "AutoModelForTokenClassification")}


@rule("TL230", Severity.WARNING, title="A token is repaired and then never trained",
      why="fix_untrained_tokens gives a token's embedding a usable start. With LoRA an embedding is frozen unless its token is in "
          "peft_trainable_token_indices, so this one stays at its start.",
      bad=("fix_untrained_tokens: [128011]\npeft_trainable_token_indices: [128012]",
           "fix_untrained_tokens: 128011\npeft_trainable_token_indices: {embed_tokens: [128012]}"),
      good="fix_untrained_tokens: [128011]\npeft_trainable_token_indices: [128011, 128012]")
def repaired_not_trained(context: Context) -> Iterator[Finding]:
    """A token of fix_untrained_tokens is missing from peft_trainable_token_indices."""
    raw = context.raw
    if not raw.truthy("fix_untrained_tokens", "peft_trainable_token_indices"):
        return
    trained = set(_tokens(raw.get("peft_trainable_token_indices")))
    missing = [str(token) for token in _tokens(raw.get("fix_untrained_tokens")) if token not in trained]
    if missing:
        yield context.finding(f"`fix_untrained_tokens` repairs {', '.join(missing)}, and `peft_trainable_token_indices` does not train "
                              f"{'it' if len(missing) == 1 else 'them'}.", "fix_untrained_tokens",
                              expected="the same tokens in peft_trainable_token_indices")


def _tokens(value: object) -> list[int]:
    """The token numbers of `7`, `[7, 8]` or `{embed_tokens: [7, 8]}`."""
    groups = list(value.values()) if isinstance(value, Mapping) else [value]
    tokens = [token for group in groups for token in (group if isinstance(group, list) else [group])]
    return [token for token in tokens if isinstance(token, int)]


@rule("TL231", Severity.ERROR, title="Quantisation-aware training with something it excludes",
      why="qat trains 16-bit weights while it rounds them as the small format will; weights that are small already, or frozen under peft, "
          "leave it nothing to train. Ternary weights are made for 8-bit activations only.",
      bad=("qat: {weight_dtype: int4}\nload_in_4bit: true", "qat: {weight_dtype: int4}\nload_in_8bit: true",
           "qat: {weight_dtype: int4}\npeft: {loftq_config: {loftq_bits: 4}}", "qat: {weight_dtype: ternary, activation_dtype: int4}"),
      good="qat: {weight_dtype: ternary, activation_dtype: int8}")
def qat_excludes(context: Context) -> Iterator[Finding]:
    """qat beside peft or small base weights, or ternary with other activations than int8."""
    raw = context.raw
    if not raw.truthy("qat"):
        return
    for key in ("peft", "load_in_8bit", "load_in_4bit"):
        if raw.truthy(key):
            yield context.finding(f"`qat` and `{key}` exclude each other.", key, expected="one of the two", fix=f"delete `{key}`")
    activation = raw.get("qat.activation_dtype")
    if raw.get("qat.weight_dtype") == "ternary" and activation not in (None, "int8"):
        yield context.finding(f"`weight_dtype: ternary` is for 8-bit activations; `activation_dtype` is {activation}.", "qat.activation_dtype",
                              expected="int8", fix="activation_dtype: int8")


@rule("TL232", Severity.WARNING, title="Code from the model's repository is run",
      why="With trust_remote_code, Python files that lie beside the weights run with your rights; whoever can change that repository can "
          "run anything. A pinned revision_of_model keeps to the files that were read.",
      bad="trust_remote_code: true", good="trust_remote_code: false")
def remote_code(context: Context) -> Iterator[Finding]:
    """trust_remote_code is true."""
    if context.raw.truthy("trust_remote_code"):
        yield context.finding("`trust_remote_code: true` runs the Python files of the model's repository; read them first.",
                              "trust_remote_code", expected="false, unless the model needs its own code", fix="trust_remote_code: false")


@rule("TL233", Severity.ERROR, title="processor_kwargs sets what the config sets",
      why="The processor is loaded at the model's revision and with the model's trust; a second value there would contradict the first.",
      bad=("processor_kwargs: {revision: main}", "processor_kwargs: {trust_remote_code: true}"), good="revision_of_model: main")
def reserved_processor_kwargs(context: Context) -> Iterator[Finding]:
    """revision or trust_remote_code inside processor_kwargs."""
    inside = context.raw.get("processor_kwargs")
    for name, instead in (("revision", "revision_of_model"), ("trust_remote_code", "trust_remote_code")):
        if isinstance(inside, Mapping) and name in inside:
            yield context.finding(f"`{name}` cannot be set for the processor alone; `{instead}` at the top level sets it for model and "
                                  "processor.", "processor_kwargs", name, expected=f"{instead} at the top level", fix=f"delete `{name}`")


@rule("TL234", Severity.NOTE, title="A reward model is given a head by default",
      why="Nothing in the file says what class is loaded and how many numbers it gives; that a reward model is trained decides both.",
      bad=("reward_model: true", "process_reward_model: true"),
      good="reward_model: true\nnum_labels: 1\nmodel_type: AutoModelForSequenceClassification")
def reward_defaults(context: Context) -> Iterator[Finding]:
    """num_labels or model_type of a reward model is not written."""
    raw = context.raw
    key = raw.first("reward_model", "process_reward_model")
    if key is None:
        return
    labels, model_class = _REWARD_DEFAULTS[key]
    taken: dict[str, int | str] = {} if raw.written("num_labels") else {"num_labels": labels}
    if not raw.first("model_type", "type_of_model"):
        taken["model_type"] = model_class
    if taken:
        text = " and ".join(f"`{name}: {value}`" for name, value in taken.items())
        yield context.finding(f"`{key}: true` brings {text}, which {'is' if len(taken) == 1 else 'are'} not written.", key,
                              fix="\n".join(f"{name}: {value}" for name, value in taken.items()))


@rule("TL235", Severity.WARNING, title="Magistral switches to Mistral's own tokenizer",
      why="Seeing the name, Axolotl takes the tokenizer of the mistral-common package, whose vocabulary and template cannot be changed. "
          "tunelab reads the model's tokenizer.json.",
      bad="base_model: mistralai/Magistral-Small-2509",
      good="base_model: mistralai/Magistral-Small-2509\ntokenizer_use_mistral_common: false")
def magistral(context: Context) -> Iterator[Finding]:
    """A Magistral model, and tokenizer_use_mistral_common is not written."""
    if context.raw.written("tokenizer_use_mistral_common"):
        return
    for key in ("base_model", "base_model_config", "tokenizer_config"):
        if "magistral" in context.raw.text(key).lower():
            yield context.finding(f"`{key}` names a Magistral model: Axolotl then takes `tokenizer_use_mistral_common: true`.", key,
                                  expected="tokenizer_use_mistral_common", fix="tokenizer_use_mistral_common: true")
            return


@rule("TL236", Severity.ERROR, title="Mistral's own tokenizer cannot be changed",
      why="The tokenizer of mistral-common has its tokens and its template built in; tokens to add or a template have no place to go.",
      bad=tuple(f"tokenizer_use_mistral_common: true\n{line}" for line in
                ("special_tokens: {pad_token: '<pad>'}", "tokens: ['<think>']", "chat_template: chatml",
                 "added_tokens_overrides: {10: '<a>'}", "processor_kwargs: {use_fast: true}")),
      good="tokenizer_use_mistral_common: false\nspecial_tokens: {pad_token: '<pad>'}")
def mistral_common_fixed(context: Context) -> Iterator[Finding]:
    """Settings of the tokenizer beside tokenizer_use_mistral_common."""
    if context.raw.truthy("tokenizer_use_mistral_common"):
        changed = [key for key in _FIXED_BY_MISTRAL_COMMON if context.raw.truthy(key)]
        if changed:
            yield context.finding(f"`tokenizer_use_mistral_common: true` rules out {listed(changed)}.", changed[0],
                                  expected=f"no {listed(changed, 'or')}", fix="\n".join(f"delete `{key}`" for key in changed))
