"""The Hub through its own client library (its token, its cache of files, HF_ENDPOINT, HF_HUB_OFFLINE): models by name, by filters, and made from another.

What is seen is kept in `hub.cache`, so that the same questions are answered from there when the client is offline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tunelab.hub.record import ModelRecord

Sort = Literal["downloads", "likes", "trending", "updated"]


@dataclass(frozen=True, slots=True)
class Query:
    """One question to the Hub's model list. `filters`: tags that a model must all have; `search`: a part of its name; `limit`: rows at most."""

    filters: tuple[str, ...] = ()
    pipeline_tag: str = ""
    author: str = ""
    search: str = ""
    sort: Sort = "downloads"
    limit: int = 100


class HubClient:
    """The Hub, or with `offline` what was seen of it before."""

    offline: bool

    def record(self, name: str) -> ModelRecord:
        """All that the Hub knows of a model, with its card. Raises ModelError (unknown, gated), HubError (not reached, refused)."""
        raise NotImplementedError

    def card(self, row: ModelRecord) -> ModelRecord:
        """A row of a listing with its card."""
        raise NotImplementedError

    def listing(self, query: Query) -> Iterator[ModelRecord]:
        """Models that fit a query, without cards. Raises HubError."""
        raise NotImplementedError

    def children(self, name: str, relation: str, limit: int) -> list[ModelRecord]:
        """The most downloaded models made from one: relation is finetune, adapter, merge or quantized. Raises HubError."""
        raise NotImplementedError


def open_client(offline: bool | None = None) -> HubClient:
    """The client. `offline` None: as HF_HUB_OFFLINE says."""
    return HubClient()
