"""A process knows from its environment whether it is one of several."""

from __future__ import annotations

import pytest

from tunelab.facts.worker import worker_rank


@pytest.mark.parametrize(("variables", "rank"), [
    ({}, None), ({"RANK": "1"}, None), ({"RANK": "0", "WORLD_SIZE": "1"}, None), ({"WORLD_SIZE": "2"}, None), ({"RANK": "1", "WORLD_SIZE": "2"}, 1),
    ({"RANK": "0", "WORLD_SIZE": "2"}, 0), ({"RANK": "one", "WORLD_SIZE": "2"}, None), ({"RANK": "0", "WORLD_SIZE": "-2"}, None)])
def test_the_rank_is_what_a_launcher_says(variables: dict[str, str], rank: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert worker_rank() == rank
