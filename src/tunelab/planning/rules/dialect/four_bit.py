"""4-bit weights: how they are loaded on several GPUs, and what they do not go with (TL463-469)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.registry import Context, rule

_QLORA = "adapter: qlora\nload_in_4bit: true\n"
_SHARDED = _QLORA + "fsdp_config: {cpu_ram_efficient_loading: true}\n"
_TORCHAO = _QLORA + "nf4_backend: torchao\n"


@rule("TL463", Severity.NOTE, safe=True, title="4-bit weights are loaded in parts",
      why="With QLoRA, FSDP and cpu_ram_efficient_loading, Axolotl turns this on: the first process reads and packs the weights on the CPU and "
          "hands each GPU its part.",
      bad=_SHARDED.strip(), good=_SHARDED + "qlora_sharded_model_loading: true")
def sharded_by_itself(context: Context) -> Iterator[Finding]:
    """qlora_sharded_model_loading is not written and becomes true."""
    raw = context.raw
    if _efficient(raw) and raw.truthy("load_in_4bit") and raw.get("adapter") == "qlora" and not raw.written("qlora_sharded_model_loading"):
        yield context.finding("`qlora_sharded_model_loading` becomes true.", "load_in_4bit", fix="qlora_sharded_model_loading: true")


@rule("TL464", Severity.ERROR, title="4-bit weights read by the first process only",
      why="cpu_ram_efficient_loading has the first process read the weights for all; packed to 4 bits there, their sizes differ from what the "
          "others expect, and the run hangs.",
      bad=(_SHARDED + "qlora_sharded_model_loading: false", _SHARDED.replace("adapter: qlora", "adapter: lora").strip()),
      good=_SHARDED + "qlora_sharded_model_loading: true")
def read_once(context: Context) -> Iterator[Finding]:
    """fsdp_config.cpu_ram_efficient_loading and load_in_4bit without qlora_sharded_model_loading."""
    raw = context.raw
    if _efficient(raw) and raw.truthy("load_in_4bit") and not _sharded(raw):
        said = raw.written("qlora_sharded_model_loading") and raw.get("adapter") == "qlora"
        key = "qlora_sharded_model_loading" if said else effective.fsdp_key(raw, "cpu_ram_efficient_loading")
        yield context.finding("`load_in_4bit` with `cpu_ram_efficient_loading` hangs without `qlora_sharded_model_loading`.", key,
                              expected="qlora_sharded_model_loading: true with adapter: qlora",
                              fix=f"{key.rpartition('.')[2]}: {'true' if said else 'false'}")


@rule("TL465", Severity.ERROR, title="Another block size for bitsandbytes",
      why="Loading packs 64 weights with one scale, whatever is written; a reader of the file would believe the other number.",
      bad=_QLORA + "bnb_config_kwargs: {blocksize: 128}", good=_QLORA + "bnb_config_kwargs: {blocksize: 64}")
def other_blocks(context: Context) -> Iterator[Finding]:
    """load_in_4bit by bitsandbytes and bnb_config_kwargs.blocksize is not 64."""
    raw = context.raw
    size = raw.get("bnb_config_kwargs.blocksize", 64)
    if raw.truthy("load_in_4bit") and raw.get("nf4_backend") != "torchao" and size != 64:
        yield context.finding(f"`blocksize: {size}` with bitsandbytes, which only has 64.", "bnb_config_kwargs.blocksize", expected="64",
                              fix="delete `blocksize`")


@rule("TL466", Severity.WARNING, title="Loading in parts that does not happen",
      why="It belongs to FSDP with cpu_ram_efficient_loading; without, Axolotl sets it to false, and every GPU loads and packs the whole model.",
      bad=(_QLORA + "qlora_sharded_model_loading: true",
           _QLORA + "qlora_sharded_model_loading: true\nfsdp_config: {reshard_after_forward: true}"),
      good=_SHARDED + "qlora_sharded_model_loading: true")
def sharded_without_fsdp(context: Context) -> Iterator[Finding]:
    """qlora_sharded_model_loading and load_in_4bit without fsdp_config or cpu_ram_efficient_loading."""
    raw = context.raw
    if raw.truthy("qlora_sharded_model_loading", "load_in_4bit") and raw.get("nf4_backend") != "torchao" and not _efficient(raw):
        missing = "fsdp_config.cpu_ram_efficient_loading" if raw.truthy("fsdp_config") else "fsdp_config"
        yield context.finding(f"`qlora_sharded_model_loading` has no effect without `{missing}` and becomes false.", "qlora_sharded_model_loading",
                              expected=f"{missing}{': true' if '.' in missing else ''}", fix="delete `qlora_sharded_model_loading`")


@rule("TL467", Severity.ERROR, title="4-bit weights in parts: not like this",
      why="Weights that are packed to 4 bits on the CPU and handed out in parts need FSDP's one-dimensional split, the NF4 format and QLoRA.",
      bad=("adapter: lora\nnf4_backend: torchao", _TORCHAO + "fsdp_config: {cpu_ram_efficient_loading: false}",
           _TORCHAO + "tensor_parallel_size: 2", _TORCHAO + "deepspeed: zero1.json", _SHARDED + "dp_replicate_size: 2",
           _SHARDED + "bnb_config_kwargs: {bnb_4bit_quant_type: fp4}", _TORCHAO + "bnb_config_kwargs: {bnb_4bit_use_double_quant: false}"),
      good=_SHARDED.strip())
def staged_misfit(context: Context) -> Iterator[Finding]:
    """4-bit weights loaded in parts (or by torchao) with another adapter, split or format."""
    raw = context.raw
    if not _staged(raw):
        return
    why = "`nf4_backend: torchao`" if raw.get("nf4_backend") == "torchao" else "loading 4-bit weights in parts"
    quant_type, double = raw.get("bnb_config_kwargs.bnb_4bit_quant_type", "nf4"), raw.get("bnb_config_kwargs.bnb_4bit_use_double_quant", True)
    torchao = raw.get("nf4_backend") == "torchao"
    found = (
        (not raw.truthy("load_in_4bit") or raw.get("adapter") != "qlora", "nf4_backend" if torchao else "adapter",
         "adapter: qlora and load_in_4bit: true"),
        (raw.truthy("load_in_8bit"), "load_in_8bit", "load_in_4bit alone"),
        (raw.truthy("fsdp_config") and not (_efficient(raw) and _sharded(raw)), "fsdp_config", "cpu_ram_efficient_loading: true"),
        (raw.truthy("deepspeed"), "deepspeed", "fsdp_config instead of deepspeed"),
        (effective.above_one(raw, "tensor_parallel_size"), "tensor_parallel_size", "tensor_parallel_size: 1"),
        (effective.context_parallel(raw)[1] > 1, effective.context_parallel(raw)[0], "no context parallelism"),
        (effective.above_one(raw, "dp_replicate_size"), "dp_replicate_size", "dp_replicate_size: 1"),
        (quant_type != "nf4", "bnb_config_kwargs.bnb_4bit_quant_type", "nf4"),
        (torchao and raw.get("bnb_config_kwargs.blocksize", 64) != 64, "bnb_config_kwargs.blocksize", "64"),
        (torchao and not double, "bnb_config_kwargs.bnb_4bit_use_double_quant", "true"))
    for wrong, key, expected in found:
        if wrong:
            yield context.finding(f"`{key}` does not go with {why}.", key, expected=expected)


@rule("TL468", Severity.ERROR, title="4-bit weights in parts: not this kind of LoRA",
      why="DoRA and initialisations that read the base weights need them whole, and modules that are saved whole cannot be packed.",
      bad=(_SHARDED + "peft_use_dora: true", _SHARDED + "lora_modules_to_save: [lm_head]", _SHARDED + "peft_init_lora_weights: olora",
           _SHARDED + "peft: {loftq_config: {loftq_bits: 4}}"),
      good=_SHARDED + "peft_init_lora_weights: gaussian")
def staged_lora(context: Context) -> Iterator[Finding]:
    """4-bit weights loaded in parts with DoRA, lora_modules_to_save or an initialisation by value."""
    raw = context.raw
    if not _staged(raw):
        return
    start = raw.get("peft_init_lora_weights")
    by_value = start is not None and start is not True and start is not False and start != "gaussian"
    for wrong, key in ((raw.truthy("peft_use_dora"), "peft_use_dora"), (raw.truthy("lora_modules_to_save"), "lora_modules_to_save"),
                       (by_value, "peft_init_lora_weights"), (raw.truthy("peft.loftq_config"), "peft.loftq_config")):
        if wrong:
            yield context.finding(f"`{key}` needs whole base weights, and 4-bit weights are loaded in parts here.", key,
                                  expected="plain LoRA, or fsdp_config.cpu_ram_efficient_loading: false", fix=f"delete `{key.rpartition('.')[2]}`")


@rule("TL469", Severity.ERROR, title="FSDP, packed weights and a preference method",
      why="These methods compare with the untrained model, and FSDP cannot give them one whose weights are packed to 8 or 4 bits.",
      bad=("rl: dpo\nload_in_8bit: true\nadapter: lora\nfsdp_config: {reshard_after_forward: true}",
           _QLORA + "rl: kto\nremove_unused_columns: false\nfsdp_config: {reshard_after_forward: true}"),
      good=_QLORA + "rl: dpo\ndeepspeed: zero2.json")
def packed_preference(context: Context) -> Iterator[Finding]:
    """fsdp_config, rl (dpo, kto, orpo, ipo) and 8- or 4-bit weights."""
    raw = context.raw
    packed = raw.first("load_in_8bit", "load_in_4bit")
    if packed and raw.truthy("fsdp_config") and raw.get("rl") in ("dpo", "kto", "orpo", "ipo"):
        yield context.finding(f"`{packed}` with `rl: {raw.get('rl')}` does not run under `fsdp_config`.", packed, expected="deepspeed, or 16-bit weights",
                              fix=("adapter: lora\n" if raw.get("adapter") == "qlora" else "") + f"delete `{packed}`")


def _efficient(raw: Raw) -> bool:
    """Whether FSDP reads the weights in the first process only."""
    return bool(effective.fsdp(raw, "cpu_ram_efficient_loading"))


def _sharded(raw: Raw) -> bool:
    """qlora_sharded_model_loading, as written or as Axolotl sets it."""
    if raw.written("qlora_sharded_model_loading"):
        return raw.truthy("qlora_sharded_model_loading")
    return _efficient(raw) and raw.get("adapter") == "qlora" and raw.truthy("load_in_4bit")


def _staged(raw: Raw) -> bool:
    """Whether 4-bit weights are packed on the CPU and handed out in parts."""
    return raw.get("nf4_backend") == "torchao" or (_sharded(raw) and raw.truthy("load_in_4bit") and _efficient(raw))
