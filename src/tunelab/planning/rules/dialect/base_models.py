"""Base models: stored packing, names that Axolotl stumbles over, diffusion models (TL260-263, TL981)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.planning.rules.dialect import effective
from tunelab.planning.rules.dialect.plugins import is_on
from tunelab.planning.rules.registry import Context, rule

_DIFFUSION = ("nemotron_h_twotower", "Dream", "nemotron_labs_diffusion", "nemotron_labs_diffusion_vlm", "diffusion_gemma")
_DIFFUSION_PLUGIN = "axolotl.integrations.diffusion.DiffusionPlugin"


@rule("TL260", Severity.NOTE, title="A name that Axolotl takes for another model",
      why="Axolotl 0.21.0 looks for `mpt` and `falcon` anywhere in base_model and refuses gradient checkpointing for the first and FSDP for the "
          "second: `my-prompt-model` has mpt in it, and Falcon-H1 is no Falcon of old. tunelab goes by config.json.",
      bad=("base_model: org/prompt-model\ngradient_checkpointing: true",
           "base_model: tiiuae/Falcon-H1-1.5B\nfsdp_config: {reshard_after_forward: true}"),
      good="base_model: org/prompt-model")
def refused_by_name(context: Context) -> Iterator[Finding]:
    """mpt in base_model with gradient_checkpointing, or falcon with fsdp_config."""
    name = context.raw.text("base_model").lower()
    for part, key in (("mpt", "gradient_checkpointing"), ("falcon", "fsdp_config")):
        if part in name and context.raw.truthy(key):
            yield context.finding(f"Axolotl 0.21.0 refuses `{key}` here, because the model's name has \"{part}\" in it.", "base_model",
                                  expected="a local folder of another name, for Axolotl")


@rule("TL261", Severity.ERROR, title="revision_of_model of a GPTQ model",
      why="The loader of GPTQ weights does not take a revision; another version of the weights would be trained than the file says.",
      bad="gptq: true\nrevision_of_model: v2", good="gptq: true\nbase_model: models/my-gptq")
def gptq_revision(context: Context) -> Iterator[Finding]:
    """gptq and revision_of_model."""
    if context.raw.truthy("gptq", "revision_of_model"):
        yield context.finding("`revision_of_model` does not work with `gptq`.", "revision_of_model", expected="base_model: a folder with that revision",
                              fix="delete `revision_of_model`")


@rule("TL262", Severity.ERROR, title="MXFP4 weights read by the first process only",
      why="Weights that are stored as MXFP4 cannot be handed from one process to the others.",
      bad="model_quantization_config: Mxfp4Config\nfsdp_config: {cpu_ram_efficient_loading: true}",
      good="model_quantization_config: Mxfp4Config\nfsdp_config: {cpu_ram_efficient_loading: false}")
def mxfp4_read_once(context: Context) -> Iterator[Finding]:
    """model_quantization_config: Mxfp4Config and fsdp_config.cpu_ram_efficient_loading."""
    if context.raw.get("model_quantization_config") == "Mxfp4Config" and effective.fsdp(context.raw, "cpu_ram_efficient_loading") is True:
        key = effective.fsdp_key(context.raw, "cpu_ram_efficient_loading")
        yield context.finding("`cpu_ram_efficient_loading` does not work with `model_quantization_config: Mxfp4Config`.", key, expected="false",
                              fix=f"{key.rpartition('.')[2]}: false")


@rule("TL263", Severity.ERROR, title="Two ways to pack the weights", why="Weights can be packed in one way only.",
      bad=("model_quantization_config: Mxfp4Config\nadapter: qlora\nload_in_4bit: true",
           "model_quantization_config: Mxfp4Config\nadapter: lora\nload_in_8bit: true"),
      good="model_quantization_config: Mxfp4Config")
def packed_twice(context: Context) -> Iterator[Finding]:
    """model_quantization_config with load_in_8bit or load_in_4bit."""
    packed = context.raw.first("load_in_8bit", "load_in_4bit")
    if packed and context.raw.truthy("model_quantization_config"):
        yield context.finding(f"`model_quantization_config` and `{packed}` are both written; only one can hold.", packed, expected="one of the two",
                              fix=("adapter: lora\n" if context.raw.get("adapter") == "qlora" else "") + f"delete `{packed}`")


@rule("TL981", Severity.ERROR, title="diffusion_lm that would train something else",
      why="Without a diffusion model, or the plugin that makes one of an ordinary model, the training would silently be the ordinary one; "
          "Axolotl stops instead, after it has read config.json.",
      bad=("diffusion_lm: {num_diffusion_steps: 64}", "diffusion_lm: {from_causal_lm: true}"),
      good=f"diffusion_lm: {{from_causal_lm: true}}\nplugins: [{_DIFFUSION_PLUGIN}]")
def no_diffusion(context: Context) -> Iterator[Finding]:
    """diffusion_lm on a model that is known and is none, or from_causal_lm without the plugin."""
    raw = context.raw
    if not raw.written("diffusion_lm"):
        return
    if raw.truthy("diffusion_lm.from_causal_lm"):
        if not is_on(raw, "DiffusionArgs"):
            yield context.finding("`from_causal_lm` needs the diffusion plugin, which `plugins` does not name.", "diffusion_lm.from_causal_lm",
                                  expected=f"plugins: [{_DIFFUSION_PLUGIN}]")
    elif context.shapes is not None and context.shapes.model_type not in _DIFFUSION:
        yield context.finding(f"`diffusion_lm` on a `{context.shapes.model_type}` model, which is no diffusion model.", "diffusion_lm",
                              expected="a diffusion model, or from_causal_lm: true with the diffusion plugin")
