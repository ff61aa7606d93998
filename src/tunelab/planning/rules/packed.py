"""Rules on base weights in 4 or 8 bits (TL407-409, TL416, TL420-422): bitsandbytes packs them, on a GPU and on a CPU."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.lora import initialisation
from tunelab.planning.rules.registry import Context, rule

_QLORA = "adapter: qlora\nload_in_4bit: true\n"
_FORMATS = {"bnb_4bit_quant_type": ("nf4", "fp4")}
_DTYPES = ("float32", "bfloat16", "float16", "torch.float32", "torch.bfloat16", "torch.float16", "fp32", "bf16", "fp16")
_KNOWN = ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage", "llm_int8_skip_modules",
          "llm_int8_threshold", "llm_int8_has_fp16_weight", "llm_int8_enable_fp32_cpu_offload", "blocksize")


@rule("TL407", Severity.NOTE, title="Packed weights on a CPU",
      why="They save memory and cost time: each pass unpacks every layer's weights before it computes with them.",
      bad="adapter: qlora\nload_in_4bit: true", good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true")
def packed_on_cpu(context: Context) -> Iterator[Finding]:
    """load_in_4bit or load_in_8bit where there is no GPU."""
    key = _packed(context)
    if key and not context.machine.has_cuda:
        yield context.finding("Without a GPU, packed weights save memory and cost time: each layer is unpacked in every pass.", key,
                              expected="16- or 32-bit weights where they fit")


@rule("TL408", Severity.ERROR, title="qlora without load_in_4bit",
      why="QLoRA is LoRA on 4-bit weights; Axolotl refuses one without the other.",
      bad="adapter: qlora", good="adapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true")
def qlora_in_full(context: Context) -> Iterator[Finding]:
    """adapter: qlora and no load_in_4bit: true."""
    config = context.config
    if config.adapter.adapter == "qlora" and not config.model.load_in_4bit and not context.raw.truthy("merge_lora"):
        yield context.finding("`adapter: qlora` means 4-bit base weights, and `load_in_4bit` is not true: it is one or the other.",
                              "adapter",
                              expected="adapter: lora", fix="adapter: lora")


@rule("TL409", Severity.ERROR, title="load_in_4bit and load_in_8bit",
      why="The weights can be held in one format only.", bad="load_in_4bit: true\nload_in_8bit: true", good="load_in_4bit: false")
def two_formats(context: Context) -> Iterator[Finding]:
    """Both quantised formats are asked for."""
    model = context.config.model
    if model.load_in_4bit and model.load_in_8bit:
        yield context.finding("`load_in_4bit` and `load_in_8bit` are both true; weights have one format.", "load_in_8bit",
                              expected="one of the two", fix="delete `load_in_8bit`")


@rule("TL416", Severity.BLOCKED, title="A start that does not go with how the weights are held",
      why="PiSSA and OLoRA take a part out of the base weights, which packed ones cannot have taken out exactly; LoftQ makes good what packing "
          "to 4 bits loses, so it needs 4-bit weights. Axolotl packs again after PiSSA, or holds a base that is rounded but not packed.",
      bad=(_QLORA + "peft_init_lora_weights: pissa", "adapter: lora\npeft: {loftq_config: {loftq_bits: 4}}",
           _QLORA + "peft: {loftq_config: {loftq_bits: 8}}"),
      good=_QLORA + "peft: {loftq_config: {loftq_bits: 4}}")
def start_and_format(context: Context) -> Iterator[Finding]:
    """pissa or olora on packed weights, loftq on any but 4-bit ones."""
    config, start = context.config, initialisation(context.config)
    if config.adapter.adapter is None:
        return
    if start.startswith(("pissa", "olora")) and _packed(context):
        yield context.finding(f"`peft_init_lora_weights: {start}` needs whole base weights, and `{_packed(context)}` packs them.",
                              "peft_init_lora_weights", expected="loftq_config for packed weights, or weights that are not packed",
                              fix="delete `peft_init_lora_weights`")
    if start == "loftq":
        bits = config.adapter.peft.loftq_config.loftq_bits if config.adapter.peft and config.adapter.peft.loftq_config else None
        place = "peft_init_lora_weights" if bits is None else "peft.loftq_config"
        if bits != 4:
            yield context.finding("LoftQ runs with `peft.loftq_config.loftq_bits: 4` only.", place if bits is None else f"{place}.loftq_bits",
                                  expected="peft: {loftq_config: {loftq_bits: 4}}")
        elif not config.model.load_in_4bit:
            yield context.finding("LoftQ prepares an adapter for a base in 4 bits, and this base is not packed.", place,
                                  expected="adapter: qlora and load_in_4bit: true", fix="adapter: qlora\nload_in_4bit: true")


@rule("TL420", Severity.ERROR, title="4-bit weights with adapter: lora",
      why="Axolotl packs to 4 bits for adapter: qlora only; with lora it loads the weights whole, without a word, and the run takes four times "
          "the memory that was planned for.",
      bad="adapter: lora\nload_in_4bit: true", good=_QLORA.strip())
def lora_in_four_bits(context: Context) -> Iterator[Finding]:
    """adapter: lora and load_in_4bit: true."""
    if context.config.adapter.adapter == "lora" and context.config.model.load_in_4bit:
        yield context.finding("`load_in_4bit` counts for `adapter: qlora` only; with `lora` Axolotl holds the weights whole.", "load_in_4bit",
                              expected="adapter: qlora", fix="adapter: qlora")


@rule("TL421", Severity.BLOCKED, title="Packed weights with what needs them whole",
      why="The layers that are made anew (reinit_weights, peft_layer_replication) have no packed form, and DoRA's norms of 8-bit weights are "
          "computed on a GPU only.",
      bad=(_QLORA + "reinit_weights: true", _QLORA + "peft_layer_replication: [[0, 2], [1, 3]]",
           "adapter: lora\nload_in_8bit: true\npeft_use_dora: true"),
      good=_QLORA + "peft_use_dora: true")
def packed_partners(context: Context) -> Iterator[Finding]:
    """load_in_4bit or load_in_8bit with reinit_weights, layer replication, or (8 bits on a CPU) DoRA."""
    key, config = _packed(context), context.config
    found = ((bool(config.model.reinit_weights), "reinit_weights"), (bool(config.adapter.peft_layer_replication), "peft_layer_replication"),
             (bool(config.adapter.peft_use_dora and config.model.load_in_8bit and not context.machine.has_cuda), "peft_use_dora"))
    for wrong, partner in found if key else ():
        if wrong:
            where, instead = (" on a CPU", "load_in_4bit with adapter: qlora, or plain LoRA") if partner == "peft_use_dora" else ("", "one of the two")
            yield context.finding(f"`{partner}` does not go with `{key}`{where}.", partner, expected=instead, fix=f"delete `{partner}`")


@rule("TL422", Severity.ERROR, title="A setting that bitsandbytes does not have",
      why="bnb_config_kwargs is handed on as it is; a misspelt name is dropped there without a word, a wrong value stops the run while it loads.",
      bad=(_QLORA + "bnb_config_kwargs: {bnb_4bit_double_quant: true}", _QLORA + "bnb_config_kwargs: {bnb_4bit_quant_type: nf8}"),
      good=_QLORA + "bnb_config_kwargs: {bnb_4bit_use_double_quant: true}")
def bnb_names(context: Context) -> Iterator[Finding]:
    """A name or a value in bnb_config_kwargs that is none."""
    for name, value in (context.config.model.bnb_config_kwargs or {}).items():
        path = ("bnb_config_kwargs", name)
        if name not in _KNOWN:
            close = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.4)
            yield context.finding(f"`{name}` is no setting of bitsandbytes.{f' Did you mean `{close[0]}`?' if close else ''}", *path,
                                  expected=", ".join(_KNOWN), fix=f"rename `{name}` to `{close[0]}`" if close else f"delete `{name}`")
        elif (options := _FORMATS.get(name) or (_DTYPES if name.endswith(("_dtype", "_storage")) else ())) and str(value) not in (*options, "uint8"):
            yield context.finding(f"`{name}` is {value!r}.", *path, expected=f"one of {', '.join(options)}", fix=f"{name}: {options[0]}")


def _packed(context: Context) -> str:
    """The key that packs the base weights of this run, "" when none does."""
    model = context.config.model
    packs = context.config.adapter.adapter is not None
    return "load_in_4bit" if packs and model.load_in_4bit else "load_in_8bit" if packs and model.load_in_8bit else ""
