"""explain: what each setting means, and what it does in this run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tunelab.config.finding import Finding
from tunelab.errors import TunelabError
from tunelab.planning.changes import SilentChange, silent_changes
from tunelab.planning.explain import Explanation, explain_key
from tunelab.planning.explain import explain as explain_config
from tunelab.planning.steps import StepPlan
from tunelab.workflow.opening import Opened, load_data, open_config, open_text


@dataclass(frozen=True, slots=True)
class Explained:
    """Explanations in reading order; `path` is empty when keys were looked up without a config. `in_depth`: single keys were asked for.
    `changes`: what Axolotl makes of the config without a word."""

    path: str
    explanations: tuple[Explanation, ...]
    findings: tuple[Finding, ...]
    in_depth: bool
    changes: tuple[SilentChange, ...] = ()


def explain(config: str, keys: tuple[str, ...] = ()) -> Explained:
    """Explain a config (or some keys of it); a name that is no file is looked up as a key. Raises ConfigError, UsageError."""
    if not Path(config).exists() and not config.endswith((".yml", ".yaml")) and "/" not in config:
        return Explained("", tuple(explain_key(key) for key in (config, *keys)), (), True)
    opened = open_config(config)
    found = explain_config(opened.config, opened.machine, opened.shapes, _steps(opened), keys)
    changes = () if keys else silent_changes(opened.config, opened.machine)
    return Explained(config, found, opened.findings, bool(keys), changes)


def explain_text(name: str, text: str) -> Explained:
    """Explain a config that is at hand as text only, such as one on a model card; `name` is what findings call it. It is somebody else's, so
    that no model and no data that it names is looked for. Raises ConfigError."""
    opened = open_text(name, text)
    return Explained(name, explain_config(opened.config, opened.machine, None), opened.findings, False)


def _steps(opened: Opened) -> StepPlan | None:
    """The exact steps when model and data are at hand; explaining must not fail because they are not."""
    if opened.model is None:
        return None
    try:
        return load_data(opened.config, opened.model).schedule.steps
    except TunelabError:
        return None
