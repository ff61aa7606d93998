"""The two sides of a comparison, from their names: hf:ORG/NAME, a folder, run:FOLDER, ollama:NAME, openai:URL#MODEL, gguf:PATH, scripted:FILE.

Both sides get the prompts in the template that the tuned side was trained with; a run on the same base shares its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelab.config import read_config
from tunelab.data.tokenizer import TextTokenizer, load_tokenizer, tokenizer_for
from tunelab.errors import FolderError, UsageError
from tunelab.facts.model import ensure_weights, find_model
from tunelab.runners.local import LocalModel
from tunelab.runners.prompt import Fed, Prompt, Runner, digest
from tunelab.runners.scripted import ScriptedRunner
from tunelab.runs.folder import RunFolder
from tunelab.runs.store import read_json


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a local side's files lie: base weights, adapter (None: none), and the run's own config (None: not a run)."""

    weights: Path
    adapter: Path | None
    config: Path | None


def open_sides(base: str, tuned: str) -> tuple[Runner, Runner]:
    """The runners of both sides. Raises UsageError, ModelError, FolderError."""
    texts = {"base": base, "tuned": tuned}
    served = {name: opened(text.partition(":")[2], name) for name, text in texts.items() if (opened := _SERVED.get(text.partition(":")[0]))}
    places = {name: _place(text) for name, text in texts.items() if name not in served}
    config = next((place.config for place in reversed(places.values()) if place.config is not None), None)
    if len(places) == 2 and _same_weights(places["base"], places["tuned"]):
        model = _load(places["tuned"], config)
        return model.base_runner(**_facts(places["base"], config)), model.tuned_runner(**_facts(places["tuned"], config))
    sides = {**served, **{name: _load(place, config).tuned_runner(name, **_facts(place, config)) for name, place in places.items()}}
    return sides["base"], sides["tuned"]


def open_judge(name: str) -> Runner:
    """A model that judges answers: any that can be named. Raises UsageError, ModelError."""
    kind, _, rest = name.partition(":")
    if kind in _SERVED:
        return _SERVED[kind](rest, name)
    place = _place(name)
    return _load(place, place.config).tuned_runner(name)


def run_tokenizer(run: Path) -> TextTokenizer:
    """The tokenizer of a run, as training set it up. Raises FolderError, ModelError."""
    folder = RunFolder(run)
    return _tokenizer(find_model(folder.manifest()["base_model"]["folder"]).folder, folder.config_path)


def served_by(target: str) -> Any:
    """Who answers for a name, without loading weights where its tokenizer is enough: a folder's or a Hub model's own template."""
    kind, _, rest = target.partition(":")
    if kind in _SERVED:
        return _SERVED[kind](rest, target)
    place = _place(target)
    return _OwnTemplate(_tokenizer(place.weights, place.config))


@dataclass(frozen=True, slots=True)
class _OwnTemplate:
    """What transformers' apply_chat_template makes of a prompt with a folder's own tokenizer."""

    tokenizer: TextTokenizer

    def fed(self, prompt: Prompt) -> Fed:
        """The text and its token ids."""
        text = prompt.raw or self.tokenizer.render(list(prompt.messages), add_generation_prompt=True)
        return Fed(text, tuple(self.tokenizer.encode(text, special=False)))


def _same_weights(base: _Place, tuned: _Place) -> bool:
    return base.adapter is None and tuned.adapter is not None and base.weights.resolve() == tuned.weights.resolve()


def _scripted(text: str, name: str) -> Runner:
    path = Path(text)
    answers = read_json(path)
    if not isinstance(answers, dict):
        raise UsageError("The file of scripted answers is not a JSON object of prompt id -> answer.", where=str(path))
    return ScriptedRunner(name, {str(key): str(value) for key, value in answers.items()})


def _openai(text: str, name: str) -> Runner:
    from tunelab.runners.openai import open_openai

    return open_openai(text, name)


def _gguf(text: str, name: str) -> Runner:
    from tunelab.runners.gguf import open_gguf

    return open_gguf(text, name)


def _ollama(text: str, name: str) -> Runner:
    from tunelab.runners.ollama import open_ollama

    return open_ollama(text, name)


_SERVED: Mapping[str, Callable[[str, str], Runner]] = {"scripted": _scripted, "openai": _openai, "gguf": _gguf, "ollama": _ollama}
"""Kind -> who opens the rest of a name, for models that are not in this process: (what stands behind the colon, the side's name)."""


def _place(text: str) -> _Place:
    kind, _, rest = text.partition(":")
    if kind == "run":
        return _run(Path(rest))
    path = Path(text)
    if (path / "manifest.json").exists():
        return _run(path)
    return _Place(ensure_weights(find_model(rest if kind == "hf" else text)), None, None)


def _run(path: Path) -> _Place:
    folder = RunFolder(path)
    manifest = folder.manifest()
    if manifest.get("status") != "finished":
        raise FolderError(f"This run is {manifest.get('status')}, not finished.", where=str(path),
                          next_step=f"Finish it: tunelab train {folder.config_path} --resume")
    if folder.adapter is None:
        return _Place(path, None, folder.config_path)
    return _Place(ensure_weights(find_model(manifest["base_model"]["folder"])), folder.adapter, folder.config_path)


def _load(place: _Place, config_path: Path | None) -> LocalModel:
    tokenizer = _tokenizer(place.weights, config_path)

    def render(prompt: Prompt) -> tuple[str, list[int]]:
        text = prompt.raw or tokenizer.render(list(prompt.messages), add_generation_prompt=True)
        return text, tokenizer.encode(text, special=False)

    ends = tuple(token for token in (tokenizer.eos_id,) if token is not None)
    pad = tokenizer.pad_id if tokenizer.pad_id is not None else (ends[0] if ends else 0)
    return LocalModel(place.weights, adapter=place.adapter, render=render, decode=tokenizer.decode, eos_ids=ends, pad_id=pad)


def _facts(place: _Place, config_path: Path | None) -> dict[str, Any]:
    """What the model cannot know of itself: the template that its prompts are put into."""
    template = _tokenizer(place.weights, config_path).chat_template
    return {"template": digest(template) if template else "none", "quantisation": "none"}


def _tokenizer(folder: Path, config_path: Path | None) -> TextTokenizer:
    """The tokenizer as the run set it up, so that both sides read what training wrote."""
    if config_path is None:
        return load_tokenizer(folder)
    return tokenizer_for(folder, read_config(config_path).config_or_raise().model)
