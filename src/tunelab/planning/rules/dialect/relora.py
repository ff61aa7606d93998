"""ReLoRA, and what becomes of other adapters' settings on the way (TL460-462, TL470-471)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.registry import Context, listed, rule

_RELORA = "adapter: lora\nrelora: true\njagged_restart_steps: 100\n"
_MIXLORA = ("plugins: [axolotl.integrations.mixlora.MixLoraPlugin]\nadapter: mixlora\nlora_r: 8\nlora_alpha: 16\n"
            "gradient_checkpointing: true\n")
_WITH_RESTARTS = ("lora", "qlora", "mora")
# Families of Axolotl 0.21.0 whose layers its fused LoRA kernels do not fit, by config.json's model_type.
_KERNELS_DO_NOT_FIT = frozenset({"paddleocr_vl", "nemotron_h_twotower", "Dream", "muse_glimmer", "qwen4_exp", "qwen4_exp_text", "diffusion_gemma",
                                 "glm5_next", "glm5_next_text", "k2_horizon"})


@rule("TL460", Severity.ERROR, title="ReLoRA without restarts",
      why="ReLoRA folds the adapter into the model every so many steps and begins a new one; jagged_restart_steps says how often.",
      bad="adapter: lora\nrelora: true", good=_RELORA.strip())
def relora_without_restarts(context: Context) -> Iterator[Finding]:
    """relora and no jagged_restart_steps."""
    if context.raw.truthy("relora") and not context.raw.truthy("jagged_restart_steps"):
        yield context.finding("`relora` needs `jagged_restart_steps`, which is not written.", "relora", expected="a number of steps",
                              fix="jagged_restart_steps: 200")


@rule("TL461", Severity.ERROR, title="ReLoRA without LoRA", why="There has to be an adapter that can be folded into the model at each restart.",
      bad=("relora: true\njagged_restart_steps: 100", "adapter: mixlora\nrelora: true\njagged_restart_steps: 100"), good=_RELORA.strip())
def relora_without_lora(context: Context) -> Iterator[Finding]:
    """relora and adapter is none that can be folded in."""
    adapter = context.raw.get("adapter")
    if context.raw.truthy("relora") and adapter not in _WITH_RESTARTS:
        said = f"`adapter: {adapter}` is" if adapter else "`adapter` is not written:"
        yield context.finding(f"{said} none that `relora` can fold into the model." if adapter else f"{said} `relora` has nothing to fold in.",
                              "relora", expected=f"adapter: {' or '.join(_WITH_RESTARTS)}", fix="adapter: lora")


@rule("TL462", Severity.ERROR, title="ReLoRA with what a restart breaks",
      why="A restart changes weights and optimizer state in place: split or fused weights do not allow it, and a one-cycle schedule has "
          "already ended its only cycle.",
      bad=(_RELORA + "fsdp_config: {reshard_after_forward: true}", _RELORA + "deepspeed: zero1.json", _RELORA + "lr_scheduler: one_cycle",
           "adapter: mora\nrelora: true\njagged_restart_steps: 100\nflash_attn_fuse_mlp: true"), good=_RELORA + "lr_scheduler: cosine")
def relora_broken(context: Context) -> Iterator[Finding]:
    """relora with fsdp_config, deepspeed, one_cycle or flash_attn_fuse_mlp."""
    raw = context.raw
    if not raw.truthy("relora"):
        return
    if raw.get("lr_scheduler") == "one_cycle":
        yield context.finding("`relora` does not run with `lr_scheduler: one_cycle`.", "lr_scheduler", expected="cosine", fix="lr_scheduler: cosine")
    for key in ("fsdp_config", "deepspeed", "flash_attn_fuse_mlp"):
        if raw.truthy(key):
            yield context.finding(f"`relora` does not run with `{key}`.", key, expected="one of the two", fix=f"delete `{key}`")


@rule("TL470", Severity.NOTE, safe=True, title="MixLoRA's checkpointing is switched",
      why="Reentrant checkpointing computes the layers without gradients first and loses the loss that balances the experts.",
      bad=_MIXLORA + "gradient_checkpointing_kwargs: {use_reentrant: true}", good=_MIXLORA + "gradient_checkpointing_kwargs: {use_reentrant: false}")
def mixlora_reentrant(context: Context) -> Iterator[Finding]:
    """adapter: mixlora with use_reentrant: true."""
    if context.raw.get("adapter") == "mixlora" and context.raw.truthy("gradient_checkpointing") and effective.reentrant(context.raw):
        yield context.finding("`use_reentrant` becomes false with `adapter: mixlora`.", "gradient_checkpointing_kwargs.use_reentrant",
                              fix="use_reentrant: false")


@rule("TL471", Severity.NOTE, title="Fused LoRA kernels are switched off for this model",
      why="The kernels replace the code of layers that this family writes differently; Axolotl turns them off when it has read config.json.",
      bad="base_model: org/PaddleOCR-VL\nadapter: lora\nlora_mlp_kernel: true", good="base_model: org/PaddleOCR-VL\nadapter: lora")
def kernels_do_not_fit(context: Context) -> Iterator[Finding]:
    """A fused LoRA kernel is asked for and the model's family does not allow it."""
    family = context.shapes.model_type if context.shapes is not None else "paddleocr_vl" \
        if "paddleocr-vl" in context.raw.text("base_model").lower() else ""
    wanted = [key for key in effective.LORA_KERNELS if context.raw.truthy(key)]
    if wanted and family in _KERNELS_DO_NOT_FIT:
        yield context.finding(f"{listed(wanted)} become{'s' * (len(wanted) == 1)} false: the kernels do not fit {family} models.", wanted[0],
                              fix="\n".join(f"delete `{key}`" for key in wanted), safe=True)
