"""`read_config`: a YAML file -> a frozen, typed `Config` and everything there is to say about the text itself.

Keys and values are judged here one by one; what depends on several keys, on the model or on this machine is judged in
`planning.rules`. A config with errors still comes back as far as it can be read, so that one call finds them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from tunelab.config import value_types
from tunelab.config.catalogue import SECTIONS, nested_section, section_of, takes
from tunelab.config.finding import Finding, KeyPath, Severity, dotted, errors_of, general, stops_of
from tunelab.config.judge import finding_at, judge, shown, wrong_value
from tunelab.config.known import known_keys, names
from tunelab.config.raw import Raw
from tunelab.config.sections.adapter import AdapterSection
from tunelab.config.sections.data import DataSection
from tunelab.config.sections.distributed import DistributedSection
from tunelab.config.sections.hardware import HardwareSection
from tunelab.config.sections.loss import LossSection
from tunelab.config.sections.model import ModelSection
from tunelab.config.sections.optimisation import OptimisationSection
from tunelab.config.sections.preference import PreferenceSection
from tunelab.config.sections.run import RunSection
from tunelab.config.sections.tracking import TrackingSection
from tunelab.config.setting import Section
from tunelab.config.source import Source, read_source
from tunelab.errors import ConfigError

# What stands in for a required key that is not written, so that everything else is still judged; TL103 stops the run.
_STAND_IN: Mapping[str, Mapping[str, Any]] = {
    "model": {"base_model": "(not written)"}, "data": {"datasets": [{"path": "(not written)", "type": "alpaca"}]},
    "optimisation": {"learning_rate": 0.0001},
}
_OFF_AT_ZERO = ("evals_per_epoch", "saves_per_epoch", "eval_steps", "save_steps", "max_steps", "early_stopping_patience")
_PARSING = frozenset({"float_parsing", "int_parsing", "bool_parsing"})
_BOUNDS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal", "too_short", "string_too_short"})


@dataclass(frozen=True)
class Config:
    """What the user asked for. `source` keeps the text and the line of each key, `raw` the values as written."""

    source: Source
    raw: Raw
    model: ModelSection
    data: DataSection
    adapter: AdapterSection
    optimisation: OptimisationSection
    loss: LossSection
    preference: PreferenceSection
    hardware: HardwareSection
    distributed: DistributedSection
    run: RunSection
    tracking: TrackingSection

    def section(self, name: str) -> Section:
        """A section by its name in the catalogue."""
        return cast(Section, getattr(self, name))

    def value(self, key: str) -> Any:
        """The value of a top-level key, after defaults."""
        owner = section_of(key)
        if owner is None:
            raise KeyError(key)
        return getattr(self.section(owner), key)

    def finding(self, code: str, severity: Severity, message: str, *path: str | int, expected: str = "", fix: str = "",
                safe: bool = False) -> Finding:
        """A finding at the place of a key of this config."""
        return replace(finding_at(self.source, code, severity, message, path, expected=expected, fix=fix), safe=safe)


@dataclass(frozen=True)
class Reading:
    """A config as far as it could be read, and all findings about its keys and values, in the order of the lines.

    `config` holds defaults (or a stand-in) where a value was wrong or a required key is missing: the findings say so.
    """

    source: Source
    config: Config
    findings: tuple[Finding, ...]

    def config_or_raise(self) -> Config:
        """The config, or a ConfigError that carries every finding when something stops a run."""
        if stops_of(self.findings):
            raise config_error(self.source, self.findings)
        return self.config


def config_error(source: Source, findings: tuple[Finding, ...]) -> ConfigError:
    """The exception for a config that cannot be run."""
    wrong, stops = len(errors_of(findings)), len(stops_of(findings))
    said = (f"{wrong} error{'s' if wrong != 1 else ''} in the config." if wrong else
            f"The config is right, but {stops} of its settings cannot be run by this version or on this machine.")
    return ConfigError(said, findings=findings, where=str(source.path), next_step=f"Mend the lines above, then: tunelab check {source.path}")


def read_config(path: Path | str) -> Reading:
    """Read a config file. Raises ConfigError only when the text is not a YAML mapping at all."""
    source, values = read_source(Path(path))
    return read_values(source, values)


def read_values(source: Source, values: dict[str, Any]) -> Reading:
    """The same for a mapping that is already parsed."""
    findings = list(judge(source, values))
    by_section: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for key, value in _modern(values).items():
        owner = section_of(key)
        if owner is not None and not (value is None and not _accepts_none(SECTIONS[owner], key)):
            by_section[owner][key] = value
    sections = {name: _build(name, by_section[name], source, findings, values) for name in SECTIONS}
    findings.sort(key=lambda one: (one.line or 0, one.key))
    return Reading(source, Config(source=source, raw=Raw(values), **cast(Any, sections)), tuple(findings))


def _modern(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values under their modern names: an old spelling counts where the modern one is not written, as in Axolotl. 0 is "off" for a count
    of times."""
    renamed = {known.replaced_by: value for key, value in values.items()
               if (known := known_keys().get(key)) is not None and known.status == "deprecated" and section_of(known.replaced_by)}
    off = {key: None for key in _OFF_AT_ZERO if values.get(key) in (0, -1) and values.get(key) is not False}
    return {**renamed, **values, **off} if renamed or off else values


def _accepts_none(model: type[Section], key: str) -> bool:
    """A bare `key:` means its default where the field has no null of its own, as in Axolotl."""
    return type(None) in getattr(model.model_fields[key].annotation, "__args__", ())


def _build(name: str, values: Mapping[str, Any], source: Source, findings: list[Finding], written: Mapping[str, Any]) -> Section:
    """Validate one section; on errors note them all, then build it again without the offending keys."""
    model = SECTIONS[name]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        bad = list(_errors(error, model))
    seen = {(one.key, one.line) for one in findings if one.severity is not Severity.NOTE}
    for path, kind, found in bad:
        finding = _describe(source, path, kind, found, model, written)
        if finding is not None and (finding.key, finding.line) not in seen:
            findings.append(finding)
    kept = _without(values, {path for path, _, _ in bad})
    try:
        return model.model_validate({**_STAND_IN.get(name, {}), **kept})
    except ValidationError:  # a required key inside an entry: the entry goes, the rest is judged
        gone = {path[0] for path, _, _ in bad}
        return model.model_validate({**_STAND_IN.get(name, {}), **{key: value for key, value in kept.items() if key not in gone}})


def _errors(error: ValidationError, model: type[Section]) -> Iterator[tuple[KeyPath, str, Any]]:
    """(key path, pydantic's error type, found value), one per key: the branches of a union are one error."""
    items = error.errors(include_url=False, include_context=False)
    found = [(_real_path(item["loc"], model, item["type"]), item["type"], item["input"]) for item in items]
    # Of the branches of a union, the one whose error lies deepest was meant: a mapping with a wrong key is no "expected text".
    holders = {path[:end] for path, _, _ in found for end in range(1, len(path))}
    seen: set[KeyPath] = set()
    for path, kind, value in found:
        if path not in seen and path not in holders:
            seen.add(path)
            yield path, kind, value


def _real_path(loc: tuple[int | str, ...], model: type[Section], kind: str) -> KeyPath:
    """Cut the parts of pydantic's location that name a union's branch rather than a key."""
    path: list[str | int] = []
    current: type[Section] | None = model
    for part in loc:
        if isinstance(part, int):
            path.append(part)
        elif current is not None and part in current.model_fields:
            path.append(part)
            current = nested_section(current.model_fields[part])[0]
        elif current is not None and path and part == loc[-1] and kind == "extra_forbidden":
            path.append(part)  # an extra key inside a nested section
        elif not path:
            path.append(part)
    return tuple(path)


def _describe(source: Source, path: KeyPath, kind: str, found: Any, model: type[Section], written: Mapping[str, Any]) -> Finding | None:
    """The finding for one of pydantic's errors; None where `judge` has already said it (a key that is no field)."""
    info, _ = _field_at(model, path)
    name = dotted(path)
    if info is None:
        return None
    expected = takes(info)
    if kind == "missing":
        if name == "datasets" and written.get("pretraining_dataset"):
            return None
        return finding_at(source, "TL103", Severity.ERROR, f"`{name}` is required and not written.", path, expected=expected,
                          fix=f"{path[-1]}: ...")
    known = known_keys().get(general(path))
    if known is not None and kind not in _BOUNDS and kind not in _PARSING and value_types.accepts(known.type, found) and _is_a_name(known.name, found):
        return finding_at(source, "TL107", Severity.BLOCKED, f"`{name}: {shown(found)}` is understood, and this version of tunelab does not "
                          "act on it.", path, expected=expected)
    options = value_types.choices(known.type) if known is not None else ()
    return wrong_value(source, path, found, expected, (*options, *names(str(path[-1]))))


def _is_a_name(key: str, found: Any) -> bool:
    """Whether a text that names one of a list is on it; true where there is no list."""
    return not names(key) or not isinstance(found, str) or found in names(key)


def _field_at(model: type[Section], path: KeyPath) -> tuple[Any, type[Section]]:
    owner: type[Section] = model
    info = None
    for part in path:
        if isinstance(part, int):
            continue
        info = owner.model_fields.get(part)
        if info is None:
            return None, owner
        owner = nested_section(info)[0] or owner
    return info, owner


def _without(values: Any, bad: set[KeyPath], path: KeyPath = ()) -> Any:
    if isinstance(values, Mapping):
        return {key: _without(value, bad, (*path, key)) for key, value in values.items() if (*path, key) not in bad}
    if isinstance(values, list):
        return [_without(value, bad, (*path, index)) for index, value in enumerate(values) if (*path, index) not in bad]
    return values
