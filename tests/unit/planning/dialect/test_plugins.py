"""Plugin rules: which plugins are on, and the conditions that one example cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.planning.test_rules import found

from tunelab.config.finding import Severity
from tunelab.config.known import known_keys
from tunelab.config.raw import Raw
from tunelab.planning.rules.dialect.plugins import ALWAYS_ON, PLUGINS, is_on, plugin_at

LIGER = "plugins: [axolotl.integrations.liger.LigerPlugin]"
KERNELS = "plugins: [axolotl.integrations.kernels.KernelsPlugin]\nuse_kernels: true"


def test_every_plugin_of_the_key_table_is_known() -> None:
    assert {key.plugin for key in known_keys().values()} - {""} <= {plugin.settings for plugin in PLUGINS}
    assert all(plugin_at(plugin.path) is plugin for plugin in PLUGINS)


@pytest.mark.parametrize("path", ["axolotl.integrations.liger.LigerPlugin", "axolotl.integrations.liger:LigerPlugin", "liger.LigerPlugin",
                                  "axolotl.integrations.liger.plugin.LigerPlugin"])
def test_a_plugin_is_on_by_each_of_its_paths(path: str, tmp_path: Path) -> None:
    assert is_on(Raw({"plugins": [path]}), "LigerArgs")
    assert {"TL900", "TL901"}.isdisjoint(found(tmp_path, f"plugins: ['{path}']\nliger_rope: true"))


@pytest.mark.parametrize("path", ["LigerPlugin", "axolotl.LigerPlugin", "axolotl.integrations.liger.ligerplugin", "swanlab.SwanLabPlugin"])
def test_a_wrong_path_turns_nothing_on_and_is_mended(path: str, tmp_path: Path) -> None:
    findings = found(tmp_path, f"plugins: [{path}, mine.MyPlugin]")
    assert findings["TL901"].fix.endswith("Plugin, mine.MyPlugin]") and "axolotl.integrations." in findings["TL901"].fix


def test_plugins_that_are_always_on_need_no_listing(tmp_path: Path) -> None:
    assert all(is_on(Raw({}), settings) for settings in ALWAYS_ON)
    assert "TL900" not in found(tmp_path, "context_parallel: {size: 2}")


def test_settings_of_a_missing_plugin_are_said_once_a_plugin_and_off_ones_never(tmp_path: Path) -> None:
    finding = found(tmp_path, "kd_alpha: 0.9\nkd_ce_alpha: 0.1\nkd_temperature: 2.0\nkd_beta: 0.5\nplugins: [mine.Own]")["TL900"]
    assert "and 1 more" in finding.message and finding.fix == "plugins: [mine.Own, axolotl.integrations.kd.KDPlugin]"
    assert "TL900" not in found(tmp_path, "liger_rope: false\nuse_swanlab: false")


def test_a_plugins_rules_are_silent_without_the_plugin(tmp_path: Path) -> None:
    codes = set(found(tmp_path, "cut_cross_entropy: true\nliger_use_token_scaling: true\nexpert_backend: nonsense\nswanlab_mode: online"))
    assert codes & {f"TL{number}" for number in range(901, 930)} == set()


def test_what_axolotl_takes_anyway_is_a_safe_edit(tmp_path: Path) -> None:
    cut = "plugins: [axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin]\ncut_cross_entropy: true"
    assert found(tmp_path, cut)["TL904"].safe and not found(tmp_path, f"{cut}\nbf16: false")["TL904"].safe
    tiled = f"{LIGER}\nliger_glu_activation: true\ntiled_mlp: true"
    assert found(tmp_path, tiled)["TL909"].safe and not found(tmp_path, f"{tiled}\ntiled_mlp_use_original_mlp: false")["TL909"].safe


def test_the_size_of_context_parallelism_may_stand_outside_its_block(tmp_path: Path) -> None:
    assert "TL911" in found(tmp_path, "context_parallel: {ulysses_size: 3}\ncontext_parallel_size: 4")
    assert "TL911" not in found(tmp_path, "context_parallel: {ulysses_size: 2}\ncontext_parallel_size: 4")


def test_an_old_name_of_the_experts_chooses_its_backend(tmp_path: Path) -> None:
    old = f"{KERNELS}\nexperts_implementation: deep_ep_scattermoe"
    assert {"TL923", "TL925"}.isdisjoint(found(tmp_path, old))
    assert "TL918" in found(tmp_path, f"{old}\nnvfp4_merge_aware: true\nadapter: lora")


def test_a_start_step_is_only_judged_where_it_is_read(tmp_path: Path) -> None:
    step = f"{KERNELS}\nnvfp4_merge_aware_start_step: 1.5\n"
    assert "TL913" in found(tmp_path, step + "adapter: lora\nnvfp4_merge_aware: true")
    findings = found(tmp_path, step + "nvfp4_merge_aware: false")
    assert "TL913" not in findings and findings["TL919"].key == "nvfp4_merge_aware_start_step"


def test_a_step_counts_from_zero_and_a_part_lies_inside(tmp_path: Path) -> None:
    lora = f"{KERNELS}\nadapter: lora\nnvfp4_merge_aware: true\nnvfp4_merge_aware_start_step: "
    assert "TL913" not in found(tmp_path, lora + "0") and "TL913" not in found(tmp_path, lora + "0.25")
    assert "TL913" in found(tmp_path, lora + "1.0")


def test_swanlab_needs_no_project_when_it_is_off(tmp_path: Path) -> None:
    plugin = "plugins: [axolotl.integrations.swanlab.SwanLabPlugin]\nuse_swanlab: false"
    assert {"TL903", "TL942"}.isdisjoint(found(tmp_path, plugin))
    assert found(tmp_path, f"{plugin}\nswanlab_project: mine")["TL942"].severity is Severity.NOTE
