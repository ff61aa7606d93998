"""Training on several devices: FSDP, DeepSpeed, and tensor, context and expert parallelism (TL660-673)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.dialect.plugins import is_on
from tunelab.planning.rules.registry import Context, rule

_CP = "context_parallel_size: 2\n"
_FSDP = "fsdp_config: {reshard_after_forward: true}"
_EXPERTS = "fsdp_version: 2\nfsdp_config: {state_dict_type: FULL_STATE_DICT}\nexpert_parallel_size: 2\n"
_EP = _EXPERTS + "expert_parallel_backend: torch\ngradient_checkpointing: true\n"
_GLM = "plugins: [axolotl.integrations.kernels.KernelsPlugin]\nuse_glm_dsa_kernels: true\n"


@rule("TL660", Severity.ERROR, title="FSDP 1",
      why="The first version of FSDP is gone from Axolotl: version 2 is the only one, and what only the first one knew stops the start.",
      bad=("fsdp_version: 1\n" + _FSDP, "fsdp_config: {fsdp_version: 1}", "fsdp_config: {fsdp_sharding_strategy: FULL_SHARD}"),
      good="fsdp_version: 2\n" + _FSDP)
def first_fsdp(context: Context) -> Iterator[Finding]:
    """A version of FSDP that is not 2, or an option of version 1 under its prefix (without prefix it is TL104)."""
    raw = context.raw
    for key in ("fsdp_version", "fsdp_config.fsdp_version", "fsdp_config.version"):
        if raw.written(key) and str(raw.get(key)) != "2":
            yield context.finding(f"`{key}: {raw.get(key)}`: version 2 is the only one.", key, expected="2", fix=f"{key.rpartition('.')[2]}: 2")
    split = str(raw.get("fsdp_config.fsdp_sharding_strategy"))
    reshard = f"reshard_after_forward: {'false' if split in ('SHARD_GRAD_OP', '2') else 'true'}"
    for key, instead in (("fsdp_sharding_strategy", reshard), ("fsdp_forward_prefetch", "")):
        if raw.written(f"fsdp_config.{key}"):
            yield context.finding(f"`{key}` is an option of FSDP 1, which is gone.", f"fsdp_config.{key}", expected=instead or "nothing in its place",
                                  fix=(f"{instead}\n" if instead else "") + f"delete `{key}`")


@rule("TL661", Severity.ERROR, title="Memory that is not pinned, without offloading",
      why="It says how weights are held in main memory, and only offload_params puts them there.",
      bad="fsdp_config: {cpu_offload_pin_memory: false}", good="fsdp_config: {cpu_offload_pin_memory: false, offload_params: true}")
def unpinned(context: Context) -> Iterator[Finding]:
    """fsdp_config.cpu_offload_pin_memory is false without offload_params."""
    if effective.fsdp(context.raw, "cpu_offload_pin_memory") is False and not effective.fsdp(context.raw, "offload_params"):
        key = effective.fsdp_key(context.raw, "cpu_offload_pin_memory")
        yield context.finding("`cpu_offload_pin_memory: false` needs `offload_params: true`.", key, expected="offload_params: true",
                              fix="offload_params: true")


@rule("TL662", Severity.ERROR, title="DeepSpeed and FSDP", why="Both split the model over the GPUs; only one can.",
      bad="deepspeed: zero2.json\n" + _FSDP, good=_FSDP)
def two_ways_to_shard(context: Context) -> Iterator[Finding]:
    """deepspeed and fsdp_config."""
    if context.raw.truthy("deepspeed", "fsdp_config"):
        yield context.finding("`deepspeed` and `fsdp_config` are both written; only one can split the model.", "deepspeed",
                              expected="one of the two", fix="delete `deepspeed`")


@rule("TL663", Severity.ERROR, title="deepcompile without DeepSpeed", why="It is DeepSpeed's compiler.",
      bad="deepcompile: true", good="deepcompile: true\ndeepspeed: zero2.json")
def deepcompile(context: Context) -> Iterator[Finding]:
    """deepcompile and no deepspeed."""
    if context.raw.truthy("deepcompile") and not context.raw.truthy("deepspeed"):
        yield context.finding("`deepcompile` needs `deepspeed`, which is not written.", "deepcompile", expected="deepspeed, or torch_compile",
                              fix="delete `deepcompile`")


@rule("TL664", Severity.NOTE, title="The DeepSpeed file is not used as it is",
      why="Axolotl reads it (and stops with a traceback when it is not there), adds what the setting needs, and trains with a copy in the "
          "temporary folder. The file itself stays as it was.",
      bad=("deepspeed: zero2.json\ntensor_parallel_size: 2", "deepspeed: zero2.json\ndeepcompile: true"), good="deepspeed: zero2.json")
def rewritten_deepspeed(context: Context) -> Iterator[Finding]:
    """deepspeed with tensor parallelism or deepcompile."""
    raw = context.raw
    if not raw.truthy("deepspeed"):
        return
    if effective.above_one(raw, "tensor_parallel_size"):
        yield context.finding("`tensor_parallel` and `gather_16bit_weights_on_model_save` are added to a copy of the `deepspeed` file where "
                              "they are missing.", "deepspeed")
    if raw.truthy("deepcompile"):
        yield context.finding("`compile.deepcompile: true` is added to a copy of the `deepspeed` file where `compile` is missing.", "deepspeed")


@rule("TL665", Severity.ERROR, title="max_memory and gpu_memory_limit", why="Both limit the memory that the weights may take, in two ways.",
      bad="max_memory: {0: 20GiB}\ngpu_memory_limit: 20GiB", good="gpu_memory_limit: 20GiB")
def two_limits(context: Context) -> Iterator[Finding]:
    """max_memory and gpu_memory_limit."""
    if context.raw.written("max_memory", "gpu_memory_limit"):
        yield context.finding("`max_memory` and `gpu_memory_limit` are both written; only one can hold.", "gpu_memory_limit",
                              expected="one of the two", fix="delete `gpu_memory_limit`")


@rule("TL666", Severity.WARNING, title="Tensor parallelism reads the weights by itself",
      why="Each GPU then reads its own part from the file; with cpu_ram_efficient_loading all but the first would get zeros, so Axolotl "
          "turns it off.",
      bad="tensor_parallel_size: 2\nfsdp_config: {cpu_ram_efficient_loading: true}", good="tensor_parallel_size: 2\n" + _FSDP)
def tensor_parallel_loading(context: Context) -> Iterator[Finding]:
    """Tensor parallelism with fsdp_config.cpu_ram_efficient_loading (4-bit weights in parts are TL467)."""
    raw = context.raw
    staged = raw.get("nf4_backend") == "torchao" or (raw.truthy("load_in_4bit") and (
        raw.get("adapter") == "qlora" if not raw.written("qlora_sharded_model_loading") else raw.truthy("qlora_sharded_model_loading")))
    if effective.above_one(raw, "tensor_parallel_size") and effective.fsdp(raw, "cpu_ram_efficient_loading") and not staged:
        key = effective.fsdp_key(raw, "cpu_ram_efficient_loading")
        yield context.finding("`cpu_ram_efficient_loading` becomes false with `tensor_parallel_size` above 1.", key,
                              fix=f"delete `{key.rpartition('.')[2]}`", safe=True)


@rule("TL667", Severity.ERROR, title="Tensor and expert parallelism", why="Both would split the experts, along different sides.",
      bad=_EXPERTS + "tensor_parallel_size: 2", good=_EXPERTS.strip())
def tensor_and_expert(context: Context) -> Iterator[Finding]:
    """tensor_parallel_size and expert_parallel_size are above 1."""
    if effective.above_one(context.raw, "tensor_parallel_size") and effective.above_one(context.raw, "expert_parallel_size"):
        yield context.finding("`tensor_parallel_size` and `expert_parallel_size` are both above 1.", "tensor_parallel_size",
                              expected="dp_shard_size for all that is not an expert", fix="delete `tensor_parallel_size`")


@rule("TL668", Severity.ERROR, title="Expert parallelism and this checkpointing",
      why="The second pass has to send each token to the expert of the first; reentrant checkpointing and moved activations choose anew. "
          "With expert_parallel_backend: auto it depends on whether DeepEP is installed.",
      bad=(_EP + "gradient_checkpointing_kwargs: {use_reentrant: true}", _EP + "activation_offloading: true"),
      good=_EP + "activation_offloading: hidden_states")
def expert_checkpointing(context: Context) -> Iterator[Finding]:
    """Expert parallelism by torch with reentrant checkpointing or activation_offloading other than hidden_states."""
    raw = context.raw
    backend = raw.get("expert_parallel_backend", "auto")
    if not effective.above_one(raw, "expert_parallel_size") or not raw.truthy("gradient_checkpointing") or backend not in ("torch", "auto"):
        return
    severity, where = (None, "") if backend == "torch" else (Severity.WARNING, " where DeepEP is not installed")
    if effective.reentrant(raw):
        yield context.finding(f"`use_reentrant: true` does not run with expert parallelism{where}.",
                              "gradient_checkpointing_kwargs.use_reentrant", expected="false", fix="use_reentrant: false", severity=severity)
    if effective.offloading(raw) in (True, "legacy", "disk"):
        key = "activation_offloading" if raw.truthy("activation_offloading") else "gradient_checkpointing"
        yield context.finding(f"`{key}: {str(raw.get(key)).lower()}` does not run with expert parallelism{where}.", key,
                              expected="activation_offloading: hidden_states", severity=severity,
                              fix="activation_offloading: hidden_states" + ("\ngradient_checkpointing: true" if key[0] == "g" else ""))


@rule("TL669", Severity.ERROR, title="DeepEP sends a batch in one piece", why="Only the torch backend can send tokens to experts piece by piece.",
      bad=_EP.replace("torch", "deep_ep") + "expert_parallel_dispatch_chunks: 2", good=_EP + "expert_parallel_dispatch_chunks: 2")
def chunks_by_deep_ep(context: Context) -> Iterator[Finding]:
    """expert_parallel_dispatch_chunks above 1 with expert_parallel_backend deep_ep, or auto where DeepEP is installed."""
    backend = context.raw.get("expert_parallel_backend", "auto")
    if effective.above_one(context.raw, "expert_parallel_dispatch_chunks") and backend in ("deep_ep", "auto"):
        auto = backend == "auto"
        yield context.finding("`expert_parallel_dispatch_chunks` above 1 does not run with DeepEP"
                              + (", which `auto` takes where it is installed." if auto else "."), "expert_parallel_dispatch_chunks",
                              expected="expert_parallel_backend: torch", fix="expert_parallel_backend: torch",
                              severity=Severity.NOTE if auto else None)


@rule("TL670", Severity.ERROR, title="Context parallelism cannot split this",
      why="It splits each row over the GPUs inside a kernel for attention: eager attention has none, and GLM's own kernels take no packed rows.",
      bad=(_CP + "attn_implementation: eager", _CP + _GLM + "sample_packing: true"), good=_CP + "attn_implementation: sdpa")
def rows_not_split(context: Context) -> Iterator[Finding]:
    """Context parallelism with eager attention, or with use_glm_dsa_kernels and packed or flattened rows."""
    raw = context.raw
    key, parts = effective.context_parallel(raw)
    if parts <= 1:
        return
    packed = raw.first("sample_packing", "batch_flattening")
    if _glm_kernels(raw):
        if packed:
            yield context.finding(f"`{packed}` with `use_glm_dsa_kernels` does not run under context parallelism.", packed, expected="false",
                                  fix=f"delete `{packed}`")
    elif effective.attention(raw) == "eager":
        place = "attn_implementation" if raw.written("attn_implementation") else "eager_attention"
        yield context.finding(f"`{key}` above 1 does not run with eager attention.", place, expected="sdpa, flash_attention_2 or flex_attention",
                              fix="attn_implementation: sdpa")


@rule("TL671", Severity.WARNING, title="Context parallelism: other losses in the log",
      why="transformers' trainer averages the parts of a row its own way, so the logged loss differs a little from that of whole rows. Under "
          "DeepSpeed the rows are split by its Ulysses.",
      bad="context_parallel_size: 2", good="context_parallel_size: 1")
def losses_of_parts(context: Context) -> Iterator[Finding]:
    """Context parallelism is on."""
    key, parts = effective.context_parallel(context.raw)
    if parts > 1:
        by = ", split by DeepSpeed's Ulysses" if context.raw.truthy("deepspeed") else ""
        yield context.finding(f"Each row is trained in {parts:g} parts{by}: logged losses differ a little from those of whole rows.", key)


@rule("TL672", Severity.ERROR, title="Context parallelism under DeepSpeed",
      why="DeepSpeed splits rows by Ulysses and nothing else, weights the parts in plain training only, and knows nothing of GLM's kernels.",
      bad=tuple(f"deepspeed: zero1.json\n{one}" for one in ((_CP + _GLM).strip(), _CP + "rl: orpo",
                                                            "context_parallel: {size: 2, backend: ring}")),
      good="deepspeed: zero1.json\ncontext_parallel: {size: 2, backend: ulysses}")
def deepspeed_parts(context: Context) -> Iterator[Finding]:
    """deepspeed, context parallelism, and GLM's kernels, rl, or another split than Ulysses."""
    raw = context.raw
    if not raw.truthy("deepspeed") or effective.context_parallel(raw)[1] <= 1:
        return
    for key, wrong in (("use_glm_dsa_kernels", _glm_kernels(raw)), ("rl", raw.truthy("rl"))):
        if wrong:
            yield context.finding(f"`{key}` with context parallelism does not run under `deepspeed`.", key, expected="fsdp_config")
    for key, allowed in _ulysses(raw):
        if raw.written(key) and raw.get(key) not in allowed:
            yield context.finding(f"`{key}: {raw.get(key)}` does not run under `deepspeed`, which has Ulysses only.", key,
                                  expected="fsdp_config, or Ulysses alone", fix=f"delete `{key.rpartition('.')[2]}`")


def _glm_kernels(raw: Raw) -> bool:
    """Whether GLM's own kernels for attention are on; without the plugin the key is dropped."""
    return raw.truthy("use_glm_dsa_kernels") and is_on(raw, "KernelsArgs")


def _ulysses(raw: Raw) -> tuple[tuple[str, tuple[object, ...]], ...]:
    """(key, the values that ask for nothing but Ulysses)."""
    return (("context_parallel.backend", ("auto", "ulysses")), ("context_parallel.ring_size", (1,)),
            ("context_parallel.ulysses_size", (effective.context_parallel(raw)[1],)))


@rule("TL673", Severity.NOTE, title="Gemma 4 on several GPUs",
      why="Layers share norms and caches, which reentrant checkpointing counts twice, and some parts get no gradient in a step; Axolotl switches "
          "both settings when it has read config.json.",
      bad="base_model: google/gemma-4-E2B-it\ngradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}",
      good="base_model: google/gemma-4-E2B-it\ngradient_checkpointing: true")
def gemma4(context: Context) -> Iterator[Finding]:
    """A Gemma 4 with use_reentrant: true, or with DDP and ddp_find_unused_parameters not written."""
    raw = context.raw
    name = raw.text("base_model").lower()
    known = context.shapes.model_type in ("gemma4", "gemma4_unified") if context.shapes is not None else "gemma-4" in name or "gemma4" in name
    if not known:
        return
    if raw.truthy("gradient_checkpointing") and effective.reentrant(raw):
        yield context.finding("`use_reentrant` becomes false for Gemma 4.", "gradient_checkpointing_kwargs.use_reentrant",
                              fix="use_reentrant: false", safe=True)
    if raw.truthy("ddp") and not raw.written("ddp_find_unused_parameters") and effective.offloading(raw) is not True:
        yield context.finding("`ddp_find_unused_parameters` becomes true for Gemma 4.", "ddp", fix="ddp_find_unused_parameters: true", safe=True)
