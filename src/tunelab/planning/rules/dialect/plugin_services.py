"""Rules on plugins that send the run or its results elsewhere, and on the old diffusion plugin (TL940-TL942)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.dialect.plugins import is_on
from tunelab.planning.rules.registry import Context, rule

_BLOCK = ("plugins: [axolotl.integrations.coreweave.CoreWeavePlugin]\n"
          "coreweave: {deployment_id: d, bucket: b, path_prefix: p, gateway_url: u, model: m")
_OLD = "plugins: [axolotl.integrations.diffusion.DiffusionPlugin]"
_TYPED = "plugins: [axolotl.integrations.diffusion_decision.DiffusionDecisionPlugin]\ndiffusion_decision: {read_fraction: 1.0}"
_SWANLAB = "plugins: [axolotl.integrations.swanlab.SwanLabPlugin]\nswanlab_project: mine"


@rule("TL940", Severity.ERROR, title="CoreWeave does not take this run",
      why="The service publishes whole weights or a plain bf16 LoRA adapter. Its rollouts are for synchronous GRPO on whole weights, sampled with "
          "temperature and top_p alone, and stand in the place of vLLM.",
      bad=(f"{_BLOCK}}}\nadapter: qlora\nload_in_4bit: true", f"{_BLOCK}}}\nadapter: lora", f"{_BLOCK}, rollouts: true}}\nrl: dpo",
           f"{_BLOCK}, rollouts: true}}\nrl: grpo\ntrl: {{use_vllm: true}}", f"{_BLOCK}, rollouts: true}}\nrl: grpo\ntrl: {{top_k: 20}}"),
      good=f"{_BLOCK}}}\nadapter: lora\nbf16: true")
def coreweave(context: Context) -> Iterator[Finding]:
    """The first thing about the run that CoreWeavePlugin refuses."""
    raw = context.raw
    if not is_on(raw, "CoreWeaveArgs") or not raw.truthy("coreweave"):
        return
    found = _not_published(raw) or (_not_rolled_out(raw) if raw.truthy("coreweave.rollouts") else None)
    if found is not None:
        key, message, fix = found
        yield context.finding(message, key, expected=fix, fix=fix)


def _not_published(raw: Raw) -> tuple[str, str, str] | None:
    """(where, why not, the edit) for the weights."""
    lora = raw.text("adapter") == "lora"
    quantised = raw.first("load_in_4bit", "load_in_8bit")
    if raw.get("adapter") not in (None, "lora"):
        return "adapter", f"CoreWeave publishes no `{raw.get('adapter')}` adapter.", "adapter: lora"
    if quantised:
        return quantised, f"`{quantised}`: CoreWeave publishes no quantised weights.", f"delete `{quantised}`"
    if lora and not raw.truthy("bf16"):
        return "adapter", "CoreWeave publishes a LoRA adapter in bf16, and `bf16` is not written.", "bf16: true"
    if lora and raw.truthy("coreweave.rollouts"):
        return "coreweave.rollouts", "Rollouts are for whole weights, and `adapter` is lora.", "rollouts: false"
    if lora and raw.get("save_safetensors") is False:
        return "save_safetensors", "CoreWeave reads safetensors, and `save_safetensors` is off.", "delete `save_safetensors`"
    if lora and raw.truthy("trust_remote_code"):
        return "trust_remote_code", "CoreWeave serves built-in architectures, and `trust_remote_code` brings another.", "delete `trust_remote_code`"
    return None


def _not_rolled_out(raw: Raw) -> tuple[str, str, str] | None:
    """(where, why not, the edit) for the rollouts."""
    if raw.text("rl") != "grpo":
        return "rl" if raw.written("rl") else "coreweave.rollouts", "CoreWeave's rollouts are for `rl: grpo`.", "rl: grpo" if raw.written("rl") else ""
    if effective.above_one(raw, "context_parallel_size"):
        return "context_parallel_size", "CoreWeave's rollouts do not split rows over devices.", "delete `context_parallel_size`"
    for key in ("async_prefetch", "use_data_producer", "use_vllm"):
        if raw.truthy(f"trl.{key}"):
            return f"trl.{key}", f"CoreWeave's rollouts are synchronous and its own: `{key}` is not for them.", f"delete `{key}`"
    if (raw.number("trl.temperature", 1) or 0) <= 0:
        return "trl.temperature", "CoreWeave's rollouts need a temperature above 0.", "temperature: 1.0"
    for key in ("is_multimodal", "nemo_gym_enabled"):
        if raw.truthy(key):
            return key, f"CoreWeave's rollouts are text alone and the only ones: `{key}` is not for them.", f"delete `{key}`"
    for key, free in (("top_k", (None, 0, -1)), ("min_p", (None, 0)), ("repetition_penalty", (None, 1))):
        if raw.get(f"trl.{key}") not in free:
            return f"trl.{key}", f"CoreWeave's rollouts do not know `{key}`.", f"delete `{key}`"
    return None


@rule("TL941", Severity.ERROR, title="A diffusion plugin beside settings that it does not go with",
      why="The old plugin turns its `diffusion` block into `diffusion_lm` for causal models: two blocks, or a native diffusion model, leave it "
          "nothing to do. Typed decisions are for native models, and lay rows of one length side by side only when batches are flattened.",
      bad=(f"{_OLD}\ndiffusion_lm: {{canvas_width: 64}}", f"{_OLD}\ndiffusion: {{eps: 0.01}}\ndiffusion_lm: {{from_causal_lm: true, eps: 0.1}}",
           f"{_TYPED}\ndiffusion_lm: {{from_causal_lm: true}}",
           f"{_TYPED}\ndiffusion_lm: {{canvas_width: 64}}\nmicro_batch_size: 2\nbatch_flattening: false"),
      good=f"{_OLD}\ndiffusion_lm: {{from_causal_lm: true}}")
def diffusion(context: Context) -> Iterator[Finding]:
    """The old plugin with a native or a second block; typed decisions with a causal model or with several rows a batch."""
    raw = context.raw
    native = raw.written("diffusion_lm") and not raw.truthy("diffusion_lm.from_causal_lm")
    if is_on(raw, "DiffusionArgs"):
        if raw.written("diffusion", "diffusion_lm") and not _same(raw.get("diffusion"), raw.get("diffusion_lm")):
            yield context.finding("`diffusion` and `diffusion_lm` are both written and differ; the first is the old name of the second.", "diffusion",
                                  expected="diffusion_lm alone", fix="delete `diffusion`")
        elif native:
            yield context.finding("DiffusionPlugin is for causal models, and `diffusion_lm.from_causal_lm` is not on.", "plugins",
                                  expected="no plugin for a native diffusion model")
    if is_on(raw, "DiffusionDecisionArgs") and raw.written("diffusion_decision"):
        if raw.written("diffusion_lm") and not native:
            yield context.finding("`diffusion_decision` is for native diffusion models, and `from_causal_lm` is on.", "diffusion_lm.from_causal_lm",
                                  expected="from_causal_lm: false", fix="delete `from_causal_lm`")
        if raw.get("batch_flattening") is False and effective.above_one(raw, "micro_batch_size") and not raw.truthy("sample_packing"):
            yield context.finding("`diffusion_decision` with several rows a batch needs them flattened, and `batch_flattening` is off.",
                                  "batch_flattening", expected="batch_flattening: true", fix="batch_flattening: true")


def _same(old: Any, new: Any) -> bool:
    """Whether the old block says what the new one says; samples are made by default in the old one only."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return False
    return {"generate_samples": True, **old, "from_causal_lm": True} == {"generate_samples": False, **new}


@rule("TL942", Severity.NOTE, title="SwanLab is on although it is switched off",
      why="The plugin takes a project for the wish to log there, whatever use_swanlab says.",
      bad=f"{_SWANLAB}\nuse_swanlab: false", good=_SWANLAB)
def swanlab_on_again(context: Context) -> Iterator[Finding]:
    """use_swanlab: false beside swanlab_project."""
    raw = context.raw
    if is_on(raw, "SwanLabConfig") and raw.get("use_swanlab") is False and raw.text("swanlab_project").strip():
        yield context.finding("`use_swanlab: false` is set back to true: `swanlab_project` is written.", "use_swanlab", expected="no swanlab_project",
                              fix="delete `swanlab_project`")
