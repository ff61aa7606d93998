"""Adapters and the formats of the weights under them (TL430-439)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.lora import is_pattern
from tunelab.planning.rules.registry import Context, rule

_LORA = ("lora", "qlora")
_BUILT_IN = ("lora", "qlora", "llama-adapter")
_PLUGINS = {"mixlora": "axolotl.integrations.mixlora.MixLoraPlugin", "mora": "axolotl.integrations.mora.MoraPlugin"}
_MIXLORA = "adapter: mixlora\nplugins: [axolotl.integrations.mixlora.MixLoraPlugin]"


@rule("TL430", Severity.ERROR, title="A name in lora_target_modules that is no regular expression",
      why="Axolotl compiles every name of the list before it looks for layers, and stops at one that cannot be.",
      bad="adapter: lora\nlora_target_modules: ['*_proj']", good="adapter: lora\nlora_target_modules: [q_proj, v_proj]")
def broken_names(context: Context) -> Iterator[Finding]:
    """An entry of the list lora_target_modules cannot be compiled."""
    named = context.raw.get("lora_target_modules")
    for index, name in enumerate(named if isinstance(named, list) else ()):
        if isinstance(name, str) and not is_pattern(name):
            yield context.finding(f"`{name}` is not a regular expression.", "lora_target_modules", index,
                                  expected="a name such as q_proj, or a pattern such as .*_proj")


@rule("TL431", Severity.ERROR, title="quantize_moe_experts without its partners",
      why="It holds the experts of a mixture in 4 or 8 bits under a LoRA adapter; those experts are no linear layers, so "
          "lora_target_linear cannot reach them.",
      bad=("quantize_moe_experts: true\nadapter: qlora\nload_in_4bit: true\nlora_target_linear: true",
           "quantize_moe_experts: true\nadapter: lora", "quantize_moe_experts: true\nload_in_4bit: true"),
      good="quantize_moe_experts: true\nadapter: qlora\nload_in_4bit: true\nlora_target_modules: [q_proj]")
def lonely_experts(context: Context) -> Iterator[Finding]:
    """quantize_moe_experts with lora_target_linear, without an adapter or without small weights."""
    raw, place = context.raw, "quantize_moe_experts"
    if not raw.truthy(place):
        return
    if raw.truthy("lora_target_linear"):
        yield context.finding("`quantize_moe_experts` and `lora_target_linear` exclude each other.", "lora_target_linear",
                              expected="lora_target_parameters for the experts", fix="delete `lora_target_linear`")
    if raw.text("adapter") not in _LORA:
        yield context.finding("`quantize_moe_experts` needs `adapter: lora` or `adapter: qlora`.", place, expected="adapter: qlora",
                              fix="adapter: qlora")
    if not raw.first("load_in_4bit", "load_in_8bit"):
        yield context.finding("`quantize_moe_experts` needs `load_in_4bit` or `load_in_8bit`.", place, expected="load_in_4bit: true",
                              fix="load_in_4bit: true")


@rule("TL432", Severity.ERROR, title="lora_fp32_gradients without LoRA", why="There are no LoRA matrices whose gradients it could keep in 32 bits.",
      bad="lora_fp32_gradients: true", good="adapter: lora\nlora_fp32_gradients: true")
def gradients_of_nothing(context: Context) -> Iterator[Finding]:
    """lora_fp32_gradients with no adapter, or one of another kind."""
    if context.raw.truthy("lora_fp32_gradients") and context.raw.text("adapter") not in (*_LORA, "multilora"):
        yield context.finding("`lora_fp32_gradients` needs a LoRA adapter.", "lora_fp32_gradients", expected="adapter: lora or qlora",
                              fix="delete `lora_fp32_gradients`")


@rule("TL433", Severity.ERROR, title="Weights in 4 or 8 bits without an adapter",
      why="Such weights are too coarse to be trained; an adapter on top of them is what learns.",
      bad=("load_in_4bit: true", "load_in_8bit: true"), good="adapter: qlora\nload_in_4bit: true")
def small_weights_alone(context: Context) -> Iterator[Finding]:
    """load_in_4bit or load_in_8bit and no adapter."""
    key = context.raw.first("load_in_8bit", "load_in_4bit")
    if key and not context.raw.truthy("adapter"):
        yield context.finding(f"`{key}: true` without `adapter`: nothing could be trained.", key,
                              expected="adapter: qlora with load_in_4bit, adapter: lora with load_in_8bit, or none of them",
                              fix=f"adapter: {'qlora' if key == 'load_in_4bit' else 'lora'}")


@rule("TL434", Severity.ERROR, title="An adapter that nobody brings",
      why="Axolotl has lora, qlora and llama-adapter built in; every other kind comes with a plugin, and it stops at one it was not given.",
      bad=("adapter: lorra", "adapter: mixlora\nlora_r: 8\nlora_alpha: 16"), good=f"{_MIXLORA}\nlora_r: 8\nlora_alpha: 16")
def unknown_adapter(context: Context) -> Iterator[Finding]:
    """adapter is not built in and no plugin can have it."""
    name, plugins = context.raw.text("adapter"), context.raw.get("plugins")
    named = [one for one in plugins if isinstance(one, str)] if isinstance(plugins, list) else []
    if not name or name in _BUILT_IN or any(_brings(one, name) for one in named):
        return
    if name in _PLUGINS:
        yield context.finding(f"`adapter: {name}` comes with a plugin that `plugins` does not name.", "adapter",
                              expected=f"{_PLUGINS[name]} in plugins", fix="" if named else f"plugins: [{_PLUGINS[name]}]")
    else:
        close = next((one for one in ("qlora", "lora") if one[0] == name[0].lower()), "lora")
        yield context.finding(f"`adapter: {name}` is not an adapter.", "adapter", expected="lora, qlora, llama-adapter, or a plugin's",
                              fix=f"adapter: {close}")


def _brings(plugin: str, adapter: str) -> bool:
    """Whether a plugin can have this adapter: one of Axolotl's own only its own, a stranger's any."""
    name = plugin.replace(":", ".")
    return f".{adapter}." in name if name.startswith("axolotl.integrations.") else True


@rule("TL435", Severity.ERROR, title="QLoRA on weights of another format",
      why="qlora is LoRA on 4-bit weights of bitsandbytes; 8-bit and GPTQ weights are something else. To merge, the weights are loaded in "
          "full, so then no format may be set.",
      bad=("adapter: qlora\nload_in_4bit: true\nload_in_8bit: true", "adapter: qlora\nload_in_4bit: true\ngptq: true",
           "adapter: qlora\nmerge_lora: true\nload_in_4bit: true", "adapter: qlora\nmerge_lora: true\nload_in_8bit: true",
           "adapter: qlora\nmerge_lora: true\ngptq: true"),
      good="adapter: qlora\nload_in_4bit: true")
def qlora_format(context: Context) -> Iterator[Finding]:
    """adapter: qlora with load_in_8bit or gptq, or merge_lora with any of the formats."""
    raw = context.raw
    if raw.text("adapter") != "qlora":
        return
    merges = raw.truthy("merge_lora")
    for key in ("load_in_8bit", "gptq", *(("load_in_4bit",) if merges else ())):
        if raw.truthy(key):
            what = "`merge_lora` with `adapter: qlora`" if merges else "`adapter: qlora`"
            yield context.finding(f"{what} does not go with `{key}`.", key, expected=f"no {key}", fix=f"delete `{key}`")


@rule("TL436", Severity.ERROR, title="Dropout on LoRA of whole parameters",
      why="LoRA on a parameter (as in fused experts) has no input of its own that could be dropped; PEFT refuses it.",
      bad="adapter: lora\nlora_target_parameters: [mlp.experts.gate_up_proj]\nlora_dropout: 0.05",
      good="adapter: lora\nlora_target_parameters: [mlp.experts.gate_up_proj]")
def dropout_on_parameters(context: Context) -> Iterator[Finding]:
    """lora_target_parameters and lora_dropout above 0."""
    if context.raw.truthy("lora_target_parameters") and context.raw.number("lora_dropout"):
        yield context.finding("`lora_dropout` does not work with `lora_target_parameters`.", "lora_dropout", expected="0",
                              fix="lora_dropout: 0.0")


@rule("TL437", Severity.ERROR, title="LoRA of whole parameters started from the weights",
      why="pissa, olora, loftq and their like compute the first LoRA matrices from a layer's weight, which a fused parameter has not; PEFT "
          "stops only after the whole model is loaded.",
      bad=("adapter: lora\nlora_target_parameters: [mlp.experts.gate_up_proj]\npeft_init_lora_weights: pissa",
           "adapter: lora\nlora_target_parameters: [mlp.experts.gate_up_proj]\npeft: {loftq_config: {loftq_bits: 4}}"),
      good="adapter: lora\nlora_target_parameters: [mlp.experts.gate_up_proj]\npeft_init_lora_weights: gaussian")
def start_from_weights(context: Context) -> Iterator[Finding]:
    """lora_target_parameters with peft_init_lora_weights other than true, false or gaussian, or with LoftQ."""
    raw, start = context.raw, context.raw.get("peft_init_lora_weights")
    if not raw.truthy("lora_target_parameters"):
        return
    if start not in (None, True, False, "gaussian"):
        yield context.finding(f"`peft_init_lora_weights: {start}` does not work with `lora_target_parameters`.", "peft_init_lora_weights",
                              expected="true, false or gaussian", fix="delete `peft_init_lora_weights`")
    if raw.written("peft.loftq_config"):
        yield context.finding("`loftq_config` does not work with `lora_target_parameters`.", "peft.loftq_config",
                              fix="delete `loftq_config`")


@rule("TL438", Severity.ERROR, title="mixlora without rank or scale",
      why="Every expert of MixLoRA is a LoRA of its own; Axolotl has no default for its size.",
      bad=(f"{_MIXLORA}\nlora_alpha: 16", f"{_MIXLORA}\nlora_r: 8"), good=f"{_MIXLORA}\nlora_r: 8\nlora_alpha: 16")
def mixlora_size(context: Context) -> Iterator[Finding]:
    """adapter: mixlora without lora_r or lora_alpha."""
    for key, usual in (("lora_r", 8), ("lora_alpha", 16)):
        if context.raw.text("adapter") == "mixlora" and not context.raw.truthy(key):
            yield context.finding(f"`adapter: mixlora` needs `{key}`.", "adapter", expected=key, fix=f"{key}: {usual}")


@rule("TL439", Severity.ERROR, title="More experts asked than there are",
      why="Each token goes to mixlora_top_k of the mixlora_num_experts experts (2 of 8 where nothing is written).",
      bad="mixlora_top_k: 9", good="mixlora_top_k: 9\nmixlora_num_experts: 16")
def too_many_experts(context: Context) -> Iterator[Finding]:
    """mixlora_top_k above mixlora_num_experts."""
    asked, there = context.raw.number("mixlora_top_k", 2) or 2, context.raw.number("mixlora_num_experts", 8) or 8
    if asked > there:
        yield context.finding(f"`mixlora_top_k` is {asked:g} and there are {there:g} experts.",
                              "mixlora_top_k" if context.raw.written("mixlora_top_k") else "mixlora_num_experts",
                              expected=f"at most {there:g}", fix=f"mixlora_top_k: {min(2, int(there))}")
