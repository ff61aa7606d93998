"""What an adapter does not go together with: thawed layers, fused kernels, other code (TL440-448)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.registry import Context, listed, rule

_KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")
_MIXLORA = "adapter: mixlora\nlora_r: 8\nlora_alpha: 16\nplugins: [axolotl.integrations.mixlora.MixLoraPlugin]"
# The one model family with code of its own that brings attention for the kernels as well.
_OWN_ATTENTION = "nemotron-labs-diffusion"


@rule("TL440", Severity.ERROR, title="A partly frozen model with reentrant checkpointing",
      why="Reentrant checkpointing hands no gradient through a block whose input needs none, so the thawed layers above frozen ones would "
          "not learn.",
      bad="unfrozen_parameters: [lm_head.weight]\ngradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}",
      good="unfrozen_parameters: [lm_head.weight]\ngradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: false}")
def frozen_reentrant(context: Context) -> Iterator[Finding]:
    """unfrozen_parameters and use_reentrant: true."""
    key = "gradient_checkpointing_kwargs.use_reentrant"
    if context.raw.truthy("unfrozen_parameters") and context.raw.get(key) is True:
        yield context.finding("`use_reentrant: true` does not work with `unfrozen_parameters`.", key, expected="false",
                              fix="use_reentrant: false")


@rule("TL441", Severity.ERROR, title="Two ways to choose what is trained",
      why="peft_layers_to_transform puts LoRA on some layers, unfrozen_parameters thaws weights; which wins depends on their order.",
      bad="adapter: lora\npeft_layers_to_transform: [0, 1]\nunfrozen_parameters: [lm_head.weight]",
      good="adapter: lora\npeft_layers_to_transform: [0, 1]")
def chosen_twice(context: Context) -> Iterator[Finding]:
    """An adapter on some layers beside unfrozen_parameters."""
    if context.raw.truthy("adapter", "peft_layers_to_transform", "unfrozen_parameters"):
        yield context.finding("`peft_layers_to_transform` and `unfrozen_parameters` both choose what is trained.", "unfrozen_parameters",
                              expected="one of the two", fix="delete `unfrozen_parameters`")


@rule("TL442", Severity.ERROR, title="peft_layers_pattern without layers",
      why="It says in which list of the model the numbers of peft_layers_to_transform count; alone it names nothing.",
      bad="adapter: lora\npeft_layers_pattern: [layers]", good="adapter: lora\npeft_layers_pattern: [layers]\npeft_layers_to_transform: [0, 1]")
def pattern_alone(context: Context) -> Iterator[Finding]:
    """peft_layers_pattern without peft_layers_to_transform."""
    if context.raw.truthy("peft_layers_pattern") and not context.raw.truthy("peft_layers_to_transform"):
        yield context.finding("`peft_layers_pattern` needs `peft_layers_to_transform`.", "peft_layers_pattern",
                              expected="peft_layers_to_transform", fix="delete `peft_layers_pattern`")


@rule("TL443", Severity.ERROR, title="A fused MLP under LoRA",
      why="flash_attn_fuse_mlp replaces the layers that LoRA would be put on.",
      bad="adapter: lora\nflash_attn_fuse_mlp: true", good="flash_attn_fuse_mlp: true")
def fused_mlp(context: Context) -> Iterator[Finding]:
    """flash_attn_fuse_mlp with lora, qlora or mixlora."""
    adapter = context.raw.text("adapter")
    if adapter in ("lora", "qlora", "mixlora") and context.raw.truthy("flash_attn_fuse_mlp"):
        yield context.finding(f"`flash_attn_fuse_mlp` does not work with `adapter: {adapter}`.", "flash_attn_fuse_mlp",
                              fix="delete `flash_attn_fuse_mlp`")


@rule("TL444", Severity.ERROR, title="MixLoRA with a preference method",
      why="Its experts are trained on the loss of the next token; the methods of rl have another loss.",
      bad=f"{_MIXLORA}\nrl: dpo", good=_MIXLORA)
def mixlora_preferences(context: Context) -> Iterator[Finding]:
    """adapter: mixlora and rl."""
    if context.raw.text("adapter") == "mixlora" and context.raw.written("rl"):
        yield context.finding(f"`rl: {context.raw.get('rl')}` does not work with `adapter: mixlora`.", "rl",
                              expected="adapter: lora or qlora", fix="adapter: lora")


@rule("TL445", Severity.ERROR, title="LoRA on a model of 1.58 bits",
      why="use_onebitllms replaces the linear layers of a BitNet model by ternary ones, which LoRA does not know.",
      bad="adapter: lora\nuse_onebitllms: true", good="use_onebitllms: true")
def one_bit_lora(context: Context) -> Iterator[Finding]:
    """use_onebitllms with lora or qlora."""
    adapter = context.raw.text("adapter")
    if adapter in ("lora", "qlora") and context.raw.truthy("use_onebitllms"):
        yield context.finding(f"`use_onebitllms` does not work with `adapter: {adapter}`.", "use_onebitllms", fix="delete `adapter`")


@rule("TL446", Severity.WARNING, title="QLoRA under ZeRO-3 with non-reentrant checkpointing",
      why="Recomputed activations may come out with other shapes than the first time, since ZeRO-3 gathers the 4-bit weights anew; torch "
          "then stops the run.",
      bad="adapter: qlora\nload_in_4bit: true\ndeepspeed: zero3.json\ngradient_checkpointing: true\n"
          "gradient_checkpointing_kwargs: {use_reentrant: false}",
      good="adapter: qlora\nload_in_4bit: true\ndeepspeed: zero3.json\ngradient_checkpointing: true\n"
           "gradient_checkpointing_kwargs: {use_reentrant: true}")
def qlora_zero3(context: Context) -> Iterator[Finding]:
    """adapter: qlora, a zero3 file, and use_reentrant: false."""
    raw, key = context.raw, "gradient_checkpointing_kwargs.use_reentrant"
    if raw.text("adapter") == "qlora" and raw.get(key) is False and "zero3" in raw.text("deepspeed"):
        yield context.finding("`use_reentrant: false` may stop a run of `adapter: qlora` under ZeRO-3.", key, expected="true",
                              fix="use_reentrant: true")


@rule("TL447", Severity.ERROR, title="Fused LoRA kernels on 8-bit weights",
      why="The kernels compute with 16-bit or 4-bit weights; there are none for 8 bits.",
      bad=tuple(f"adapter: lora\nload_in_8bit: true\n{kernel}: true" for kernel in _KERNELS),
      good="adapter: lora\nload_in_8bit: true\nlora_mlp_kernel: false")
def kernels_on_8_bits(context: Context) -> Iterator[Finding]:
    """lora_*_kernel: true with adapter: lora and load_in_8bit."""
    on = [kernel for kernel in _KERNELS if context.raw.truthy(kernel)]
    if on and context.raw.text("adapter") == "lora" and context.raw.truthy("load_in_8bit"):
        yield context.finding(f"{listed(on)} {'does' if len(on) == 1 else 'do'} not work with `load_in_8bit`.", on[0],
                              expected="false", fix="\n".join(f"{kernel}: false" for kernel in on))


@rule("TL448", Severity.ERROR, title="Fused LoRA kernels on a model's own code",
      why="The kernels replace attention and MLP of models that transformers knows; what the code of a repository does, they cannot know.",
      bad=tuple(f"adapter: lora\ntrust_remote_code: true\n{kernel}: true" for kernel in _KERNELS),
      good="adapter: lora\ntrust_remote_code: true\nlora_mlp_kernel: false")
def kernels_on_remote_code(context: Context) -> Iterator[Finding]:
    """lora_*_kernel: true with trust_remote_code, for another model than the one family that brings its own attention."""
    on = [kernel for kernel in _KERNELS if context.raw.truthy(kernel)]
    if on and context.raw.truthy("trust_remote_code") and _OWN_ATTENTION not in context.raw.text("base_model").lower():
        yield context.finding(f"{listed(on)} {'does' if len(on) == 1 else 'do'} not work with `trust_remote_code`.", on[0],
                              expected="false", fix="\n".join(f"{kernel}: false" for kernel in on))
