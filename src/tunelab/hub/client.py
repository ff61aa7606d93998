"""The Hub through its own client library (its token, its cache of files, HF_ENDPOINT, HF_HUB_OFFLINE): models by name, by filters, and made from another.

What is seen is kept in `hub.cache`, so that the same questions are answered from there when the client is offline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from tunelab.errors import HubError, ModelError, TunelabError
from tunelab.facts.model import is_hub_id
from tunelab.hub.answers import card_of, record_of
from tunelab.hub.cache import Cache, age, cache_file
from tunelab.hub.card import read_card
from tunelab.hub.patience import Meter, patient
from tunelab.hub.query import Query
from tunelab.hub.record import ADAPTER, CARD, CONFIG, MAX_JSON, ModelRecord, parsed_json
from tunelab.hub.refusals import is_wrong_token, nearest, refusal, unknown

MAX_CARD = 20_000_000
"""Bytes of a README that are read."""
_ROW = ("config", "createdAt", "downloads", "gated", "gguf", "lastModified", "library_name", "likes", "pipeline_tag", "safetensors", "sha", "siblings",
        "tags")
_ALL = (*_ROW, "baseModels", "cardData", "childrenModelCount")
_SORTS: Mapping[str, Any] = {"downloads": "downloads", "likes": "likes", "trending": "trending_score", "updated": "last_modified"}
_QUIET: Callable[[str], None] = lambda text: None


class HubClient:
    """The Hub, or with `offline` what was seen of it before. `say` hears of waits."""

    def __init__(self, cache: Cache, *, offline: bool = False, say: Callable[[str], None] = _QUIET) -> None:
        self.cache, self.offline, self._say = cache, offline, say

    def record(self, name: str) -> ModelRecord:
        """All that the Hub knows of a model, with its card. Raises ModelError (unknown, gated, no such name), HubError (not reached, refused)."""
        if not is_hub_id(name):
            raise ModelError(f"{name[:120]!r} is not the name of a model on the Hub; expected ORG/NAME.",
                             next_step="Give the name as it stands in the model's address, or a folder or README.md.")
        if self.offline:
            return self._remembered(name)
        with patient(self._say):
            answer = self._described(name)
        row = record_of(answer)
        if row.name.lower() != name.lower():
            row = replace(row, missing=(f"{name} is called {row.name} now.",))
        found = self.files(row, str(answer.get("sha") or "main"), answer.get("cardData"))
        self.cache.keep([found], read=True)
        return found

    def files(self, row: ModelRecord, revision: str = "main", metadata: Any = None, *, only_card: bool = False) -> ModelRecord:
        """A model with its card, config.json and adapter_config.json. `metadata`: what stands in for a card that cannot be read.

        Raises HubError when the Hub is not to be reached; a file that is refused is a sentence in `missing`. The cache is not touched.
        """
        missing = list(row.missing)
        content = self._file(row, CARD, revision, missing)
        card = read_card(content[:MAX_CARD]) if content is not None else card_of(metadata)
        found = replace(row, card=card)
        if not only_card:
            adapter, config = (self._file(row, name, revision, missing) for name in (ADAPTER, CONFIG))
            found = replace(found, adapter=parsed_json(adapter, ADAPTER, missing) if adapter is not None else row.adapter,
                            config=(parsed_json(config, CONFIG, missing) or row.config) if config is not None else row.config)
        return replace(found, missing=tuple(dict.fromkeys(missing)))

    def listing(self, query: Query) -> list[ModelRecord]:
        """Models that fit a query, without cards. Raises HubError."""
        if self.offline:
            return self.cache.listing(query)
        found = self.rows(query)
        self.cache.keep(found, read=False)
        return found

    def rows(self, query: Query) -> list[ModelRecord]:
        """The same from the Hub alone, one request a page; the cache is not touched, so that several may be asked at once. Raises HubError."""
        from huggingface_hub import HfApi

        try:
            with patient(self._say):
                found = HfApi().list_models(
                    filter=list(query.filters) or None, pipeline_tag=query.pipeline_tag or None, author=query.author or None,
                    search=query.search or None, sort=_SORTS[query.sort], limit=query.limit, expand=list(_known(_ROW)))
                return [record_of(_fields(info)) for info in found]
        except Exception as error:  # its HTTP library, and so the classes of its errors, differ among versions of huggingface_hub
            raise refusal(error) from error

    def children(self, name: str, relation: str, limit: int) -> list[ModelRecord]:
        """The most downloaded models made from one: relation is finetune, adapter, merge or quantized. Raises HubError."""
        return self.listing(Query(filters=(f"base_model:{relation}:{name}" if relation else f"base_model:{name}",), limit=limit))

    def _described(self, name: str) -> Mapping[str, Any]:
        """The API's fields of a model."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        try:
            try:
                return _fields(HfApi().model_info(name, expand=list(_known(_ALL))))
            except (TypeError, KeyError, AttributeError):  # a card's metadata that the library cannot take apart
                return _fields(HfApi().model_info(name, expand=[one for one in _known(_ALL) if one != "cardData"]))
        except Exception as error:  # see rows
            status = getattr(getattr(error, "response", None), "status_code", 0)
            missing = (isinstance(error, RepositoryNotFoundError) or status == 404) and not isinstance(error, GatedRepoError)
            if missing and not is_wrong_token(error):
                raise unknown(name, self._similar(name)) from error
            raise self._with_what_is_known(refusal(error, name), name) from error

    def _similar(self, name: str) -> set[str]:
        """Names that a mistyped one may mean: of the same owner, with the same words, seen before. Asked while the patience of `record` lasts."""
        found = {one for one, _ in self.cache.names()}
        owner, _, rest = name.rpartition("/")
        words = sorted(re.findall(r"[^\W_]{3,}", rest), key=len, reverse=True)[:2]
        questions = [Query(search=rest, limit=10), *([Query(author=owner, limit=100)] if owner else []), *(Query(search=word, limit=50) for word in words)]
        for query in questions:
            try:
                found |= {one.name for one in self.listing(query)}
            except TunelabError:
                break
        return found

    def _with_what_is_known(self, error: TunelabError, name: str) -> TunelabError:
        """An error, with what the cache has of the model."""
        seen = self.cache.get(name) if isinstance(error, HubError) else None
        if seen is not None:
            error.message += f" The cache has {seen.record.name} as it was {seen.age}."
        return error

    def _remembered(self, name: str) -> ModelRecord:
        """A model as it was seen before: in the cache, or in the Hub library's cache of files. Raises ModelError, with what there is."""
        seen = self.cache.get(name)
        if seen is not None and seen.read is not None:
            return replace(seen.record, is_hub_id=True, missing=(*seen.record.missing, f"From the cache, as it was {seen.age}."))
        row = replace(seen.record, is_hub_id=True) if seen else ModelRecord(name, is_hub_id=True)
        found = self.files(replace(row, files=dict.fromkeys((CARD, ADAPTER, CONFIG))))
        if found.card.text or found.config != row.config or found.adapter:
            return replace(found, files=row.files, missing=("Offline: of this model there are only the files in the Hub's cache.",))
        if seen is not None:
            return replace(row, missing=(f"Offline: this model was seen in a list {seen.age}, and its card never.",))
        names = dict(self.cache.names())
        near = nearest(name, names) or list(names)[:5]
        has = ", ".join(f"{one} ({age(names[one])})" for one in near) if near else "nothing yet"
        raise ModelError(f"Offline, and {name} was never seen here. The cache has {has}{' and others' if len(names) > len(near) else ''}.",
                         next_step="Connect (without --offline and HF_HUB_OFFLINE), or give a folder or README.md.")

    def _file(self, row: ModelRecord, name: str, revision: str, missing: list[str]) -> bytes | None:
        """A small file of the model; None when it has none, or with a sentence in `missing` when it may not be read."""
        if name not in row.files:
            return None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            with patient(self._say):
                path = Path(hf_hub_download(row.name, name, revision=revision, local_files_only=self.offline, tqdm_class=Meter))
            if path.stat().st_size > (MAX_CARD if name == CARD else MAX_JSON):
                missing.append(f"{name} has {path.stat().st_size:,} bytes; " + ("its beginning was read." if name == CARD else "it was not read."))
                if name != CARD:
                    return None
            with path.open("rb") as stream:
                return stream.read(MAX_CARD)
        except Exception as raised:  # see rows
            error = raised.__cause__ if isinstance(raised, LocalEntryNotFoundError) and isinstance(raised.__cause__, Exception) else raised
            if isinstance(error, EntryNotFoundError):  # it is not there after all; or, offline, not in the cache
                return None
            if isinstance(error, HubError):
                raise error from None
            said = refusal(error, row.name)
            missing.append(f"{name} could not be read: {said.message} {said.next_step or ''}".strip())
            return None


def open_client(offline: bool | None = None, *, say: Callable[[str], None] = _QUIET) -> HubClient:
    """The client. `offline` None: as HF_HUB_OFFLINE says; `say` hears when the Hub asks to wait."""
    from huggingface_hub import constants

    return HubClient(Cache(cache_file()), offline=bool(constants.HF_HUB_OFFLINE) if offline is None else offline, say=say)


def _known(names: tuple[str, ...]) -> Iterator[Any]:
    """Those of the fields that the installed huggingface_hub can ask for."""
    from huggingface_hub import hf_api

    there = get_args(hf_api.ExpandModelProperty_T)
    yield from (name for name in names if not there or name in there)


def _fields(info: Any) -> dict[str, Any]:
    """What the library made of an answer, by the API's names again."""
    tensors, card = info.safetensors, info.card_data
    return {"id": info.id, "tags": info.tags, "pipeline_tag": info.pipeline_tag, "library_name": info.library_name, "config": info.config,
            "baseModels": info.base_models, "childrenModelCount": info.children_model_count, "siblings": info.siblings,
            "safetensors": {"parameters": tensors.parameters, "total": tensors.total} if tensors else None, "gguf": info.gguf,
            "downloads": info.downloads, "likes": info.likes, "createdAt": info.created_at, "lastModified": info.last_modified, "gated": info.gated,
            "sha": info.sha, "cardData": card.to_dict() if hasattr(card, "to_dict") else card}
