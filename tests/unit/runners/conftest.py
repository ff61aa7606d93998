"""Ollama servers for the tests of runners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.helpers.ollama_served import KINDS, Served, serving
from tests.helpers.ollama_server import DoubleModel, OllamaDouble


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    """An Ollama of our own with one model, smol."""
    with OllamaDouble() as server:
        server.add(DoubleModel("smol:latest"))
        yield server


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The double, and the real server where one is named."""
    with serving(request.param) as one:
        yield one
