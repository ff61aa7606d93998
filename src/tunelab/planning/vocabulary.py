"""How many rows embedding and head have in a run: as many as the tokenizer has tokens, when that is more than the model brings."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

from tunelab.config.config import Config
from tunelab.facts.shapes import ModelShapes


def embedding_rows(config: Config, present: int, tokens: int) -> int:
    """The rows of a run whose model has `present` and whose tokenizer `tokens`: enlarged when they are too few, cut with shrink_embeddings,
    a multiple of 32 with resize_token_embeddings_to_32x."""
    settings = config.model
    wanted = math.ceil(tokens / 32) * 32 if settings.resize_token_embeddings_to_32x else tokens
    return wanted if present < wanted or (present > wanted and settings.shrink_embeddings) else present


def with_vocabulary(config: Config, shapes: ModelShapes, tokens: int | None) -> ModelShapes:
    """The shapes with that many rows; unchanged when the tokenizer is not known (None)."""
    present = shapes.embedding.out_features
    rows = embedding_rows(config, present, tokens) if tokens else present
    if rows == present:
        return shapes
    ends = {f"{layer.name}.weight" for layer in (shapes.embedding, shapes.head)}
    tensors = {name: (rows, *shape[1:]) if name in ends else shape for name, shape in shapes.tensors.items()}
    return replace(shapes, vocab_size=rows, tensors=MappingProxyType(tensors), parameters=sum(map(math.prod, tensors.values())),
                   embedding=replace(shapes.embedding, out_features=rows), head=replace(shapes.head, out_features=rows))
