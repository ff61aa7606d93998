"""`find_model`: the folder that holds a base model's small files, from disk or from the Hub; `ensure_weights` brings the large ones."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunelab.errors import ModelError

# Everything that config, shapes and tokenizer are read from; a few megabytes at most.
_SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                "added_tokens.json", "chat_template.jinja", "chat_template.json", "vocab.json", "merges.txt", "*.safetensors.index.json")
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_SECONDS = 5.0
_MEBIBYTE = 2**20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model's files on disk. `name` is what the config calls it; `is_local` is False for a snapshot in the Hub's cache."""

    name: str
    folder: Path
    is_local: bool


def find_model(base_model: str, *, network: bool = True) -> ModelFolder:
    """The folder of `base_model`: that folder itself, or the Hub snapshot (small files only).

    A snapshot that is in the cache is used as it is, without asking the network; with `network=False` nothing else is looked for.
    Raises ModelError when there is neither.
    """
    place = Path(base_model).expanduser()
    if place.is_dir():
        if not (place / "config.json").is_file():
            raise ModelError(f"The folder {place.absolute()} holds no config.json, so it is not a model in Hugging Face's format.",
                             where="base_model", next_step=_what_is_there(place))
        return ModelFolder(base_model, place.absolute(), True)
    if place.exists():
        raise ModelError(f"{place.absolute()} is a file; expected a folder with config.json and *.safetensors.", where="base_model",
                         next_step="Give the folder that holds the model.")
    if not is_hub_id(base_model):
        raise ModelError(f"There is no folder {place.absolute()}, and {base_model!r} is not a Hub id (ORG/NAME).", where="base_model",
                         next_step="Correct the path; a relative path starts from the folder you are in.")
    cached = _cached(base_model)
    if cached is None and not network:
        raise ModelError(f"There is no folder {place.absolute()}, and {base_model} is not in the Hub's cache.", where="base_model",
                         next_step="It is fetched from the Hub when a run needs it; or give a folder that holds the model.")
    return ModelFolder(base_model, cached or _download(base_model, _SMALL_FILES), False)


def is_hub_id(name: str) -> bool:
    """Whether a name can be a model's id on the Hub (NAME or ORG/NAME)."""
    return _HUB_ID.fullmatch(name) is not None


def ensure_weights(model: ModelFolder) -> Path:
    """The folder with the model's safetensors files, downloaded first when they are not there. Raises ModelError."""
    if has_weights(model.folder):
        return model.folder
    if model.is_local:
        raise ModelError(f"{model.folder} holds no complete *.safetensors weights.", where="base_model",
                         next_step=_convert_hint(model.folder))
    wanted = _weight_files(model.folder) or (_SINGLE,)
    folder = _download(model.name, (*_SMALL_FILES, *wanted), quiet=False)
    if not has_weights(folder):
        raise ModelError(f"The Hub model {model.name} has no weights in the safetensors format.", where="base_model",
                         next_step="Choose a model whose files include model.safetensors.")
    return folder


def weights_fingerprint(folder: Path) -> str:
    """A hash that tells one set of weight files from another without reading all of them: names, sizes, and the first and last mebibyte."""
    digest = hashlib.sha256()
    for path in weight_paths(folder):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}|".encode())
        with path.open("rb") as file:
            digest.update(file.read(_MEBIBYTE))
            file.seek(max(0, size - _MEBIBYTE))
            digest.update(file.read(_MEBIBYTE))
    return digest.hexdigest()


def has_weights(folder: Path) -> bool:
    """Whether all safetensors files that the folder's index names (or a single one) are there."""
    names = _weight_files(folder)
    return bool(names) and all((folder / name).is_file() for name in names)


def weight_paths(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a model folder, in the order of their names; empty when they are not (all) there."""
    return tuple(folder / name for name in _weight_files(folder)) if has_weights(folder) else ()


def _weight_files(folder: Path) -> tuple[str, ...]:
    """File names that the index lists; without an index the single file, or whatever *.safetensors there are."""
    index = folder / _INDEX
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError("The weights' index cannot be read: expected JSON with a weight_map.", where=str(index),
                             next_step="Download the model again.") from error
        if not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ModelError("The weights' index names files outside the model's folder.", where=str(index))
        return tuple(sorted(names))
    if (folder / _SINGLE).is_file():
        return (_SINGLE,)
    return tuple(sorted(path.name for path in folder.glob("*.safetensors") if not path.name.startswith(("adapter", "consolidated"))))


def _cached(repo: str) -> Path | None:
    """The snapshot in the Hub's cache when it holds config and tokenizer."""
    if not (_hub_cache() / f"models--{repo.replace('/', '--')}").is_dir():
        return None  # the usual case on a fresh machine; importing huggingface_hub to hear it takes ten times as long
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repo, allow_patterns=list(_SMALL_FILES), local_files_only=True))
    except (OSError, ValueError):
        return None
    has_tokenizer = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json"))
    return folder if has_tokenizer and (folder / "config.json").is_file() else None


def _hub_cache() -> Path:
    """Where huggingface_hub keeps its snapshots (its documented environment variables)."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named).expanduser() if named else Path(home).expanduser() / "hub"


def _download(repo: str, patterns: Sequence[str], *, quiet: bool = True) -> Path:
    """Fetch files of a Hub model. One short question first, so that a missing network is noticed in seconds."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        with _bars_off(quiet):
            commit = HfApi().model_info(repo, timeout=_SECONDS).sha
            return Path(snapshot_download(repo, revision=commit, allow_patterns=list(patterns), etag_timeout=_SECONDS))
    except Exception as error:  # its HTTP library, and so the classes of its errors, differ among versions of huggingface_hub
        raise _hub_error(repo, error) from error


def _hub_error(repo: str, error: Exception) -> ModelError:
    """What went wrong with the Hub, in words: gated, not found, refused, offline."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    tried = f"There is no folder {Path(repo).absolute()}, and"
    if isinstance(error, GatedRepoError):
        return ModelError(f"{tried} the Hub model {repo} is gated: its owner gives access on request.", where="base_model",
                          next_step=f"Ask for access at https://huggingface.co/{repo}, then: hf auth login")
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(f"{tried} the Hub knows no model {repo} (or it is private).", where="base_model",
                          next_step="Check the spelling; for a private model: hf auth login")
    if isinstance(error, OfflineModeIsEnabled):
        return ModelError(f"{tried} {repo} is not in the Hub's cache, and HF_HUB_OFFLINE forbids to fetch it.", where="base_model",
                          next_step="Unset HF_HUB_OFFLINE, or give a folder that holds the model.")
    if isinstance(error, HfHubHTTPError):
        code = getattr(getattr(error, "response", None), "status_code", "an error")
        return ModelError(f"{tried} the Hub answered {code} for {repo}.", where="base_model",
                          next_step="Try again later, or give a folder that holds the model.")
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return ModelError(f"{repo} could not be stored: {error.strerror}.", where=str(error.filename or "the Hub's cache"),
                          next_step="Free some disk space, or set HF_HOME to a folder with room.")
    return ModelError(f"{tried} the Hub could not be reached to fetch {repo} ({type(error).__name__}).", where="base_model",
                      next_step="Connect to the network, or give a folder that holds the model (tunelab lab brings one along).")


@contextmanager
def _bars_off(quiet: bool) -> Iterator[None]:
    """No progress bars for a few small files; a download of weights shows its own."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    switch = quiet and not are_progress_bars_disabled()
    if switch:
        disable_progress_bars()
    try:
        yield
    finally:
        if switch:
            enable_progress_bars()


def _what_is_there(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "It holds a LoRA adapter: give the base model here, and the adapter as lora_model_dir."
    if any(folder.glob("*.gguf")):
        return "It holds a GGUF file: training needs the safetensors version of the model."
    inner = sorted(path.parent.name for path in folder.glob("*/config.json"))[:3]
    return f"Did you mean the folder {folder / inner[0]}?" if inner else "Give the folder that holds config.json."


def _convert_hint(folder: Path) -> str:
    if any(folder.glob("pytorch_model*.bin")):
        return "It holds pytorch_model.bin, which can run code when it is loaded: save the model again as safetensors."
    return "Download the model again: its weights are missing or not complete."
