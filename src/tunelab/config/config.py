"""`read_config`: a YAML file -> a frozen, typed `Config` and everything there is to say about the text itself.

Keys and values are judged here one by one; what depends on several keys, on the model or on this machine is judged in
`planning.rules`. A config with errors still comes back as far as it can be read, so that one call finds them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from tunelab.config.catalogue import SECTIONS, axolotl_keys, nested_section, section_of, takes
from tunelab.config.finding import Finding, KeyPath, Severity, dotted, errors_of
from tunelab.config.sections.adapter import AdapterSection
from tunelab.config.sections.data import DataSection
from tunelab.config.sections.hardware import HardwareSection
from tunelab.config.sections.model import ModelSection
from tunelab.config.sections.optimisation import OptimisationSection
from tunelab.config.sections.run import RunSection
from tunelab.config.setting import Section
from tunelab.config.source import Source, read_source
from tunelab.errors import ConfigError

# Axolotl keys that steer logging, uploads or speed but never what is learnt: not acting on them is safe to do aloud.
_HARMLESS = ("wandb_", "mlflow_", "use_mlflow", "comet_", "use_comet", "trackio_", "use_trackio", "swanlab_", "use_swanlab", "gradio_",
             "hub_", "push_to_hub", "use_otel", "otel_", "use_wandb", "use_tensorboard", "use_ray", "ray_", "dataloader_",
             "dataset_num_proc", "dataset_keep_in_memory", "dataset_exact_", "flash_attn_", "xformers_attention", "sdp_attention",
             "eager_attention", "s2_attention", "flex_attention", "sage_attention", "torch_compile", "ddp", "debug", "profiler_",
             "include_tokens_per_second", "save_safetensors", "save_only_model", "group_by_length", "hf_use_auth_token", "low_cpu_mem_usage",
             "is_llama_derived_model", "is_mistral_derived_model", "is_falcon_derived_model", "is_qwen_derived_model", "liger_",
             "cut_cross_entropy", "chunked_cross_entropy", "tokenizer_use_fast", "eval_table_size", "eval_max_new_tokens", "device",
             "local_rank", "world_size", "type_of_model", "axolotl_config_path", "experimental_skip_move_to_device")


@dataclass(frozen=True)
class Config:
    """What the user asked for. `source` keeps the text and the line of each key."""

    source: Source
    model: ModelSection
    data: DataSection
    adapter: AdapterSection
    optimisation: OptimisationSection
    hardware: HardwareSection
    run: RunSection

    def section(self, name: str) -> Section:
        """A section by its name in the catalogue."""
        return cast(Section, getattr(self, name))

    def value(self, key: str) -> Any:
        """The value of a top-level key, after defaults."""
        owner = section_of(key)
        if owner is None:
            raise KeyError(key)
        return getattr(self.section(owner), key)

    def finding(self, code: str, severity: Severity, message: str, *path: str | int, expected: str = "", fix: str = "") -> Finding:
        """A finding at the place of a key of this config."""
        return finding_at(self.source, code, severity, message, path, expected=expected, fix=fix)


@dataclass(frozen=True)
class Reading:
    """A config as far as it could be read, and all findings about its keys and values, in the order of the lines."""

    source: Source
    config: Config | None
    findings: tuple[Finding, ...]

    def config_or_raise(self) -> Config:
        """The config, or a ConfigError that carries every finding."""
        errors = errors_of(self.findings)
        if self.config is None or errors:
            raise config_error(self.source, self.findings)
        return self.config


def config_error(source: Source, findings: tuple[Finding, ...]) -> ConfigError:
    """The exception for a config that cannot be run."""
    count = len(errors_of(findings))
    return ConfigError(f"{count} error{'s' if count != 1 else ''} in the config.", findings=findings, where=str(source.path),
                       next_step=f"Mend the lines above, then: tunelab check {source.path}")


def read_config(path: Path | str) -> Reading:
    """Read a config file. Raises ConfigError only when the text is not a YAML mapping at all."""
    source, values = read_source(Path(path))
    findings: list[Finding] = []
    by_section: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for key, value in values.items():
        owner = section_of(key)
        if owner is None:
            findings.append(_unknown(source, (key,), [name for model in SECTIONS.values() for name in model.model_fields]))
        elif not (value is None and not _accepts_none(SECTIONS[owner], key)):
            by_section[owner][key] = value
    sections = {name: _build(model, by_section[name], source, findings) for name, model in SECTIONS.items()}
    findings.sort(key=lambda one: (one.line or 0, one.key))
    complete = {name: section for name, section in sections.items() if section is not None}
    config = Config(source=source, **cast(Any, complete)) if len(complete) == len(SECTIONS) else None
    return Reading(source, config, tuple(findings))


def finding_at(source: Source, code: str, severity: Severity, message: str, path: KeyPath, *, expected: str = "",
               fix: str = "") -> Finding:
    """A finding at the place where `path` stands in the file (or nearest to it)."""
    place = source.position(path)
    return Finding(code, severity, message, dotted(path), place.line if place else None, place.column if place else None, expected, fix)


def _accepts_none(model: type[Section], key: str) -> bool:
    """A bare `key:` means its default where the field has no null of its own, as in Axolotl."""
    return type(None) in getattr(model.model_fields[key].annotation, "__args__", ())


def _build(model: type[Section], values: Mapping[str, Any], source: Source, findings: list[Finding]) -> Section | None:
    """Validate one section; on errors note them all, then build it again without the offending keys."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        bad = list(_errors(error, model))
    findings.extend(_describe(source, path, kind, found, model) for path, kind, found in bad)
    kept = _without(values, {path for path, _, _ in bad})
    try:
        return model.model_validate(kept)
    except ValidationError:
        return None


def _errors(error: ValidationError, model: type[Section]) -> Iterator[tuple[KeyPath, str, Any]]:
    """(key path, pydantic's error type, found value), one per key: the branches of a union are one error."""
    seen: set[KeyPath] = set()
    for item in error.errors(include_url=False, include_context=False):
        path = _real_path(item["loc"], model)
        if path not in seen:
            seen.add(path)
            yield path, item["type"], item["input"]


def _real_path(loc: tuple[int | str, ...], model: type[Section]) -> KeyPath:
    """Cut the parts of pydantic's location that name a union's branch rather than a key."""
    path: list[str | int] = []
    current: type[Section] | None = model
    for part in loc:
        if isinstance(part, int):
            path.append(part)
        elif current is not None and part in current.model_fields:
            path.append(part)
            current = nested_section(current.model_fields[part])[0]
        elif current is not None and path and part == loc[-1]:
            path.append(part)  # an extra key inside a nested section
        elif not path:
            path.append(part)
    return tuple(path)


def _describe(source: Source, path: KeyPath, kind: str, found: Any, model: type[Section]) -> Finding:
    info, owner = _field_at(model, path)
    name = dotted(path)
    if info is None:
        return _unknown(source, path, list(owner.model_fields))
    expected = takes(info)
    if kind == "missing":
        return finding_at(source, "TL103", Severity.ERROR, f"`{name}` is required and not written.", path, expected=expected,
                          fix=f"{path[-1]}: ...")
    return finding_at(source, "TL102", Severity.ERROR, f"`{name}` is {_shown(found)}; expected {expected}.", path, expected=expected)


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


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown(source: Source, path: KeyPath, siblings: list[str]) -> Finding:
    name = str(path[-1])
    general = dotted(tuple("[]" if isinstance(part, int) else part for part in path)).replace(".[]", "[]")
    known = axolotl_keys().get(general)
    if known is not None and known.status == "removed":
        instead = f" Use {known.replaced_by}." if known.replaced_by else ""
        return finding_at(source, "TL104", Severity.ERROR, f"`{name}` was removed from Axolotl.{instead}", path,
                          fix=f"delete `{name}`" + (f", write {known.replaced_by}" if known.replaced_by else ""))
    if known is not None and general.startswith(_HARMLESS):
        return finding_at(source, "TL105", Severity.WARNING,
                          f"`{name}` is an Axolotl setting that tunelab understands but does not act on; the training itself is the same.", path)
    if known is not None:
        return finding_at(source, "TL106", Severity.ERROR,
                          f"`{name}` is an Axolotl setting that this version of tunelab does not act on, and it would change the training.",
                          path, fix=f"delete `{name}` to train without it")
    guess = _closest(name, siblings)
    hint = f" Did you mean `{guess}`?" if guess else ""
    return finding_at(source, "TL101", Severity.ERROR, f"`{name}` is not a setting.{hint}", path,
                      fix=f"rename `{name}` to `{guess}`" if guess else f"delete `{name}`")


def _closest(name: str, siblings: list[str]) -> str | None:
    import difflib

    candidates = [*siblings, *(key for key in axolotl_keys() if "." not in key)]
    matches = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.72)
    return matches[0] if matches else None


def _without(values: Any, bad: set[KeyPath], path: KeyPath = ()) -> Any:
    if isinstance(values, Mapping):
        return {key: _without(value, bad, (*path, key)) for key, value in values.items() if (*path, key) not in bad}
    if isinstance(values, list):
        return [_without(value, bad, (*path, index)) for index, value in enumerate(values) if (*path, index) not in bad]
    return values
