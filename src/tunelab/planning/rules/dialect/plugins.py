"""The plugins that Axolotl 0.21.0 ships: where each one stands, and which are on in a config.

A name in `plugins:` is a dotted path or `module:Class`. A path that Python cannot import is tried once more below
`axolotl.integrations`. Context and expert parallelism are on without being listed.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.config.raw import Raw

_HOME = "axolotl.integrations."
# Packages that are installed beside Axolotl under the same name: the short path finds those.
_TAKEN = frozenset({"kernels", "cut_cross_entropy", "lm_eval", "swanlab", "densemixer"})


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin: its class, the package below axolotl.integrations that exports it ("" when none does), the module that holds it, and
    the class of its settings as the key table names it ("" when it has none)."""

    name: str
    package: str
    module: str
    settings: str

    @property
    def path(self) -> str:
        """The path to write in `plugins:`."""
        return f"{_HOME}{self.package or self.module}.{self.name}"


PLUGINS = (
    Plugin("ContextParallelPlugin", "context_parallel", "context_parallel.plugin", "ContextParallelArgs"),
    Plugin("CoreWeavePlugin", "coreweave", "coreweave.plugin", "CoreWeaveArgs"),
    Plugin("CutCrossEntropyPlugin", "cut_cross_entropy", "cut_cross_entropy", "CutCrossEntropyArgs"),
    Plugin("DenseMixerPlugin", "densemixer", "densemixer.plugin", "DenseMixerArgs"),
    Plugin("DiffusionDecisionPlugin", "diffusion_decision", "diffusion_decision.plugin", "DiffusionDecisionArgs"),
    Plugin("DiffusionPlugin", "diffusion", "diffusion.plugin", "DiffusionArgs"),
    Plugin("ExpertParallelPlugin", "expert_parallel", "expert_parallel.plugin", "ExpertParallelArgs"),
    Plugin("FlaSm120ShimPlugin", "fla_sm120_shim", "fla_sm120_shim", ""),
    Plugin("GrokfastPlugin", "grokfast", "grokfast", "GrokfastArgs"),
    Plugin("HatcheryPlugin", "hatchery", "hatchery.plugin", "HatcheryArgs"),
    Plugin("KDPlugin", "kd", "kd", "KDArgs"),
    Plugin("KernelsPlugin", "kernels", "kernels.plugin", "KernelsArgs"),
    Plugin("LLMCompressorPlugin", "llm_compressor", "llm_compressor.plugin", "LLMCompressorArgs"),
    Plugin("LMEvalPlugin", "lm_eval", "lm_eval", "LMEvalArgs"),
    Plugin("LigerPlugin", "liger", "liger.plugin", "LigerArgs"),
    Plugin("MixLoraPlugin", "mixlora", "mixlora.plugin", ""),
    Plugin("MoraPlugin", "mora", "mora.plugin", "MoraArgs"),
    Plugin("NebiusCompletionPlugin", "", "nebius.completion", ""),
    Plugin("NemoGymPlugin", "nemo_gym", "nemo_gym.plugin", "NemoGymArgs"),
    Plugin("SpectrumPlugin", "spectrum", "spectrum", "SpectrumArgs"),
    Plugin("SwanLabPlugin", "swanlab", "swanlab.plugins", "SwanLabConfig"),
)
ALWAYS_ON = ("ContextParallelArgs", "ExpertParallelArgs")


def written_paths(raw: Raw) -> list[str]:
    """The texts of `plugins:`, each as a dotted path, in order and without repeats."""
    value = raw.get("plugins")
    texts = [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
    return list(dict.fromkeys(one.replace(":", ".", 1) for one in texts))


def plugin_at(path: str) -> Plugin | None:
    """The plugin that a dotted path names, None when it names none that ships with Axolotl."""
    module, _, name = path.rpartition(".")
    short = module.removeprefix(_HOME)
    if short == module and module.partition(".")[0] in _TAKEN:
        return None
    return next((one for one in PLUGINS if one.name == name and short and short in (one.package, one.module)), None)


def is_on(raw: Raw, settings: str) -> bool:
    """Whether the plugin with this class of settings is on: only then are its keys read and checked."""
    found = (plugin_at(path) for path in written_paths(raw))
    return settings in ALWAYS_ON or any(one is not None and one.settings == settings for one in found)


def list_with(raw: Raw, *paths: str) -> str:
    """The `plugins:` line that holds the written ones and these."""
    value = raw.get("plugins")
    return f"plugins: [{', '.join([*(str(one) for one in value), *paths] if isinstance(value, list) else paths)}]"
