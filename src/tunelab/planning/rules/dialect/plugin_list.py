"""Rules on the list of plugins itself: what is missing from it, misspelt in it, or not told what it needs (TL900-TL903)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Any

from tunelab.config.finding import Finding, Severity
from tunelab.config.known import known_keys
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect.plugins import ALWAYS_ON, PLUGINS, is_on, list_with, plugin_at, written_paths
from tunelab.planning.rules.registry import Context, listed, rule

_SWANLAB = "plugins: [axolotl.integrations.swanlab.SwanLabPlugin]"
_NEMO = "plugins: [axolotl.integrations.nemo_gym.NemoGymPlugin]\nnemo_gym_enabled: true"
_SHOWN = 3


@cache
def _keys_of(settings: str) -> tuple[str, ...]:
    """The top-level keys that a plugin brings."""
    return tuple(key.name for key in known_keys().values() if key.plugin == settings and "." not in key.name)


@rule("TL900", Severity.WARNING, title="Settings of a plugin that is not listed",
      why="A plugin's settings exist only while the plugin is in `plugins`. Without it Axolotl drops them without a word, and the run goes on as "
          "if they were not there.",
      bad=("liger_rope: true", "plugins: [axolotl.integrations.liger.LigerPlugin]\nkd_alpha: 0.9\nkd_temperature: 2.0", "use_swanlab: true",
           "mora: {mora_type: sharing}"),
      good="plugins: [axolotl.integrations.liger.LigerPlugin]\nliger_rope: true\nliger_layer_norm: false")
def plugin_missing(context: Context) -> Iterator[Finding]:
    """A key of a plugin that asks for something, and `plugins` does not list the plugin."""
    for plugin in PLUGINS:
        if not plugin.settings or is_on(context.raw, plugin.settings):
            continue
        keys = [key for key in _keys_of(plugin.settings) if context.raw.truthy(key)]
        if not keys:
            continue
        rest = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        names = f"{', '.join(f'`{key}`' for key in keys[:_SHOWN])}{rest}" if rest else listed(keys)
        one = len(keys) == 1
        yield context.finding(f"{names} {'is a setting' if one else 'are settings'} of {plugin.name}, which `plugins` does not list: Axolotl drops "
                              f"{'it' if one else 'them'} without a word.", keys[0], expected=f"{plugin.path} in `plugins`",
                              fix=list_with(context.raw, plugin.path))


@rule("TL901", Severity.ERROR, title="A plugin that does not exist",
      why="A name in `plugins` is imported before anything else is read; when that fails, Axolotl stops.",
      bad=("plugins: [axolotl.integrations.liger.LigrPlugin]", "plugins: [axolotl.plugins.cut_cross_entropy.CutCrossEntropyPlugin]",
           "plugins: [LigerPlugin]", "plugins: [kernels.KernelsPlugin]"),
      good="plugins: [axolotl.integrations.liger.LigerPlugin, my_package.MyPlugin]")
def unknown_plugin(context: Context) -> Iterator[Finding]:
    """A path that names no plugin: below axolotl, without a module, or with the class of a known plugin elsewhere."""
    paths = written_paths(context.raw)
    for path in paths:
        name = path.rpartition(".")[2]
        known = {one.name: one for one in PLUGINS}
        if plugin_at(path) is not None or ("." in path and not path.startswith("axolotl.") and name not in known):
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        right = known[close[0]].path if close else ""
        hint = f" Did you mean `{right}`?" if right else ""
        what = "names no module to import it from" if "." not in path else "is not a plugin of Axolotl 0.21.0"
        yield context.finding(f"`{path}` {what}.{hint}", "plugins", expected="the dotted path of a plugin's class",
                              fix=f"plugins: [{', '.join(right if one == path else one for one in paths)}]" if right else "")


@rule("TL902", Severity.ERROR, title="One plugin by two paths",
      why="Axolotl joins the settings of all plugins into one class; the same settings twice make that impossible, and it stops with a traceback. "
          "Context and expert parallelism are in already.",
      bad=("plugins: [axolotl.integrations.liger.LigerPlugin, liger.LigerPlugin]",
           "plugins: [axolotl.integrations.context_parallel.plugin.ContextParallelPlugin]"),
      good="plugins: [axolotl.integrations.liger.LigerPlugin, axolotl.integrations.context_parallel.ContextParallelPlugin]")
def plugin_twice(context: Context) -> Iterator[Finding]:
    """Two paths to one plugin that has settings."""
    seen = {one.settings: one.path for one in PLUGINS if one.settings in ALWAYS_ON}
    for path in written_paths(context.raw):
        plugin = plugin_at(path)
        if plugin is None or not plugin.settings:
            continue
        if seen.setdefault(plugin.settings, path) != path:
            rest = [one for one in written_paths(context.raw) if one != path]
            yield context.finding(f"`{path}` and `{seen[plugin.settings]}` are one plugin.", "plugins", expected=f"only {plugin.path}",
                                  fix=f"plugins: [{', '.join(rest)}]" if rest else "delete `plugins`")


@rule("TL903", Severity.ERROR, title="A plugin is not told what it needs",
      why="The plugin is on as soon as it is listed, and stops the run when its required settings are missing.",
      bad=(_SWANLAB, f"{_SWANLAB}\nuse_swanlab: false\nswanlab_project: ' '", f"{_NEMO}\nnemo_gym_datasets: [{{path: a.jsonl}}]",
           f"{_NEMO}\nnemo_gym_config_paths: [a.yaml]", "plugins: [axolotl.integrations.llm_compressor.LLMCompressorPlugin]",
           "plugins: [axolotl.integrations.coreweave.CoreWeavePlugin]"),
      good=f"{_SWANLAB}\nswanlab_project: mine")
def plugin_needs(context: Context) -> Iterator[Finding]:
    """SwanLab without a project, NeMo Gym without servers or data, LLM Compressor without a recipe, CoreWeave without a deployment."""
    for key, message, fix in _needs(context.raw):
        yield context.finding(message, key, expected=fix, fix=fix)


def _needs(raw: Raw) -> Iterator[tuple[str, str, str]]:
    """(where, what is missing, the edit)."""
    project = raw.get("swanlab_project")
    if is_on(raw, "SwanLabConfig"):
        if isinstance(project, str) and not project.strip():
            yield "swanlab_project", "`swanlab_project` is blank; a project has a name.", "swanlab_project: my-project"
        elif not project and raw.get("use_swanlab", True) is True:
            yield "plugins", "SwanLabPlugin is on, and `swanlab_project` does not say where to.", "swanlab_project: my-project"
    if is_on(raw, "NemoGymArgs") and raw.truthy("nemo_gym_enabled"):
        if not raw.truthy("nemo_gym_config_paths") and raw.get("nemo_gym_auto_start", True):
            yield "nemo_gym_enabled", "`nemo_gym_enabled` starts servers, and `nemo_gym_config_paths` names none.", "nemo_gym_auto_start: false"
        if not raw.truthy("nemo_gym_datasets"):
            yield "nemo_gym_enabled", "`nemo_gym_enabled` is on, and `nemo_gym_datasets` names no data.", "nemo_gym_datasets: [{path: data.jsonl}]"
    if is_on(raw, "LLMCompressorArgs") and _lacks(raw.get("llmcompressor"), "recipe"):
        yield ("llmcompressor" if raw.written("llmcompressor") else "plugins",
               "LLMCompressorPlugin is on, and no `llmcompressor.recipe` says how to compress.", "llmcompressor: {recipe: recipe.yaml}")
    if is_on(raw, "CoreWeaveArgs") and not raw.truthy("coreweave"):
        yield "plugins", "CoreWeavePlugin is on, and no `coreweave` block names a deployment.", ""
    if is_on(raw, "DiffusionDecisionArgs") and raw.written("diffusion_decision") and not raw.written("diffusion_lm"):
        yield "diffusion_decision", "`diffusion_decision` trains a diffusion model, and there is no `diffusion_lm`.", "diffusion_lm: {}"


def _lacks(block: Any, key: str) -> bool:
    return not isinstance(block, dict) or key not in block
