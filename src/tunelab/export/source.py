"""What is exported: the adapter of a run, of one of its checkpoints, or of a plain PEFT folder, and the base model that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.errors import FolderError, ModelError, StorageError
from tunelab.facts.adapter import CONFIG, WEIGHTS, read_adapter
from tunelab.facts.model import ModelFolder, ensure_weights, find_model, weights_fingerprint
from tunelab.facts.shapes import quantisation, read_model_config
from tunelab.planning.packing import four_bit_settings
from tunelab.runs.checkpoints import damage
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import read_json


@dataclass(frozen=True, slots=True)
class Source:
    """An adapter and its base. `run` is None for a plain PEFT folder; `step` is the checkpoint's, None for a finished result;
    `quantised` says on what the adapter was trained where that was not the base's own weights ("4-bit weights"), and `packing` are
    bitsandbytes' settings of those."""

    adapter: Path
    base: ModelFolder
    weights: Path
    settings: dict[str, Any]
    run: RunFolder | None = None
    step: int | None = None
    quantised: str | None = None
    packing: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole model: what a run that trained all weights made, one of its checkpoints, or any model folder. `base`: what the run began with,
    where that is at hand."""

    folder: Path
    base: ModelFolder | None = None
    run: RunFolder | None = None
    step: int | None = None


def find_result(place: Path, *, checkpoint: int | None = None, base: str | None = None) -> Source | Whole:
    """The whole model in a folder or run, or else what find_source finds. Raises what that raises."""
    run = RunFolder(place) if (place / "manifest.json").is_file() else None
    folder = place if run is None or checkpoint is None else run.checkpoint(checkpoint)
    if not (folder / "config.json").is_file() or (folder / CONFIG).is_file():
        return find_source(place, checkpoint=checkpoint, base=base)
    if run is None and checkpoint is not None:
        raise FolderError("--checkpoint chooses one of a run's checkpoints, and this folder holds no run.", where=str(place),
                          next_step="Leave --checkpoint out, or give the run's folder.")
    if run is not None and checkpoint is not None and (wrong := damage(folder)) is not None:
        raise StorageError(f"The checkpoint is damaged: {wrong}.", where=str(folder),
                           next_step=f"Choose another; there are {_listed([step for step, _ in run.checkpoints()])}.")
    if kind := quantisation(read_model_config(folder)):
        raise ModelError(f"The model is stored quantised ({kind}); its weights would be rounded twice.", where=str(folder),
                         next_step="Give the original 16-bit model.")
    began = base or (run.manifest().get("base_model") or {}).get("folder") if run is not None else base
    known = None
    with suppress(ModelError):  # it is only measured how far training went
        known = find_model(str(began)) if began else None
    return Whole(folder, known, run, checkpoint)


def find_source(place: Path, *, checkpoint: int | None = None, base: str | None = None) -> Source:
    """The adapter in a run's folder or in a PEFT folder, with the weights of its base (fetched when they are not at hand).

    `base` takes the place of the base that the run or the adapter names. Raises FolderError (nothing to merge, not finished),
    ModelError (adapter or base missing, damaged, of a kind that cannot be merged), StorageError (a damaged checkpoint).
    """
    if (place / "manifest.json").is_file():
        return _of_run(RunFolder(place), checkpoint, base)
    if checkpoint is not None:
        raise FolderError("--checkpoint chooses one of a run's checkpoints, and this folder holds no run.", where=str(place),
                          next_step="Leave --checkpoint out, or give the run's folder.")
    if not place.is_dir():
        raise FolderError("There is no such folder.", where=str(place), next_step="Give the output_dir of a run, or the folder of a PEFT adapter.")
    if (place / CONFIG).is_file():
        settings = _checked(place)
        named = base or settings.get("base_model_name_or_path")
        if not named:
            raise ModelError(f"{CONFIG} does not say which base model the adapter belongs to.", where=str(place),
                             next_step="Name it: --base ORG/NAME, or --base FOLDER")
        return _with_base(Source(place, *_base(str(named), base is None, str(place)), settings))
    if (place / "config.json").is_file():
        raise FolderError("This is a whole model and no adapter: there is nothing to merge.", where=str(place),
                          next_step=f"Use it as it is: tunelab compare BASE {place} --prompts FILE")
    raise FolderError(f"This folder holds neither a run (manifest.json) nor an adapter ({CONFIG}).", where=str(place),
                      next_step="Give the output_dir of a run, or the folder of a PEFT adapter.")


def _checked(folder: Path) -> dict[str, Any]:
    """The settings of an adapter that can be merged; its weights are not loaded. Raises ModelError."""
    saved = read_adapter(folder)
    settings: dict[str, Any] = read_json(folder / CONFIG)
    where = str(folder / CONFIG)
    if settings.get("task_type") not in (None, "CAUSAL_LM"):
        raise ModelError(f"The adapter is one for {settings['task_type']}; only adapters of causal language models are merged.", where=where,
                         next_step="Merge it with peft's merge_and_unload() on the model class that it was trained with.")
    if settings.get("layer_replication"):
        raise ModelError("The adapter repeats layers of the base (layer_replication), and each copy has changes of its own: the base has no weights "
                         "to hold them.", where=where, next_step="Use it as an adapter.")
    if not saved.shapes:
        raise ModelError(f"{WEIGHTS} holds no weight.", where=str(folder), next_step="Copy the adapter again from where it was trained.")
    if saved.changed_base:
        raise ModelError(f"The adapter starts from {saved.changed_base} and was saved without being converted: it belongs to a changed base.",
                         where=where, next_step="Save it with peft's path_initial_model_for_weight_conversion; tunelab's own runs do that.")
    return settings


def _of_run(run: RunFolder, checkpoint: int | None, base: str | None) -> Source:
    manifest = run.manifest()
    _refuse_another_base(run, manifest)
    adapter = _checkpoint(run, checkpoint) if checkpoint is not None else _result(run, manifest)
    named = base or (manifest.get("base_model") or {}).get("folder")
    if not named:
        raise FolderError("The run's manifest does not say what its base model is.", where=str(run.manifest_path), next_step="Name it: --base FOLDER")
    settings = _checked(adapter)
    model, weights = _base(str(named), base is None, str(run.path))
    known = (manifest.get("base_model") or {}).get("fingerprint")
    if base is None and known is not None and known != weights_fingerprint(weights):
        raise ModelError("The base model's files are not those that the run was trained on: they were changed since.", where=str(weights),
                         next_step="Put them back, or name the folder that holds them: --base FOLDER")
    return _with_base(Source(adapter, model, weights, settings, run, checkpoint, *_packing(manifest)))


def _result(run: RunFolder, manifest: dict[str, Any]) -> Path:
    """The folder of the finished adapter. Raises FolderError: not finished, or all weights were trained."""
    status = manifest.get("status")
    if status != "finished":
        steps = [step for step, folder in run.checkpoints() if (folder / WEIGHTS).is_file()]
        named = f"Merge a checkpoint (--checkpoint {steps[-1]}; there are {_listed(steps)}), or finish" if steps else "Finish"
        raise FolderError(f"This run is {status}, not finished, so it has no result to merge.", where=str(run.path),
                          next_step=f"{named} it: tunelab train {run.config_path} --resume")
    if run.adapter is not None:
        return run.adapter
    if (run.path / "config.json").is_file():
        raise FolderError("This run trained all weights, so there is no adapter to merge: its folder is the model.", where=str(run.path),
                          next_step=f"Use it as it is (all but its checkpoints): tunelab compare BASE {run.path} --prompts FILE")
    raise FolderError(f"The run is finished and its {WEIGHTS} is gone.", where=str(run.path),
                      next_step="Merge one of its checkpoints (--checkpoint N), or train again." if run.checkpoints() else "Train again.")


def _checkpoint(run: RunFolder, step: int) -> Path:
    """The folder of a whole checkpoint with an adapter. Raises FolderError, StorageError."""
    folder = run.checkpoint(step)
    steps = [number for number, _ in run.checkpoints()]
    if step not in steps:
        raise FolderError(f"The run has no checkpoint of step {step}.", where=str(run.path),
                          next_step=f"It has {_listed(steps)}." if steps else "It has none: leave --checkpoint out.")
    if (wrong := damage(folder)) is not None:
        raise StorageError(f"The checkpoint is damaged: {wrong}.", where=str(folder), next_step=f"Choose another; there are {_listed(steps)}.")
    if not (folder / WEIGHTS).is_file():
        raise FolderError("This checkpoint holds no adapter: the run trains all weights, and there is nothing to merge.", where=str(folder))
    return folder


def _listed(steps: list[int]) -> str:
    return ", ".join(str(step) for step in steps[-6:])


def _base(named: str, from_record: bool, where: str) -> tuple[ModelFolder, Path]:
    """The base model's folder, twice: as it is named, and the one with the weights."""
    try:
        model = find_model(named)
        return model, ensure_weights(model)
    except ModelError as error:
        if not from_record:
            raise ModelError(error.message, where="--base", next_step=error.next_step) from error
        raise ModelError(f"The base model of this adapter is not at hand: {error.message}", where=where,
                         next_step="Give it: --base FOLDER, or --base ORG/NAME") from error


def _with_base(source: Source) -> Source:
    """The source, when its base has weights of its own to merge into. Raises ModelError for a base that is stored quantised."""
    kind = quantisation(read_model_config(source.weights))
    if kind:
        raise ModelError(f"The base model is stored quantised ({kind}): merging would round twice.", where=str(source.weights),
                         next_step="Name the original 16-bit model: --base ORG/NAME, or --base FOLDER")
    return source


def _refuse_another_base(run: RunFolder, manifest: dict[str, Any]) -> None:
    """Raises ModelError for a run whose adapter belongs to other weights than the base model's files hold."""
    model, adapter = (_section(manifest, name) for name in ("model", "adapter"))
    if model.get("reinit_weights"):
        raise ModelError("The run began with random weights (reinit_weights), which no file holds: there is nothing to merge the adapter into.",
                         where=str(run.path), next_step="Train again without reinit_weights, or without adapter.")
    if (adapter.get("peft") or {}).get("loftq_config"):
        raise ModelError("The adapter was started by LoftQ: it holds what packing the base to 4 bits lost, and added to the original weights, which "
                         "lost nothing, it is another model.", where=str(run.path),
                         next_step="Use it as an adapter on the 4-bit base, or train again without loftq_config.")


def _packing(manifest: dict[str, Any]) -> tuple[str | None, dict[str, Any] | None]:
    """(on what the run trained its adapter, bitsandbytes' settings of it), from its record; (None, None) for plain weights."""
    model = _section(manifest, "model")
    if model.get("load_in_4bit"):
        return "4-bit weights", {"load_in_4bit": True, **four_bit_settings(model.get("bnb_config_kwargs"))}
    return ("8-bit weights", {"load_in_8bit": True}) if model.get("load_in_8bit") else (None, None)


def _section(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    """One section of the config in a run's record."""
    return ((manifest.get("config") or {}).get("sections") or {}).get(name) or {}
