"""Rules on the plugins that compute losses and layers in other ways: Cut Cross Entropy and Liger (TL904-TL910)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.dialect.plugins import is_on
from tunelab.planning.rules.registry import Context, rule

_CUT = "plugins: [axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin]"
_LIGER = "plugins: [axolotl.integrations.liger.LigerPlugin]"
_STEP = 128


@rule("TL904", Severity.ERROR, title="Cut Cross Entropy without 16-bit numbers",
      why="Its backward pass exists for bf16 and fp16 only. Axolotl looks at what is written: its own default `bf16: auto` does not count here.",
      bad=(f"{_CUT}\ncut_cross_entropy: true", f"{_CUT}\ncut_cross_entropy: true\nbf16: false"),
      good=f"{_CUT}\ncut_cross_entropy: true\nbf16: auto", safe=True)
def cut_needs_half(context: Context) -> Iterator[Finding]:
    """cut_cross_entropy is written as true, and neither bf16 nor fp16 is."""
    raw = context.raw
    if is_on(raw, "CutCrossEntropyArgs") and raw.truthy("cut_cross_entropy") and not raw.first("bf16", "fp16"):
        off = raw.written("bf16")
        what = "`bf16` and `fp16` are off" if off else "neither `bf16` nor `fp16` is written"
        yield context.finding(f"`cut_cross_entropy` needs 16-bit numbers, and {what}.", "cut_cross_entropy", expected="bf16: auto or fp16: true",
                              fix="bf16: auto", safe=not off)


@rule("TL905", Severity.ERROR, title="Chunked cross-entropy beside the plugin for the cut one",
      why="Both take the place of the loss. Axolotl refuses the pair as soon as the plugin is listed, even with `cut_cross_entropy: false`.",
      bad=f"{_CUT}\nchunked_cross_entropy: true", good="chunked_cross_entropy: true")
def cut_and_chunked(context: Context) -> Iterator[Finding]:
    """CutCrossEntropyPlugin with chunked_cross_entropy (with both keys on, TL565 says it)."""
    raw = context.raw
    if is_on(raw, "CutCrossEntropyArgs") and raw.truthy("chunked_cross_entropy") and not raw.truthy("cut_cross_entropy"):
        yield context.finding("`chunked_cross_entropy` and CutCrossEntropyPlugin exclude each other.", "chunked_cross_entropy",
                              expected="one of them", fix="delete `chunked_cross_entropy`")


@rule("TL906", Severity.ERROR, title="A chunk of the cut loss that is not possible",
      why="The kernel works through the vocabulary in blocks of 128 rows; the size of the chunk limits the 32-bit gradient that "
          "cut_cross_entropy_accum_c_fp32 keeps, and without that there is nothing to limit.",
      bad=(f"{_CUT}\ncut_cross_entropy_accum_c_fp32: true\ncut_cross_entropy_c_grad_chunk_size: 1000",
           f"{_CUT}\ncut_cross_entropy_c_grad_chunk_size: 1024"),
      good=f"{_CUT}\ncut_cross_entropy_accum_c_fp32: true\ncut_cross_entropy_c_grad_chunk_size: 1024")
def cut_chunk(context: Context) -> Iterator[Finding]:
    """cut_cross_entropy_c_grad_chunk_size is no multiple of 128, or there is no 32-bit gradient."""
    raw, key = context.raw, "cut_cross_entropy_c_grad_chunk_size"
    size = effective.whole(raw, key)
    if not is_on(raw, "CutCrossEntropyArgs") or size == 0 or (size is None and raw.text(key) != "auto"):
        return
    if size is not None and (size < 0 or size % _STEP):
        below = max(_STEP, size // _STEP * _STEP)
        yield context.finding(f"`{key}` is {size}; it is a multiple of {_STEP}.", key, expected=f"auto, or a multiple of {_STEP}", fix=f"{key}: {below}")
    elif not raw.truthy("cut_cross_entropy_accum_c_fp32"):
        yield context.finding(f"`{key}` limits a gradient that only `cut_cross_entropy_accum_c_fp32` keeps.", key,
                              expected="cut_cross_entropy_accum_c_fp32: true", fix=f"delete `{key}`")


@rule("TL907", Severity.ERROR, title="liger_swiglu and liger_glu_activation", why="They are the old and the new name of one switch.",
      bad=f"{_LIGER}\nliger_swiglu: true\nliger_glu_activation: true", good=f"{_LIGER}\nliger_glu_activation: true")
def liger_twice(context: Context) -> Iterator[Finding]:
    """Both names are written."""
    raw = context.raw
    if is_on(raw, "LigerArgs") and raw.written("liger_swiglu", "liger_glu_activation"):
        yield context.finding("`liger_swiglu` is the old name of `liger_glu_activation`, and both are written.", "liger_swiglu",
                              expected="liger_glu_activation alone", fix="delete `liger_swiglu`",
                              safe=raw.get("liger_swiglu") == raw.get("liger_glu_activation"))


@rule("TL908", Severity.ERROR, title="A Liger kernel under tensor parallelism",
      why="Each device holds a part of every weight there, and these kernels expect the whole one.",
      bad=(f"{_LIGER}\nliger_rms_norm: true\ntensor_parallel_size: 2",
           f"{_LIGER}\nliger_fused_linear_cross_entropy: true\ntensor_parallel_size: 2"),
      good=f"{_LIGER}\nliger_rope: true\ntensor_parallel_size: 2")
def liger_tensor_parallel(context: Context) -> Iterator[Finding]:
    """liger_rms_norm or liger_fused_linear_cross_entropy with tensor_parallel_size above 1."""
    raw = context.raw
    for key in ("liger_rms_norm", "liger_fused_linear_cross_entropy"):
        if is_on(raw, "LigerArgs") and raw.truthy(key) and effective.above_one(raw, "tensor_parallel_size"):
            yield context.finding(f"`{key}` does not work with `tensor_parallel_size: {raw.get('tensor_parallel_size')}`.", key,
                                  expected="one of the two", fix=f"delete `{key}`")


@rule("TL909", Severity.ERROR, title="Liger's activation inside a tiled MLP", safe=True,
      why="Tiling computes the MLP in pieces; Liger's activation fits in only when the model's own MLP is kept for them. Axolotl looks at what is "
          "written: its own default `tiled_mlp_use_original_mlp: true` does not count here.",
      bad=(f"{_LIGER}\nliger_glu_activation: true\ntiled_mlp: true",
           f"{_LIGER}\nliger_glu_activation: true\ntiled_mlp: true\ntiled_mlp_use_original_mlp: false"),
      good=f"{_LIGER}\nliger_glu_activation: true\ntiled_mlp: true\ntiled_mlp_use_original_mlp: true")
def liger_tiled(context: Context) -> Iterator[Finding]:
    """liger_glu_activation and tiled_mlp without tiled_mlp_use_original_mlp."""
    raw = context.raw
    both = raw.get("liger_glu_activation") is True and raw.get("tiled_mlp") is True
    if is_on(raw, "LigerArgs") and both and not raw.truthy("tiled_mlp_use_original_mlp"):
        yield context.finding("`liger_glu_activation` works inside `tiled_mlp` only with `tiled_mlp_use_original_mlp: true`, which must be written.",
                              "liger_glu_activation", expected="tiled_mlp_use_original_mlp: true", fix="tiled_mlp_use_original_mlp: true",
                              safe=not raw.written("tiled_mlp_use_original_mlp"))


@rule("TL910", Severity.ERROR, title="liger_use_token_scaling without Liger's fused loss",
      why="The weights of the tokens are an option of the fused loss, and nothing else knows them.",
      bad=f"{_LIGER}\nliger_use_token_scaling: true",
      good=f"{_LIGER}\nliger_use_token_scaling: true\nliger_fused_linear_cross_entropy: true")
def liger_scaling(context: Context) -> Iterator[Finding]:
    """liger_use_token_scaling without liger_fused_linear_cross_entropy."""
    raw = context.raw
    if is_on(raw, "LigerArgs") and raw.truthy("liger_use_token_scaling") and not raw.truthy("liger_fused_linear_cross_entropy"):
        yield context.finding("`liger_use_token_scaling` is an option of `liger_fused_linear_cross_entropy`, which is not on.",
                              "liger_use_token_scaling", expected="liger_fused_linear_cross_entropy: true",
                              fix="liger_fused_linear_cross_entropy: true")
