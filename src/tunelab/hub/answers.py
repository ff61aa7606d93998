"""The Hub's answers as `ModelRecord`s. Whatever stands in them: a field of another type than it should be is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tunelab.hub.card import EMPTY, Card, read_card
from tunelab.hub.record import ModelRecord

API = "the Hub's metadata"
"""The file name of a card that is made of what the Hub's API says of its front matter."""
RELATIONS = ("finetune", "adapter", "merge", "quantized")
MAX_FILES = 20_000


def record_of(answer: Mapping[str, Any]) -> ModelRecord:
    """A model from the API's fields, by their names there (a row of the list, a model's description, a row of a statistics dump)."""
    tags = _texts(answer.get("tags"))
    safetensors, gguf = _mapping(answer.get("safetensors")), _mapping(answer.get("gguf"))
    tensors = {str(name): count for name, value in _mapping(safetensors.get("parameters")).items() if (count := _count(value)) is not None}
    total = _count(safetensors.get("total")) or sum(tensors.values()) or _count(gguf.get("total")) or None
    children = answer.get("childrenModelCount")
    return ModelRecord(
        name=str(answer.get("id") or answer.get("modelId") or ""), is_hub_id=True, tags=tags, pipeline_tag=_text(answer.get("pipeline_tag")),
        library=_text(answer.get("library_name")), config=_mapping(answer.get("config")),
        parents=tuple(dict.fromkeys((*_parents(answer.get("baseModels")), *tagged_parents(tags)))),
        children={name: count for name, value in (_mapping(children) or {"": children}).items() if (count := _count(value))},
        files=_files(answer.get("siblings")), tensors=tensors, parameters=total, gguf=gguf, downloads=_count(answer.get("downloads")),
        likes=_count(answer.get("likes")), created=_date(answer.get("createdAt")), updated=_date(answer.get("lastModified")),
        gated=_gated(answer.get("gated")))


def card_of(metadata: Any) -> Card:
    """A card with nothing but the front matter that the Hub's API tells, for a model whose README cannot be read."""
    if not isinstance(metadata, Mapping) or not metadata:
        return EMPTY
    import yaml

    try:
        text = yaml.safe_dump(dict(metadata), allow_unicode=True, sort_keys=False)
    except (yaml.YAMLError, RecursionError):
        return EMPTY
    return read_card(f"---\n{text}---\n", API)


def tagged_parents(tags: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(relation, Hub id) as the tags base_model:RELATION:ID and base_model:ID say; the plain ones only where no other tells the relation."""
    found: dict[str, str] = {}
    for tag in tags:
        head, _, rest = tag.partition(":")
        if head != "base_model" or not rest:
            continue
        relation, _, name = rest.partition(":")
        if relation in RELATIONS and name:
            found[name] = relation
        else:
            found.setdefault(rest, "")
    yield from ((relation, name) for name, relation in found.items())


def _parents(value: Any) -> Iterator[tuple[str, str]]:
    """The model tree: {"relation": ..., "models": [{"id": ...}]}, a list of such, or of ids."""
    if isinstance(value, Mapping):
        relation = _text(value.get("relation"))
        models = value.get("models")
        for one in models if isinstance(models, list) else [value]:
            name = _text(one.get("id")) if isinstance(one, Mapping) else _text(one)
            if name:
                yield relation if relation in RELATIONS else "", name
    elif isinstance(value, list):
        for one in value:
            yield from _parents(one if isinstance(one, Mapping) else {"models": [one]})


def _files(value: Any) -> dict[str, int | None]:
    files: dict[str, int | None] = {}
    for one in value[:MAX_FILES] if isinstance(value, list) else ():
        name = one.get("rfilename") if isinstance(one, Mapping) else getattr(one, "rfilename", one)
        if isinstance(name, str):
            files[name] = _count(one.get("size") if isinstance(one, Mapping) else getattr(one, "size", None))
    return files


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, (list, tuple)) else ()


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**18 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _date(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else _text(value)


def _gated(value: Any) -> str:
    """"" for a free model; "auto" and "manual" as the Hub says; "yes" for a plain true."""
    return value if isinstance(value, str) and value.lower() not in ("false", "no", "none") else "yes" if value is True else ""
