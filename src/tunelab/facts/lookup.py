"""`find_shapes`: a model's shapes from wherever they can be had: a folder, a GGUF file, the Hub's headers, the shipped table.

Nothing is downloaded but the headers: of safetensors files on the Hub the first kilobytes are read by range requests.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tunelab.errors import ModelError
from tunelab.facts.families import read_numbers
from tunelab.facts.gguf import gguf_shapes
from tunelab.facts.known_models import known_model
from tunelab.facts.model import is_hub_id
from tunelab.facts.safetensors_header import as_loaded
from tunelab.facts.shapes import ModelShapes, quantisation, read_model_config, read_shapes, shapes_from_config, shapes_of

_SECONDS = 10.0


def find_shapes(base_model: str, *, network: bool = False) -> ModelShapes | None:
    """The shapes of a model by its name in the config, or None when nothing here knows it. `source` says where they come from.

    Tried in turn: a folder with config.json, a GGUF file (itself, or alone in the folder), with `network` the Hub, then the table of well
    known models. Raises ModelError only for a file that is there and damaged.
    """
    place = Path(base_model).expanduser()
    if place.is_dir() and (place / "config.json").is_file():
        return read_shapes(place)
    gguf = _gguf_at(place)
    if gguf is not None:
        return gguf_shapes(gguf)
    if network and not place.exists() and is_hub_id(base_model):
        found = hub_shapes(base_model)
        if found is not None:
            return found
    return table_shapes(base_model)


def table_shapes(base_model: str) -> ModelShapes | None:
    """The shapes that the shipped table knows for a name, or None."""
    known = known_model(base_model)
    return shapes_from_config(known.config, base_model, f"the table of well known models, as {known.name}") if known is not None else None


def hub_shapes(repo: str) -> ModelShapes | None:
    """The shapes of a Hub model from config.json and the headers of its safetensors files; None when it cannot be reached or has none."""
    from huggingface_hub import get_safetensors_metadata, hf_hub_download

    try:
        config: dict[str, Any] = read_model_config(Path(hf_hub_download(repo, "config.json", etag_timeout=_SECONDS)).parent)
        if quantisation(config):
            return shapes_from_config(config, repo, "the Hub's config.json")
        files = get_safetensors_metadata(repo).files_metadata.values()
    except ModelError:
        raise
    except Exception:  # offline, gated, not found, no safetensors: each with classes of its own, and the table may still know the model
        return None
    tensors = {name: tuple(one.shape) for file in files for name, one in file.tensors.items()}
    dtypes = Counter[str]()
    for file in files:
        dtypes.update(file.parameter_count)
    if not tensors:
        return None
    numbers = read_numbers(config, repo)
    return shapes_of(config, numbers, as_loaded(tensors, numbers.model_type), dtypes.most_common(1)[0][0], "safetensors headers on the Hub")


def _gguf_at(place: Path) -> Path | None:
    """The GGUF file that a name means: itself, or the only one in a folder without config.json (of a split one the first part)."""
    if place.is_file():
        return place if place.suffix.lower() == ".gguf" else None
    if not place.is_dir():
        return None
    files = sorted(place.glob("*.gguf"))
    return files[0] if len(files) == 1 else None
