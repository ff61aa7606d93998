"""Optimizers and what they do not go with: parallelism, adapters, other settings of the optimisation (TL560-568)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.registry import Context, listed, rule

_LORA = "adapter: lora\noptimizer: polora\n"
_ADAM_KEYS = ("adam_beta1", "adam_beta2", "adam_epsilon")
# Not called AdamW, but given the same numbers by Axolotl or transformers.
_READ_ADAM_KEYS = ("lion", "ademamix", "muon", "dion", "sinkgd", "adamc", "came_pytorch", "flash_adam", "scao", "schedule_free_radam")
_8BIT = ("adamw_8bit", "adamw_bnb_8bit")
_MOMENTS = "its 8-bit state has no form for split weights"
_WHOLE = "it needs whole weight matrices and its own update step"
_BESIDE_LORA = ("lora_modules_to_save", "unfrozen_parameters", "peft_use_dora", "peft_trainable_token_indices", "lisa_step_interval",
                "reward_model", "process_reward_model")
_OTHER_RATES = ("loraplus_lr_ratio", "lr_groups", "embedding_lr", "embedding_lr_scale")


@rule("TL560", Severity.WARNING, title="AdamW's numbers with another optimizer",
      why="An optimizer that has no such numbers runs without them. A few that are not called AdamW read them all the same; Axolotl warns of "
          "those too, and tunelab only notes it.",
      bad="optimizer: adafactor\nadam_beta1: 0.9", good="optimizer: adamw_torch\nadam_beta1: 0.9")
def adam_numbers(context: Context) -> Iterator[Finding]:
    """adam_beta1, adam_beta2 or adam_epsilon with an optimizer that is no AdamW (TL505 says it of sgd)."""
    name = context.raw.text("optimizer").lower()
    written = [key for key in _ADAM_KEYS if context.raw.truthy(key)]
    if not name or not written or "adamw" in name or name == "sgd":
        return
    if any(reader in name for reader in _READ_ADAM_KEYS):
        yield context.finding(f"{listed(written)}: `{name}` reads AdamW's numbers, whose usual values may not suit it.", written[0],
                              severity=Severity.NOTE)
    else:
        yield context.finding(f"{listed(written)} {'has' if len(written) == 1 else 'have'} no effect with `optimizer: {name}`.", written[0],
                              fix="\n".join(f"delete `{key}`" for key in written))


@rule("TL561", Severity.ERROR, title="An optimizer that this kind of parallelism breaks",
      why="DeepSpeed, FSDP and tensor parallelism cut weights or the optimizer's state into parts; these optimizers cannot work on parts, "
          "and Axolotl does not start.",
      bad=("optimizer: muon\ndeepspeed: zero1.json", "optimizer: flash_adamw\ndeepspeed: zero1.json",
           "optimizer: q_galore_adamw8bit\ndeepspeed: zero1.json", _LORA + "deepspeed: zero1.json", _LORA + "tensor_parallel_size: 2",
           "optimizer: adamw_8bit\nfsdp_config: {reshard_after_forward: true}", "optimizer: paged_adamw_8bit\ntensor_parallel_size: 2"),
      good="optimizer: adamw_torch_fused\ndeepspeed: zero1.json")
def optimizer_on_parts(context: Context) -> Iterator[Finding]:
    """optimizer together with deepspeed, fsdp_config or tensor parallelism that it does not run under."""
    raw = context.raw
    name, split = raw.text("optimizer"), effective.above_one(raw, "tensor_parallel_size")
    found = []
    if raw.truthy("deepspeed") and (name in ("muon", "muon_8bit", "q_galore_adamw8bit", "polora") or name.startswith("flash_")):
        found.append(("`deepspeed`", _WHOLE))
    if split and name == "polora":
        found.append(("`tensor_parallel_size` above 1", _WHOLE))
    if split and name in (*_8BIT, "paged_adamw_8bit"):
        found.append(("`tensor_parallel_size` above 1", _MOMENTS))
    if raw.truthy("fsdp_config") and name in _8BIT:
        found.append(("`fsdp_config`", _MOMENTS))
    for way, reason in found:
        instead = "adamw_torch_8bit" if reason == _MOMENTS else "adamw_torch_fused"
        yield context.finding(f"`optimizer: {name}` does not run with {way}: {reason}.", "optimizer", expected=f"for example {instead}",
                              fix=f"optimizer: {instead}")


@rule("TL562", Severity.ERROR, title="polora without LoRA", why="It updates the two factors of a LoRA layer together; without an adapter there are none.",
      bad="optimizer: polora", good="adapter: lora\noptimizer: polora")
def polora_without_lora(context: Context) -> Iterator[Finding]:
    """optimizer: polora and adapter is neither lora nor qlora."""
    if context.raw.text("optimizer") == "polora" and context.raw.get("adapter") not in ("lora", "qlora"):
        yield context.finding("`optimizer: polora` trains LoRA's factors only, and `adapter` is neither lora nor qlora.", "optimizer",
                              expected="adapter: lora", fix="optimizer: adamw_torch_fused")


@rule("TL563", Severity.ERROR, title="polora with something it does not train",
      why="polora updates LoRA's factors and nothing else: other trainable weights would stay as they are; its own step size takes the "
          "place of other learning rates; and ReLoRA cannot reset a state that it does not see.",
      bad=tuple(_LORA + one for one in ("lora_modules_to_save: [lm_head]", "lr_groups: [{name: a, modules: [q_proj], lr: 0.001}]",
                                        "relora_steps: 100")), good=_LORA + "lora_r: 16")
def polora_beside(context: Context) -> Iterator[Finding]:
    """optimizer: polora with other trainable weights, other learning rates or relora_steps."""
    if context.raw.text("optimizer") != "polora":
        return
    for keys, reason in ((_BESIDE_LORA, "the weights it adds would never be trained"), (_OTHER_RATES, "that learning rate would not be read"),
                         (("relora_steps",), "its state would survive every reset")):
        for key in keys:
            if context.raw.truthy(key):
                yield context.finding(f"`{key}` with `optimizer: polora`: {reason}.", key, expected="one of the two", fix=f"delete `{key}`")


@rule("TL564", Severity.WARNING, safe=True, title="polora with weight_decay", why="polora's step has no such term; the number has no effect.",
      bad=_LORA + "weight_decay: 0.01", good=_LORA + "weight_decay: 0.0")
def polora_decay(context: Context) -> Iterator[Finding]:
    """optimizer: polora and weight_decay."""
    if context.raw.text("optimizer") == "polora" and context.raw.number("weight_decay"):
        yield context.finding("`weight_decay` has no effect with `optimizer: polora`.", "weight_decay", fix="delete `weight_decay`")


@rule("TL566", Severity.ERROR, title="Q-GaLore with an adapter",
      why="It projects the gradients of full weights; an adapter's are small already, and the full ones are frozen.",
      bad="adapter: lora\noptimizer: q_galore_adamw8bit", good="optimizer: q_galore_adamw8bit\nbf16: true")
def qgalore_adapter(context: Context) -> Iterator[Finding]:
    """optimizer: q_galore_adamw8bit and an adapter."""
    if context.raw.text("optimizer") == "q_galore_adamw8bit" and context.raw.truthy("adapter"):
        yield context.finding(f"`optimizer: q_galore_adamw8bit` trains full weights, and `adapter: {context.raw.get('adapter')}` freezes them.",
                              "optimizer", expected="one of the two", fix="optimizer: adamw_torch_fused")


@rule("TL567", Severity.WARNING, title="Q-GaLore in 32 bits",
      why="It is there to save memory, and 32-bit weights and gradients take most of that back.",
      bad="optimizer: q_galore_adamw8bit\nbf16: false", good="optimizer: q_galore_adamw8bit\nbf16: true")
def qgalore_full_precision(context: Context) -> Iterator[Finding]:
    """optimizer: q_galore_adamw8bit without bf16, bfloat16 or fp16; unwritten, bf16 is auto and may yet be on."""
    raw = context.raw
    if raw.text("optimizer") == "q_galore_adamw8bit" and not raw.first("bf16", "bfloat16", "fp16"):
        off = raw.written("bf16")
        yield context.finding("`optimizer: q_galore_adamw8bit` " + ("in 32 bits saves little memory." if off else
                              "saves memory in 16 bits only; `bf16` is not written, so the GPU decides."),
                              "bf16" if off else "optimizer", expected="bf16: true", fix="bf16: true",
                              severity=None if off else Severity.NOTE)


@rule("TL568", Severity.NOTE, safe=True, title="Q-GaLore chooses its layers",
      why="Without optim_target_modules, Axolotl fills in attn and mlp: only layers with these words in their names are projected.",
      bad="optimizer: q_galore_adamw8bit\nbf16: true", good="optimizer: q_galore_adamw8bit\nbf16: true\noptim_target_modules: [attn, mlp]")
def qgalore_targets(context: Context) -> Iterator[Finding]:
    """optimizer: q_galore_adamw8bit and no optim_target_modules."""
    if context.raw.text("optimizer") == "q_galore_adamw8bit" and not context.raw.written("optim_target_modules"):
        yield context.finding("`optim_target_modules` is not written: Q-GaLore takes the layers with `attn` or `mlp` in their names.", "optimizer",
                              fix="optim_target_modules: [attn, mlp]")
