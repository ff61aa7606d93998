"""Rules on training with several processes: what FSDP does not go with here, and Ray, which must be installed (TL608, TL609)."""

from __future__ import annotations

from collections.abc import Iterator

from tunelab.config.finding import Finding, Severity
from tunelab.facts.packages import is_installed
from tunelab.planning.freezing import patterns
from tunelab.planning.rules.registry import Context, rule

_SHARDED_OPTIMIZERS = frozenset({"adamw_torch", "adamw_torch_fused", "adamw", "sgd", "rmsprop", "adagrad"})


@rule("TL608", Severity.BLOCKED, title="use_ray without Ray",
      why="Ray Train places the workers; without it nothing would run. `tunelab train --nproc N` needs no Ray.",
      bad="use_ray: true", good="use_ray: false")
def no_ray(context: Context) -> Iterator[Finding]:
    """use_ray where the package ray is not installed."""
    if context.config.distributed.use_ray and not is_installed("ray"):
        yield context.finding("`use_ray: true` needs the package ray, which is not installed here: pip install 'tunelab[ray]'.", "use_ray",
                              fix="delete `use_ray`")


@rule("TL609", Severity.BLOCKED, title="What FSDP does not go with here",
      why="Shards of packed weights, of an adapter that starts from a decomposition, of other optimizers' states and of pairs of models were not "
          "held against one process yet, so they are not run.",
      bad=("fsdp_config: {reshard_after_forward: true}\noptimizer: lion_pytorch",
           "fsdp_config: {reshard_after_forward: true}\nunfrozen_parameters: ['^model.embed_tokens.weight$[:100]']",
           "fsdp_config: {reshard_after_forward: true}\nrl: dpo"),
      good="fsdp_config: {reshard_after_forward: true}\noptimizer: adamw_torch")
def unsharded(context: Context) -> Iterator[Finding]:
    """fsdp_config with 4 or 8 bits, pissa or olora, single rows of a tensor, fp16, an optimizer outside torch, or a preference method."""
    config = context.config
    if config.distributed.fsdp_config is None:
        return
    start = str(config.adapter.peft_init_lora_weights).lower()
    cases = [
        ("load_in_4bit", config.model.load_in_4bit, "16-bit weights"), ("load_in_8bit", config.model.load_in_8bit, "16-bit weights"),
        ("peft_init_lora_weights", start.startswith(("pissa", "olora")), "the default start"),
        ("unfrozen_parameters", any(one.rows is not None for one in patterns(config)), "whole tensors"),
        ("fp16", config.hardware.fp16, "bf16: auto"), ("rl", config.preference.method is not None, "the method without fsdp_config"),
        ("optimizer", config.optimisation.optimizer not in _SHARDED_OPTIMIZERS, "adamw_torch, sgd, rmsprop or adagrad")]
    for key, holds, instead in cases:
        if holds:
            yield context.finding(f"`{key}: {context.raw.get(key, config.value(key))}` is not run under `fsdp_config`.", key, expected=instead,
                                  fix="delete `fsdp_config`")
