"""Attention implementations: which name counts, and what each needs (TL630-641)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.config.known import names
from tunelab.planning.rules.dialect.effective import attention
from tunelab.planning.rules.registry import Context, listed, rule

# Old flags and what they stand for, in the order in which Axolotl asks for them.
_FLAGS = {"xformers_attention": "xformers", "sage_attention": "sage", "flex_attention": "flex_attention",
          "flash_attention": "flash_attention_2", "sdp_attention": "sdpa", "eager_attention": "eager"}
_SHORT = {"flash": "flash_attention_2", "flex": "flex_attention", "sdp": "sdpa"}
_LARGE_HEADS = ("auto", "sdpa", "triton_flash")
_SAGE_GPUS = (8.0, 8.6, 8.9, 9.0, 12.0)
_HOPPER = 9.0


@rule("TL630", Severity.NOTE, title="The hybrid attention of Gemma 4 brings FlashAttention 2",
      why="Its layers with a sliding window run under FlashAttention 2, so Axolotl takes that where no implementation is written.",
      bad="gemma4_hybrid_attn_impl: true", good="gemma4_hybrid_attn_impl: true\nattn_implementation: flash_attention_2")
def hybrid_default(context: Context) -> Iterator[Finding]:
    """gemma4_hybrid_attn_impl and no implementation."""
    if context.raw.truthy("gemma4_hybrid_attn_impl") and not context.raw.first("attn_implementation", *_FLAGS):
        yield context.finding("`gemma4_hybrid_attn_impl: true` makes Axolotl take `attn_implementation: flash_attention_2`.",
                              "gemma4_hybrid_attn_impl", fix="attn_implementation: flash_attention_2")


@rule("TL631", Severity.ERROR, title="The hybrid attention of Gemma 4 with another implementation",
      why="Its layers with a sliding window only run under FlashAttention 2.",
      bad="gemma4_hybrid_attn_impl: true\nattn_implementation: sdpa", good="gemma4_hybrid_attn_impl: true\nattn_implementation: flash_attention_2")
def hybrid_other(context: Context) -> Iterator[Finding]:
    """gemma4_hybrid_attn_impl with an implementation other than flash_attention_2."""
    written = context.raw.text("attn_implementation")
    if context.raw.truthy("gemma4_hybrid_attn_impl") and written not in ("", "flash_attention_2"):
        yield context.finding(f"`gemma4_hybrid_attn_impl` does not work with `attn_implementation: {written}`.", "attn_implementation",
                              expected="flash_attention_2", fix="attn_implementation: flash_attention_2")


@rule("TL632", Severity.ERROR, title="attn_implementation beside an old flag",
      why="flash_attention, sdp_attention and the like are old spellings of attn_implementation; Axolotl takes one or the other, also when "
          "they agree.",
      bad=tuple(f"attn_implementation: {name}\n{flag}: true" for flag, name in _FLAGS.items()), good="attn_implementation: sdpa")
def name_and_flag(context: Context) -> Iterator[Finding]:
    """attn_implementation and a true flag."""
    raw = context.raw
    flags = [flag for flag in _FLAGS if raw.truthy(flag)]
    if raw.truthy("attn_implementation") and flags:
        same = all(_FLAGS[flag] == raw.get("attn_implementation") for flag in flags)
        yield context.finding(f"`attn_implementation` and {listed(flags)} are both set.", flags[0], expected="attn_implementation alone",
                              fix="\n".join(f"delete `{flag}`" for flag in flags), safe=same)


@rule("TL633", Severity.NOTE, title="Several old flags for attention",
      why="Only one implementation can be loaded; Axolotl asks for xformers, sage, flex, flash, sdp and eager in this order and drops the "
          "rest.",
      bad="flash_attention: true\nsdp_attention: true", good="flash_attention: true")
def several_flags(context: Context) -> Iterator[Finding]:
    """More than one true flag."""
    flags = [flag for flag in _FLAGS if context.raw.truthy(flag)]
    if len(flags) > 1 and not context.raw.truthy("attn_implementation"):
        yield context.finding(f"Of {listed(flags)} only `{flags[0]}` counts.", flags[1], expected="one of them",
                              fix="\n".join(f"delete `{flag}`" for flag in flags[1:]))


@rule("TL634", Severity.ERROR, title="A policy for large heads that does not exist",
      why="It says what computes attention heads too large for FlashAttention: auto chooses, sdpa and triton_flash are the two that can.",
      bad="large_head_attention: triton", good="large_head_attention: triton_flash")
def large_heads(context: Context) -> Iterator[Finding]:
    """large_head_attention is none of three names."""
    written = context.raw.get("large_head_attention")
    if written is not None and str(written).lower() not in _LARGE_HEADS:
        close = difflib.get_close_matches(str(written).lower(), _LARGE_HEADS, n=1)
        yield context.finding(f"`large_head_attention: {written}` is not known.", "large_head_attention",
                              expected=f"one of {', '.join(_LARGE_HEADS)}", fix=f"large_head_attention: {close[0] if close else 'auto'}")


@rule("TL635", Severity.ERROR, title="An attention implementation that does not exist",
      why="Axolotl takes the full names and the path of a kernel on the hub (with a slash); it has given up flash, flex and sdp.",
      bad=("attn_implementation: flash", "attn_implementation: flash_attention_5"),
      good="attn_implementation: kernels-community/flash-attn3")
def unknown_attention(context: Context) -> Iterator[Finding]:
    """attn_implementation is no name of the dialect and no path."""
    written, known = context.raw.text("attn_implementation"), sorted(names("attn_implementation"))
    if not written or written in known or "/" in written:
        return
    close = [_SHORT[written]] if written in _SHORT else difflib.get_close_matches(written, known, n=1)
    yield context.finding(f"`attn_implementation: {written}` is not known.", "attn_implementation", expected=f"one of {', '.join(known)}",
                          fix=f"attn_implementation: {close[0]}" if close else "", safe=written in _SHORT)


@rule("TL636", Severity.WARNING, title="sdpa_varlen without packing",
      why="It computes the samples of a packed row one by one; with one sample a row there is nothing to do.",
      bad="sdpa_varlen: true", good="sdpa_varlen: true\nsample_packing: true\nattn_implementation: sdpa")
def unpacked_varlen(context: Context) -> Iterator[Finding]:
    """sdpa_varlen without sample_packing."""
    if context.raw.truthy("sdpa_varlen") and not context.raw.truthy("sample_packing"):
        yield context.finding("`sdpa_varlen` has no effect without `sample_packing`.", "sdpa_varlen", fix="delete `sdpa_varlen`")


@rule("TL637", Severity.WARNING, title="SageAttention on rows of changing length",
      why="It rounds numbers to 8 bits; without packing, and with rows that are not filled up, losses have been seen to explode.",
      bad="attn_implementation: sage\nadapter: lora", good="attn_implementation: sage\nadapter: lora\npad_to_sequence_len: true")
def sage_unpadded(context: Context) -> Iterator[Finding]:
    """sage without sample_packing and pad_to_sequence_len."""
    raw = context.raw
    if attention(raw) == "sage" and not raw.first("sample_packing", "pad_to_sequence_len"):
        yield context.finding("SageAttention without `sample_packing` and `pad_to_sequence_len`: the loss may explode.", _place(context),
                              expected="pad_to_sequence_len: true", fix="pad_to_sequence_len: true")


@rule("TL638", Severity.WARNING, title="SageAttention in full fine-tuning",
      why="Its 8-bit numbers are too coarse for the gradients of all weights: the loss has been seen to fall to 0, and nothing is learnt.",
      bad="attn_implementation: sage", good="attn_implementation: sage\nadapter: lora\npad_to_sequence_len: true")
def sage_full(context: Context) -> Iterator[Finding]:
    """sage without an adapter."""
    if attention(context.raw) == "sage" and not context.raw.truthy("adapter"):
        yield context.finding("SageAttention without `adapter`: the loss may fall to 0.", _place(context),
                              expected="an adapter, or another implementation", fix="attn_implementation: sdpa"
                              if context.raw.written("attn_implementation") else "")


@rule("TL639", Severity.WARNING, title="Packing with sdpa in bf16 before Hopper",
      why="On GPUs older than the H100, torch's sdpa with bf16 and the mask of packed rows can give a loss of 0.0, and nothing is learnt. "
          "Axolotl takes bf16 wherever it exists. tunelab's own attention is not concerned.",
      bad="sample_packing: true\nattn_implementation: sdpa", good="sample_packing: true\nattn_implementation: flash_attention_2")
def packed_sdpa(context: Context) -> Iterator[Finding]:
    """sample_packing, sdpa and bf16, unless this machine has a GPU that is new enough."""
    raw, gpus = context.raw, context.machine.gpus
    if not raw.truthy("sample_packing") or attention(raw) != "sdpa" or (gpus and gpus[0].capability >= _HOPPER):
        return
    if raw.get("bf16", "auto") or raw.truthy("bfloat16"):
        severity = None if gpus else Severity.NOTE  # no GPU here: it is said for the one that it may go to
        yield context.finding("`sample_packing` with sdpa and bf16 can give a loss of 0.0 on a GPU older than the H100.", _place(context),
                              expected="flash_attention_2 or flex_attention", fix="attn_implementation: flash_attention_2"
                              if raw.written("attn_implementation") else "",
                              severity=severity)


@rule("TL640", Severity.WARNING, title="8-bit attention that this machine cannot compute",
      why="SageAttention and fp8 attention are written for certain GPUs; Axolotl stops on any other. tunelab computes exact attention "
          "instead.",
      bad=("attn_implementation: sage", "attn_implementation: fp8"), good="attn_implementation: sdpa")
def attention_elsewhere(context: Context) -> Iterator[Finding]:
    """sage or fp8 on a machine without a GPU for it."""
    chosen, gpus = attention(context.raw), context.machine.gpus
    able = bool(gpus) and (gpus[0].capability in _SAGE_GPUS if chosen == "sage" else gpus[0].capability >= _HOPPER)
    if chosen in ("sage", "fp8") and not able:
        needs = "compute capability 8.0, 8.6, 8.9, 9.0 or 12.0" if chosen == "sage" else "compute capability 9.0 or above"
        yield context.finding(f"`{chosen}` attention needs a GPU of {needs}; this machine has "
                              f"{f'{gpus[0].name} ({gpus[0].capability})' if gpus else 'none'}.", _place(context), expected=needs)


@rule("TL641", Severity.ERROR, title="scaling_softmax without flex attention",
      why="It changes the formula of attention, which only flex_attention lets one write.",
      bad="scaling_softmax: true", good="scaling_softmax: true\nattn_implementation: flex_attention")
def unscaled(context: Context) -> Iterator[Finding]:
    """scaling_softmax with another implementation than flex_attention."""
    if context.raw.truthy("scaling_softmax") and attention(context.raw) != "flex_attention":
        yield context.finding("`scaling_softmax` needs `attn_implementation: flex_attention`.", "scaling_softmax",
                              expected="attn_implementation: flex_attention", fix="attn_implementation: flex_attention")


def _place(context: Context) -> str:
    """The key that chose the implementation."""
    return context.raw.first("attn_implementation", *_FLAGS) or "gemma4_hybrid_attn_impl"
