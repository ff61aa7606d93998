"""Number formats, compilation and placement on devices (TL642-653)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.dialect.effective import attention, fsdp, fsdp_key
from tunelab.planning.rules.registry import Context, listed, rule

# The options of inductor, torch's compiler, that Axolotl lets through.
_COMPILE_OPTIONS = frozenset({
    "coordinate_descent_tuning", "coordinate_descent_check_all_directions", "shape_padding", "epilogue_fusion", "max_autotune_gemm",
    "fx_graph_cache", "assume_aligned_inputs", "comprehensive_padding", "decompose_mem_bound_mm", "triton.cudagraphs"})
_FLASH = frozenset({"flash_attention_2", "flash_attention_3", "kernels-community/flash-attn2", "kernels-community/flash-attn3"})
_FP8_CAPABILITY = 9.0
_GATHER = "fp8_enable_fsdp_float8_all_gather"


@rule("TL642", Severity.ERROR, title="A compiler option that Axolotl does not let through",
      why="torch's compiler has hundreds of options, many of which change results; Axolotl passes ten on and stops at any other.",
      bad="torch_compile: true\ntorch_compile_options: {max_autotune: true}", good="torch_compile: true\ntorch_compile_options: {shape_padding: true}")
def compile_option(context: Context) -> Iterator[Finding]:
    """A key of torch_compile_options outside the list."""
    options = context.raw.get("torch_compile_options")
    for name in options if isinstance(options, Mapping) else ():
        if name not in _COMPILE_OPTIONS:
            yield context.finding(f"`{name}` is not an option that Axolotl passes to the compiler.", "torch_compile_options", str(name),
                                  expected="one of " + ", ".join(sorted(_COMPILE_OPTIONS)), fix=f"delete `{name}`")


@rule("TL643", Severity.ERROR, title="Options for a compiler that does not run", why="Without torch_compile nothing is compiled.",
      bad="torch_compile_options: {shape_padding: true}", good="torch_compile: true\ntorch_compile_options: {shape_padding: true}")
def compile_off(context: Context) -> Iterator[Finding]:
    """torch_compile_options without torch_compile."""
    if context.raw.written("torch_compile_options") and not context.raw.truthy("torch_compile"):
        yield context.finding("`torch_compile_options` needs `torch_compile: true`.", "torch_compile_options", expected="torch_compile: true",
                              fix="torch_compile: true")


@rule("TL644", Severity.WARNING, title="CUDA graphs on packed rows",
      why="A CUDA graph replays one fixed sequence of kernels; where the samples in a row change, it is recorded anew or given up, and the "
          "gain is lost.",
      bad="torch_compile: true\ntorch_compile_options: {triton.cudagraphs: true}\nsample_packing: true",
      good="torch_compile: true\ntorch_compile_options: {triton.cudagraphs: true}")
def graphs_of_packs(context: Context) -> Iterator[Finding]:
    """triton.cudagraphs and sample_packing."""
    options = context.raw.get("torch_compile_options")
    if isinstance(options, Mapping) and options.get("triton.cudagraphs") and context.raw.truthy("sample_packing"):
        yield context.finding("`triton.cudagraphs` gains nothing with `sample_packing`.", "torch_compile_options", expected="one of the two")


@rule("TL645", Severity.ERROR, title="fp32_norms without FSDP",
      why="It tells FSDP to hold the norm layers in 32 bits while all else is sharded in 16; nothing but FSDP reads it.",
      bad="fp32_norms: true", good="fp32_norms: true\nfsdp_config: {fsdp_version: 2}")
def norms_without_fsdp(context: Context) -> Iterator[Finding]:
    """fp32_norms and no fsdp_config."""
    if context.raw.truthy("fp32_norms") and not context.raw.written("fsdp_config"):
        yield context.finding("`fp32_norms` needs `fsdp_config`.", "fp32_norms", expected="fsdp_config", fix="delete `fp32_norms`")


@rule("TL646", Severity.WARNING, title="fp32_norm_classes without fp32_norms",
      why="It lists the classes that fp32_norms holds in 32 bits; alone it does nothing.",
      bad="fp32_norm_classes: [RMSNorm]", good="fp32_norms: true\nfp32_norm_classes: [RMSNorm]\nfsdp_config: {fsdp_version: 2}")
def unread_norm_classes(context: Context) -> Iterator[Finding]:
    """fp32_norm_classes without fp32_norms."""
    if context.raw.truthy("fp32_norm_classes") and not context.raw.truthy("fp32_norms"):
        yield context.finding("`fp32_norm_classes` has no effect without `fp32_norms`.", "fp32_norm_classes", fix="delete `fp32_norm_classes`")


@rule("TL647", Severity.ERROR, title="ple_cpu_offload where it cannot work",
      why="It keeps the per-layer embedding table of a model in main memory, beside weights of bitsandbytes on one GPU; FSDP and DeepSpeed "
          "place every parameter themselves.",
      bad=("ple_cpu_offload: true", "ple_cpu_offload: true\nadapter: qlora\nload_in_4bit: true\nfsdp_config: {fsdp_version: 2}",
           "ple_cpu_offload: true\nadapter: qlora\nload_in_4bit: true\ndeepspeed: zero2.json"),
      good="ple_cpu_offload: true\nadapter: qlora\nload_in_4bit: true")
def table_offload(context: Context) -> Iterator[Finding]:
    """ple_cpu_offload with FSDP, DeepSpeed or without small base weights; on several GPUs each keeps a table of its own."""
    raw, place = context.raw, "ple_cpu_offload"
    if not raw.truthy(place):
        return
    other = "fsdp_config" if raw.written("fsdp_config") else raw.first("deepspeed")
    if other:
        yield context.finding(f"`ple_cpu_offload` does not work with `{other}`.", place, expected="one of the two",
                              fix="delete `ple_cpu_offload`")
    partner = {"qlora": "load_in_4bit", "lora": "load_in_8bit"}.get(raw.text("adapter"))
    if partner is None or not raw.truthy(partner):
        yield context.finding("`ple_cpu_offload` needs qlora with `load_in_4bit`, or lora with `load_in_8bit`.", place,
                              expected="adapter: qlora and load_in_4bit: true", fix="delete `ple_cpu_offload`")
    if len(context.machine.gpus) > 1:
        yield context.finding(f"`ple_cpu_offload` on {len(context.machine.gpus)} GPUs: each process keeps a table of its own in main memory.",
                              place, expected="one GPU", severity=Severity.WARNING)


@rule("TL648", Severity.ERROR, title="Wrapping by size without a size",
      why="SIZE_BASED_WRAP makes a unit of every module above a number of parameters, and that number is missing.",
      bad="fsdp_config: {auto_wrap_policy: SIZE_BASED_WRAP}", good="fsdp_config: {auto_wrap_policy: SIZE_BASED_WRAP, min_num_params: 100000000}")
def size_unknown(context: Context) -> Iterator[Finding]:
    """auto_wrap_policy: SIZE_BASED_WRAP and no min_num_params."""
    if fsdp(context.raw, "auto_wrap_policy") == "SIZE_BASED_WRAP" and fsdp(context.raw, "min_num_params") is None:
        yield context.finding("`auto_wrap_policy: SIZE_BASED_WRAP` needs `min_num_params`.", fsdp_key(context.raw, "auto_wrap_policy"),
                              expected="min_num_params", fix="min_num_params: 100000000")


@rule("TL649", Severity.ERROR, title="An empty name in save_modules", why="It is matched against module names, and would fit none or all.",
      bad="gradient_checkpointing: true\nselective_checkpointing: {save_modules: ['']}",
      good="gradient_checkpointing: true\nselective_checkpointing: {save_modules: [self_attn]}")
def empty_module(context: Context) -> Iterator[Finding]:
    """selective_checkpointing.save_modules holds an empty text."""
    named = context.raw.get("selective_checkpointing.save_modules")
    for index, name in enumerate(named if isinstance(named, list) else ()):
        if isinstance(name, str) and not name.strip():
            yield context.finding("`save_modules` holds an empty name.", "selective_checkpointing", "save_modules", index,
                                  expected="the name of a module, such as self_attn")


@rule("TL650", Severity.BLOCKED, title="fp8 without a GPU that has it",
      why="8-bit floating point is computed by GPUs from NVIDIA's Hopper on (H100); Axolotl stops on any other machine.",
      bad="fp8: true", good="bf16: auto")
def fp8_elsewhere(context: Context) -> Iterator[Finding]:
    """fp8 on a machine without such a GPU."""
    gpus = context.machine.gpus
    if context.raw.truthy("fp8") and not (gpus and gpus[0].capability >= _FP8_CAPABILITY):
        yield context.finding(f"`fp8: true` needs a GPU of compute capability 9.0 or above; this machine has "
                              f"{f'{gpus[0].name} ({gpus[0].capability})' if gpus else 'none'}.", "fp8", expected="bf16: auto",
                              fix="bf16: auto\ndelete `fp8`")


@rule("TL651", Severity.ERROR, title="fp8 settings that do not go together",
      why="fp8_config belongs to fp8; gathering shards in 8 bits belongs to FSDP, and works with one scale for a whole tensor only.",
      bad=("fp8_config: {recipe: tensorwise}", f"fp8: true\n{_GATHER}: true",
           f"fp8: true\nfp8_config: {{recipe: rowwise}}\nfsdp_config: {{fsdp_version: 2}}\n{_GATHER}: true"),
      good=f"fp8: true\nfsdp_config: {{fsdp_version: 2}}\n{_GATHER}: true")
def fp8_parts(context: Context) -> Iterator[Finding]:
    """fp8_config without fp8; 8-bit gathering without FSDP or with another recipe than tensorwise."""
    raw, recipe = context.raw, context.raw.get("fp8_config.recipe", "tensorwise")
    if raw.written("fp8_config") and not raw.truthy("fp8"):
        yield context.finding("`fp8_config` needs `fp8: true`.", "fp8_config", expected="fp8: true", fix="fp8: true")
    if raw.truthy(_GATHER) and recipe != "tensorwise":
        yield context.finding(f"`{_GATHER}` does not work with `recipe: {recipe}`.", _GATHER, expected="recipe: tensorwise",
                              fix=f"delete `{_GATHER}`")
    if raw.truthy(_GATHER) and not raw.truthy("fsdp_config"):
        yield context.finding(f"`{_GATHER}` needs `fsdp_config`.", _GATHER, expected="fsdp_config", fix=f"delete `{_GATHER}`")


@rule("TL652", Severity.WARNING, title="fp8 that gains nothing",
      why="The scaling around every 8-bit product costs more than the product saves unless the compiler fuses it; computing activations "
          "again under FSDP makes it slower than bf16.",
      bad=("fp8: true", "fp8: true\ntorch_compile: true\nfsdp_config: {activation_checkpointing: true}"),
      good="fp8: true\ntorch_compile: true")
def slow_fp8(context: Context) -> Iterator[Finding]:
    """fp8 without torch_compile, or with activation checkpointing under FSDP."""
    raw = context.raw
    if not raw.truthy("fp8"):
        return
    if not raw.truthy("torch_compile"):
        yield context.finding("`fp8: true` without `torch_compile` is not faster than bf16.", "fp8", expected="torch_compile: true",
                              fix="torch_compile: true")
    if fsdp(raw, "activation_checkpointing") is True:
        key = fsdp_key(raw, "activation_checkpointing")
        yield context.finding("`activation_checkpointing` can make `fp8` slower than bf16.", key, expected="false",
                              fix=f"{key.rpartition('.')[2]}: false")


@rule("TL653", Severity.WARNING, title="Full fine-tuning in fp16 on packed rows without FlashAttention",
      why="The weights themselves are then float16, and the first step tends to stop with an error about mixed number formats or about "
          "scaling fp16 gradients.",
      bad="bf16: false\nfp16: true\nsample_packing: true", good="bf16: false\nfp16: true\nsample_packing: true\nadapter: lora")
def packed_fp16(context: Context) -> Iterator[Finding]:
    """fp16 or float16 without bf16, an adapter or a flash implementation, with sample_packing."""
    raw = context.raw
    half = raw.first("fp16", "float16")
    if half is None or raw.get("bf16", "auto") or raw.first("bfloat16", "adapter") or not raw.truthy("sample_packing"):
        return
    if attention(raw).split(":", 1)[0].split("@", 1)[0].strip() not in _FLASH:
        yield context.finding(f"{listed([half, 'sample_packing'])} without `adapter` and FlashAttention: the run is likely to stop with an "
                              "error.", half, expected="adapter: lora, or bf16: auto", fix=f"bf16: auto\ndelete `{half}`")
