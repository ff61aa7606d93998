"""Rules on the kernels plugin: how the experts of a mixture-of-experts model are computed (TL917-TL926)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.dialect.plugin_values import merge_aware_is_read
from tunelab.planning.rules.dialect.plugins import is_on
from tunelab.planning.rules.registry import Context, rule

_KERNELS = "plugins: [axolotl.integrations.kernels.KernelsPlugin]\nuse_kernels: true"
_FLAGS = {"scattermoe": "use_scattermoe", "sonicmoe": "use_sonicmoe"}
_OLD_NAMES = tuple(f"{before}_{kind}" for before in ("deep_ep", "torch_ep") for kind in ("grouped_mm", "scattermoe", "sonicmoe"))
_KNOWN = ("eager", "batched_mm", "grouped_mm", "scattermoe", "sonicmoe", "expert_parallel", "deep_ep", "torch_ep_eager", *_OLD_NAMES)


def _on(raw: Raw) -> bool:
    return is_on(raw, "KernelsArgs")


def _backends(raw: Raw) -> list[str]:
    """The backends that are asked for: by flag, by expert_backend, or by an old name of experts_implementation."""
    asked = [name for name, flag in _FLAGS.items() if raw.truthy(flag)]
    chosen = str(raw.get("expert_backend", "")).lower()
    if not asked and not chosen:
        chosen = raw.text("experts_implementation").rpartition("_")[2] if raw.text("experts_implementation") in _OLD_NAMES else ""
    return [*asked, *([chosen] if chosen in _FLAGS and chosen not in asked else [])]


@rule("TL917", Severity.ERROR, title="Two backends for the experts",
      why="Every expert is computed by one of them.",
      bad=(f"{_KERNELS}\nuse_scattermoe: true\nuse_sonicmoe: true", f"{_KERNELS}\nexpert_backend: eager\nuse_scattermoe: true",
           f"{_KERNELS}\nexpert_backend: sonicmoe\nuse_scattermoe: true"),
      good=f"{_KERNELS}\nexpert_backend: scattermoe\nuse_scattermoe: true")
def two_backends(context: Context) -> Iterator[Finding]:
    """use_scattermoe and use_sonicmoe, or expert_backend and another flag."""
    raw = context.raw
    if not _on(raw):
        return
    chosen = str(raw.get("expert_backend", "")).lower()
    against = [flag for name, flag in _FLAGS.items() if chosen and chosen != name and raw.get(flag) is True]
    if against:
        yield context.finding(f"`expert_backend: {raw.get('expert_backend')}` and `{against[0]}: true` name two backends.", against[0],
                              expected="one of them", fix=f"delete `{against[0]}`")
    elif raw.truthy("use_scattermoe", "use_sonicmoe"):
        yield context.finding("`use_scattermoe` and `use_sonicmoe` are both on.", "use_sonicmoe", expected="one of them", fix="delete `use_sonicmoe`")


@rule("TL918", Severity.ERROR, title="The experts' backend cannot do that",
      why="SonicMoE has no path for experts that bitsandbytes has quantised, and ScatterMoE none that trains with the rounding of the merge in it: "
          "there the merge would round the adapter away.",
      bad=(f"{_KERNELS}\nuse_sonicmoe: true\nquantize_moe_experts: true\nadapter: qlora\nload_in_4bit: true",
           f"{_KERNELS}\nuse_scattermoe: true\nnvfp4_merge_aware: true\nadapter: lora"),
      good=f"{_KERNELS}\nuse_scattermoe: true\nquantize_moe_experts: true\nadapter: qlora\nload_in_4bit: true")
def wrong_backend(context: Context) -> Iterator[Finding]:
    """SonicMoE with quantize_moe_experts; ScatterMoE with nvfp4_merge_aware."""
    raw = context.raw
    if not _on(raw):
        return
    backends = _backends(raw)
    if "sonicmoe" in backends and raw.truthy("quantize_moe_experts"):
        yield context.finding("`quantize_moe_experts` needs ScatterMoE, and SonicMoE is chosen.", "quantize_moe_experts",
                              expected="use_scattermoe: true instead", fix="delete `quantize_moe_experts`")
    if "scattermoe" in backends and raw.truthy("nvfp4_merge_aware"):
        yield context.finding("`nvfp4_merge_aware` needs SonicMoE, and ScatterMoE is chosen.", "nvfp4_merge_aware",
                              expected="use_sonicmoe: true instead", fix="delete `nvfp4_merge_aware`")


@rule("TL919", Severity.WARNING, title="A setting of the kernels that is dropped",
      why="Something that it builds on is off, so Axolotl switches it off or never looks at it.",
      bad=(f"{_KERNELS}\nnvfp4_merge_aware: false\nnvfp4_merge_aware_start_step: 100", f"{_KERNELS}\nnvfp4_merge_aware: true",
           f"{_KERNELS}\nmoe_grouped_backend: cutlass"),
      good=f"{_KERNELS}\nmoe_grouped_backend: cutlass\ndsv4_fp4_grouped_mode: nvfp4")
def dropped(context: Context) -> Iterator[Finding]:
    """A start step without merge-aware training, merge-aware training without LoRA, a grouped backend without the grouped path."""
    raw = context.raw
    if not _on(raw):
        return
    if raw.get("nvfp4_merge_aware") is False and raw.written("nvfp4_merge_aware_start_step"):
        yield context.finding("`nvfp4_merge_aware_start_step` is dropped: `nvfp4_merge_aware` is off.", "nvfp4_merge_aware_start_step",
                              fix="delete `nvfp4_merge_aware_start_step`", safe=True)
    elif not merge_aware_is_read(raw):
        yield context.finding("`nvfp4_merge_aware` is switched off: it trains a LoRA adapter, and `adapter` is none.", "nvfp4_merge_aware",
                              expected="adapter: lora", fix="delete `nvfp4_merge_aware`")
    if raw.written("moe_grouped_backend") and not raw.truthy("dsv4_fp4_grouped_mode"):
        yield context.finding("`moe_grouped_backend` has no effect: `dsv4_fp4_grouped_mode` is not on.", "moe_grouped_backend",
                              expected="dsv4_fp4_grouped_mode: nvfp4", fix="delete `moe_grouped_backend`", safe=True)


@rule("TL920", Severity.WARNING, title="An old switch for the layers beside the experts",
      why="nonexpert_quantization says it for every model; the old switches go in a later version.",
      bad=(f"{_KERNELS}\ngemma4_fp8_nonexpert: true", f"{_KERNELS}\ngemma4_nf4_nonexpert: true"),
      good=f"{_KERNELS}\nnonexpert_quantization: fp8_blockwise", safe=True)
def old_nonexpert(context: Context) -> Iterator[Finding]:
    """gemma4_fp8_nonexpert or gemma4_nf4_nonexpert."""
    raw = context.raw
    key = raw.first("gemma4_fp8_nonexpert", "gemma4_nf4_nonexpert")
    if key is None or not _on(raw):
        return
    modern = "nonexpert_quantization: fp8_blockwise" if key == "gemma4_fp8_nonexpert" else "nonexpert_quantization: nf4"
    alone = not raw.truthy("gemma4_fp8_nonexpert", "gemma4_nf4_nonexpert") and not raw.written("nonexpert_quantization")
    fix = f"{modern}\ndelete `{key}`" if alone else f"delete `{key}`"
    yield context.finding(f"`{key}` is an old spelling of `{modern}`.", key, expected=modern, fix=fix, safe=alone)


@rule("TL921", Severity.WARNING, title="The kernels plugin replaces layers of the model",
      why="It switches use_kernels on where the file does not say. transformers then fetches kernels from the Hub and puts them in the place of "
          "layers.",
      bad="plugins: [axolotl.integrations.kernels.KernelsPlugin]\nuse_scattermoe: true", good=f"{_KERNELS}\nuse_scattermoe: true", safe=True)
def use_kernels(context: Context) -> Iterator[Finding]:
    """KernelsPlugin without use_kernels."""
    if _on(context.raw) and not context.raw.written("use_kernels"):
        yield context.finding("KernelsPlugin switches `use_kernels` on: layers are replaced by kernels from the Hub.", "plugins",
                              expected="use_kernels: true, or false to keep the layers", fix="use_kernels: true")


@rule("TL922", Severity.ERROR, title="LoRA on the attention of DeepSeek-V4's kernels",
      why="The fused indexer gives no gradient, so an adapter on it learns nothing, and adapters on the attention break how the devices run in "
          "step. Only the experts can hold one, through lora_target_parameters.",
      bad=(f"{_KERNELS}\nuse_dsv4_kernels: true\nadapter: lora\nlora_target_linear: true",
           f"{_KERNELS}\nuse_dsv4_kernels: true\nadapter: lora\nlora_target_modules: [q_proj]"),
      good=f"{_KERNELS}\nuse_dsv4_kernels: true\nadapter: lora\nlora_target_parameters: [experts.gate_up_proj]")
def dsv4_attention(context: Context) -> Iterator[Finding]:
    """use_dsv4_kernels with lora_target_modules or lora_target_linear; lora_exclude_modules makes it a warning."""
    raw = context.raw
    key = raw.first("lora_target_modules", "lora_target_linear")
    if key is None or not _on(raw) or not raw.truthy("use_dsv4_kernels"):
        return
    excluded = raw.truthy("lora_exclude_modules")
    yield context.finding(f"`{key}` puts adapters on the attention, where `use_dsv4_kernels` gives no gradient.", key,
                          expected="lora_target_parameters", fix=f"delete `{key}`", severity=Severity.WARNING if excluded else None)


@rule("TL923", Severity.WARNING, title="experts_implementation is replaced by eager",
      why="scattermoe and sonicmoe need their own switch, and a name that nobody has registered is not used. The experts are then computed one "
          "after the other, which is slow.",
      bad=(f"{_KERNELS}\nexperts_implementation: scattermoe", f"{_KERNELS}\nexperts_implementation: sonicmoe",
           f"{_KERNELS}\nexperts_implementation: groupedmm"),
      good=f"{_KERNELS}\nexperts_implementation: grouped_mm")
def experts_eager(context: Context) -> Iterator[Finding]:
    """experts_implementation names a backend without its switch, or nothing that is known."""
    raw = context.raw
    name = raw.text("experts_implementation")
    if not name or not _on(raw):
        return
    if name in _FLAGS and name not in _backends(raw):
        yield context.finding(f"`experts_implementation: {name}` becomes eager: `{_FLAGS[name]}` is not on.", "experts_implementation",
                              expected=f"{_FLAGS[name]}: true", fix=f"{_FLAGS[name]}: true")
    elif name not in (*_KNOWN, "deepgemm") and not effective.above_one(raw, "expert_parallel_size"):
        yield context.finding(f"`experts_implementation: {name}` is not known and becomes eager.", "experts_implementation",
                              expected="grouped_mm, batched_mm or eager", fix="experts_implementation: grouped_mm")


@rule("TL924", Severity.ERROR, title="Experts that would not train",
      why="transformers has no backward pass for deepgemm: the run would go on and the experts would stay as they are.",
      bad=f"{_KERNELS}\nexperts_implementation: deepgemm", good=f"{_KERNELS}\nexperts_implementation: grouped_mm")
def experts_without_backward(context: Context) -> Iterator[Finding]:
    """experts_implementation: deepgemm."""
    if _on(context.raw) and context.raw.text("experts_implementation") == "deepgemm":
        yield context.finding("`experts_implementation: deepgemm` has no backward pass.", "experts_implementation",
                              expected="grouped_mm, batched_mm or eager", fix="experts_implementation: grouped_mm")


@rule("TL925", Severity.NOTE, title="The kernels plugin without a backend",
      why="Without a choice the plugin sets experts_implementation to eager, which computes the experts one after the other; transformers by itself "
          "would have taken grouped_mm.",
      bad=_KERNELS, good=f"{_KERNELS}\nuse_scattermoe: true")
def experts_by_default(context: Context) -> Iterator[Finding]:
    """KernelsPlugin without a backend and without experts_implementation."""
    raw = context.raw
    if _on(raw) and not raw.written("experts_implementation") and not _backends(raw):
        yield context.finding("KernelsPlugin is on and no backend is chosen: in a mixture-of-experts model the experts run eager, one after the "
                              "other.", "plugins", expected="use_scattermoe: true, or experts_implementation")


@rule("TL926", Severity.WARNING, title="lora_mlp_kernel becomes another kernel", safe=True,
      why="With DeepSeek-V4's kernels the general fused MLP is switched off, and its place is taken by the one made for that model's shared expert.",
      bad=f"{_KERNELS}\nuse_scattermoe: true\nuse_dsv4_kernels: true\nlora_mlp_kernel: true\nadapter: lora\nlora_target_parameters: [a]",
      good=f"{_KERNELS}\nuse_scattermoe: true\nuse_dsv4_kernels: true\ndsv4_shared_mlp_lora_kernel: true")
def mlp_kernel(context: Context) -> Iterator[Finding]:
    """lora_mlp_kernel with use_dsv4_kernels under ScatterMoE or SonicMoE."""
    raw = context.raw
    asked = raw.get("lora_mlp_kernel") is True and raw.get("use_dsv4_kernels") is True
    if _on(raw) and asked and _backends(raw):
        own = "" if raw.written("dsv4_shared_mlp_lora_kernel") else "\ndsv4_shared_mlp_lora_kernel: true"
        instead = ", and `dsv4_shared_mlp_lora_kernel` on" if own else ""
        yield context.finding(f"`lora_mlp_kernel` is switched off under `use_dsv4_kernels`{instead}.", "lora_mlp_kernel",
                              expected="dsv4_shared_mlp_lora_kernel", fix=f"lora_mlp_kernel: false{own}")
