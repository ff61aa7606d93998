"""Gradient checkpointing and its companions: offloading, selection, compilation (TL674-683); attention that only some models have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.registry import Context, rule

_GC = "gradient_checkpointing: true\n"
_LORA = "adapter: lora\n" + _GC
_MATMULS = ("aten::mm", "aten::addmm", "aten::matmul", "aten::bmm")
# Module names whose code a fused kernel replaces.
_MLP = ("gate_proj", "up_proj", "down_proj", "mlp")
_REPLACED = {
    "lora_mlp_kernel": (*_MLP, "mixer", "shared_experts", "shared_expert", "feedforward", "experts", "gate_projs", "up_projs", "down_projs"),
    "lora_qkv_kernel": ("q_proj", "k_proj", "v_proj", "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "self_attn", "linear_attn", "mixer"),
    "lora_o_kernel": ("o_proj", "out_proj", "self_attn", "linear_attn", "mixer"),
    "flash_attn_fuse_mlp": _MLP,
}
_HOLD_LAYERS = ("model", "language_model", "text_model", "decoder", "transformer", "backbone", "layers", "layer", "h", "blocks", "block",
                *map(str, range(100)))
_VARLEN = ("nemotron_h_twotower", "nemotron_labs_diffusion", "nemotron_labs_diffusion_vlm")


@rule("TL674", Severity.WARNING, safe=True, title="An old spelling of offloading",
      why="Moving activations off the GPU has a setting of its own; Axolotl rewrites the old spelling, and `offload` is now another "
          "implementation than it was (activation_offloading: legacy is the former one).",
      bad=("gradient_checkpointing: offload", "gradient_checkpointing: offload_disk"), good=_GC + "activation_offloading: true")
def old_offload(context: Context) -> Iterator[Finding]:
    """gradient_checkpointing is offload or offload_disk."""
    value = context.raw.text("gradient_checkpointing")
    if value in ("offload", "offload_disk"):
        now = "true" if value == "offload" else "disk"
        yield context.finding(f"`gradient_checkpointing: {value}` is an old spelling and becomes `activation_offloading: {now}`.",
                              "gradient_checkpointing", fix=f"gradient_checkpointing: true\nactivation_offloading: {now}")


@rule("TL675", Severity.ERROR, title="Offloading or selecting without checkpointing",
      why="Both say what happens to activations that checkpointing keeps; without it nothing asks them.",
      bad=("activation_offloading: true", "selective_checkpointing: true"), good=_GC + "activation_offloading: true")
def without_checkpointing(context: Context) -> Iterator[Finding]:
    """activation_offloading or selective_checkpointing, and gradient_checkpointing is off."""
    for key in ("activation_offloading", "selective_checkpointing"):
        if context.raw.truthy(key) and not context.raw.truthy("gradient_checkpointing"):
            yield context.finding(f"`{key}` needs `gradient_checkpointing`, which is off.", key, expected="gradient_checkpointing: true",
                                  fix="gradient_checkpointing: true")


@rule("TL676", Severity.ERROR, title="selective_checkpointing with another kind of checkpointing",
      why="Choosing what to keep is a feature of the newer, non-reentrant checkpointing, which the other ways to offload go around.",
      bad=(_GC + "selective_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}",
           _GC + "selective_checkpointing: true\nactivation_offloading: disk"),
      good=_GC + "selective_checkpointing: true\nactivation_offloading: hidden_states")
def selection_around(context: Context) -> Iterator[Finding]:
    """selective_checkpointing with use_reentrant: true or activation_offloading other than hidden_states."""
    raw = context.raw
    if not raw.truthy("selective_checkpointing", "gradient_checkpointing"):
        return
    if effective.reentrant(raw):
        yield context.finding("`selective_checkpointing` does not work with `use_reentrant: true`.", "gradient_checkpointing_kwargs.use_reentrant",
                              expected="false", fix="use_reentrant: false")
    if effective.offloading(raw) not in (False, "hidden_states"):
        key = "activation_offloading" if raw.truthy("activation_offloading") else "gradient_checkpointing"
        yield context.finding(f"`selective_checkpointing` does not work with `{key}: {str(raw.get(key)).lower()}`.", key,
                              expected="activation_offloading: hidden_states",
                              fix="activation_offloading: hidden_states" + ("\ngradient_checkpointing: true" if key[0] == "g" else ""))


@rule("TL677", Severity.ERROR, title="Kept results that a fused LoRA kernel overwrites",
      why="The kernel adds the adapter's part into the result of the base layer, in place: what was kept is no longer what was computed. "
          "The kernels are on by themselves for LoRA and QLoRA.",
      bad=(_LORA + "selective_checkpointing: {save: [mm]}", _LORA + "selective_checkpointing: {save_matmul_min_k: 4096}"),
      good=_LORA + "selective_checkpointing: {save: [attention]}")
def kept_and_overwritten(context: Context) -> Iterator[Finding]:
    """selective_checkpointing keeps matrix products while a fused LoRA kernel is on."""
    raw = context.raw
    kernel = next((flag for flag in ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel") if effective.fused_lora(raw, flag)), None)
    if kernel is None or not raw.truthy("selective_checkpointing", "gradient_checkpointing"):
        return
    on = f"`{kernel}` is on" + ("" if raw.written(kernel) else " by itself")
    for one in _texts(raw.get("selective_checkpointing.save")):
        if one != "attention" and any(one in product for product in _MATMULS):
            yield context.finding(f"`save: {one}` keeps what a fused kernel overwrites ({on}).", "selective_checkpointing.save",
                                  expected="attention, or lora_mlp_kernel, lora_qkv_kernel and lora_o_kernel: false", fix="save: [attention]")
    if raw.truthy("selective_checkpointing.save_matmul_min_k"):
        yield context.finding(f"`save_matmul_min_k` keeps what a fused kernel overwrites ({on}).", "selective_checkpointing.save_matmul_min_k",
                              expected="no such key, or lora_mlp_kernel, lora_qkv_kernel and lora_o_kernel: false", fix="delete `save_matmul_min_k`")


@rule("TL678", Severity.ERROR, title="Kept modules that a fused kernel replaces",
      why="A fused kernel runs in the module's place, so the module is never asked and nothing is kept; a whole layer holds such modules too.",
      bad=(_LORA + "selective_checkpointing: {save_modules: [down_proj]}", _LORA + "selective_checkpointing: {save_modules: ['layers.*']}"),
      good=_LORA + "lora_mlp_kernel: false\nselective_checkpointing: {save_modules: [down_proj]}")
def kept_and_replaced(context: Context) -> Iterator[Finding]:
    """selective_checkpointing.save_modules names what a fused kernel replaces, or a layer that holds it."""
    raw = context.raw
    if not raw.truthy("selective_checkpointing", "gradient_checkpointing"):
        return
    on = [flag for flag in _REPLACED if (effective.fused_lora(raw, flag) if flag.startswith("lora_") else raw.truthy(flag))]
    for one in _texts(raw.get("selective_checkpointing.save_modules")):
        for flag in on:
            replaced = effective.matches(one.strip(), _REPLACED[flag])
            if replaced or (flag.startswith("lora_") and _holds_layers(one.strip())):
                yield context.finding(f"`save_modules: {one}` {'is' if replaced else 'holds'} what `{flag}` replaces"
                                      + ("." if raw.written(flag) else ", which is on by itself."), "selective_checkpointing.save_modules",
                                      expected=f"other modules, or {flag}: false")
                break


@rule("TL679", Severity.WARNING, title="selective_checkpointing of a compiled model",
      why="The choice is made in the eager path of checkpointing; Axolotl has not tried it with a compiled model.",
      bad=_GC + "selective_checkpointing: true\ntorch_compile: true", good=_GC + "selective_checkpointing: true")
def selection_compiled(context: Context) -> Iterator[Finding]:
    """selective_checkpointing and torch_compile."""
    if context.raw.truthy("selective_checkpointing", "gradient_checkpointing", "torch_compile"):
        yield context.finding("`selective_checkpointing` with `torch_compile` has not been tried.", "torch_compile", expected="one of the two")


@rule("TL680", Severity.ERROR, title="Layers compiled one by one, and checkpointed",
      why="The second pass may pick another compiled form of a layer than the first, and the results no longer fit.",
      bad=_GC + "torch_compile: true\ntorch_compile_regional: true", good=_GC + "torch_compile: true")
def compiled_by_layer(context: Context) -> Iterator[Finding]:
    """torch_compile, torch_compile_regional and gradient_checkpointing."""
    if context.raw.truthy("torch_compile", "torch_compile_regional", "gradient_checkpointing"):
        yield context.finding("`torch_compile_regional` does not work with `gradient_checkpointing`.", "torch_compile_regional", expected="one of the two",
                              fix="delete `torch_compile_regional`")


@rule("TL681", Severity.WARNING, title="activation_offloading: hidden_states with an adapter",
      why="It still computes every layer twice. An adapter's activations are small enough to be moved instead, which `true` does.",
      bad=_LORA + "activation_offloading: hidden_states", good=_LORA + "activation_offloading: true")
def hidden_states_of_adapter(context: Context) -> Iterator[Finding]:
    """activation_offloading: hidden_states and an adapter."""
    if context.raw.get("activation_offloading") == "hidden_states" and context.raw.truthy("adapter", "gradient_checkpointing"):
        yield context.finding("With an adapter, `activation_offloading: true` can be faster than `hidden_states`.", "activation_offloading",
                              fix="activation_offloading: true")


@rule("TL682", Severity.ERROR, title="BetterTransformer",
      why="Axolotl refuses it with mixed precision, and takes its own default `bf16: auto` for that too, although nobody asked for it (a note "
          "here). It wants weights that are 16 bits themselves, and does not know adapters.",
      bad="flash_optimum: true\nbf16: true", good="attn_implementation: sdpa")
def better_transformer(context: Context) -> Iterator[Finding]:
    """flash_optimum with fp16 or bf16 (note: by default), with an adapter, or with weights in 32 bits."""
    raw = context.raw
    if raw.get("flash_optimum") is not True:
        return
    mixed = raw.first("fp16", "bf16")
    if mixed:
        yield context.finding(f"`flash_optimum` does not work with mixed precision (`{mixed}`).", mixed, expected="bf16: false and bfloat16: true",
                              fix=f"{mixed}: false\nbfloat16: true")
    elif not raw.written("bf16"):
        yield context.finding("Axolotl 0.21.0 refuses `flash_optimum` without `bf16: false`: it takes its default for mixed precision.",
                              "flash_optimum", severity=Severity.NOTE, fix="bf16: false")
    if raw.truthy("adapter"):
        yield context.finding("`flash_optimum` probably does not work with an adapter.", "flash_optimum", severity=Severity.WARNING,
                              fix="delete `flash_optimum`")
    if raw.get("float16") is not True and raw.get("bfloat16") is not True and not mixed:
        yield context.finding("`flash_optimum` wants 16-bit weights, and neither `float16` nor `bfloat16` is true.", "flash_optimum",
                              severity=Severity.WARNING, fix="bfloat16: true")


@rule("TL683", Severity.ERROR, title="attn_implementation: varlen without a model for it",
      why="Only some diffusion models have this attention, and it needs torch 2.14; Axolotl finds out after it has read config.json.",
      bad=("attn_implementation: varlen", "attn_implementation: varlen\ndiffusion_lm: {num_diffusion_steps: 64}"), good="attn_implementation: sdpa")
def varlen(context: Context) -> Iterator[Finding]:
    """attn_implementation: varlen on a model that is no diffusion model with it."""
    raw = context.raw
    if raw.get("attn_implementation") != "varlen":
        return
    native = raw.written("diffusion_lm") and not raw.truthy("diffusion_lm.from_causal_lm")
    family = context.shapes.model_type if context.shapes is not None else ""
    if not native or (family and family not in _VARLEN):
        yield context.finding("`attn_implementation: varlen` is for diffusion models that have it"
                              + (f", and `{family}` is none." if native else "; `diffusion_lm` is not written for one."), "attn_implementation",
                              expected="sdpa, flash_attention_2 or flex_attention", fix="attn_implementation: sdpa")


def _texts(value: Any) -> list[str]:
    """The texts of a list, or none."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _holds_layers(entry: str) -> bool:
    """Whether an entry of save_modules names a layer or what holds the layers."""
    last = entry.rsplit(".", 1)[-1]
    return last.isdigit() or effective.matches(entry, _HOLD_LAYERS)
