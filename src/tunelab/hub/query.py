"""One question to a list of models: the Hub's, the cache's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sort = Literal["downloads", "likes", "trending", "updated"]


@dataclass(frozen=True, slots=True)
class Query:
    """`filters`: tags that a model must all have (license:mit, base_model:ORG/NAME, gguf); `search`: a part of its name; `limit`: rows at most."""

    filters: tuple[str, ...] = ()
    pipeline_tag: str = ""
    author: str = ""
    search: str = ""
    sort: Sort = "downloads"
    limit: int = 100
