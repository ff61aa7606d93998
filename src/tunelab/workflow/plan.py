"""plan: what a run will take, before it takes it."""

from __future__ import annotations

from dataclasses import dataclass

from tunelab.config import Config
from tunelab.config.finding import Finding
from tunelab.errors import ModelError, needs
from tunelab.facts.model import ModelFolder
from tunelab.planning.plan import Plan, make_plan
from tunelab.workflow.opening import Loaded, load_data, open_config


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and the findings that do not stop the run. `missing` says what was not at hand, so that the plan is silent about it."""

    path: str
    plan: Plan
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]


def plan(path: str, *, calibrate: bool = False, tokens_per_second: float | None = None) -> Planned:
    """Plan a run. `calibrate` takes a few real steps to predict the time (needs torch), unless the speed is given.

    Raises ConfigError, DataError.
    """
    opened = open_config(path)
    config = opened.config_or_raise()
    loaded, missing = None, []
    if opened.model is None:
        missing.append(f"the base model {config.model.base_model} is not on this disk: no token counts, no steps, no exact parameters")
    else:
        loaded, why = _load(config, opened.model)
        missing.extend(why)
    speed = measured_speed(path) if calibrate and loaded is not None and tokens_per_second is None else tokens_per_second
    made = make_plan(config, opened.shapes, opened.machine, loaded.facts if loaded else None, speed)
    return Planned(path, made, opened.findings, tuple(missing))


def measured_speed(path: str) -> float:
    """Tokens per second of this config on this machine, from a few real steps that are thrown away."""
    with needs("train", "Measuring the speed"):
        from tunelab.training.calibrate import tokens_per_second
    from tunelab.workflow.train import prepare_job

    return tokens_per_second(prepare_job(open_config(path))[1])


def _load(config: Config, model: ModelFolder) -> tuple[Loaded | None, list[str]]:
    """The data; a model folder without a tokenizer leaves the plan without token counts instead of failing it."""
    try:
        return load_data(config, model), []
    except ModelError as error:
        return None, [f"no token counts and no steps: {error.message}"]
