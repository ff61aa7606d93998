"""Patterns of unfrozen_parameters are read as in Axolotl, its slips left out, and what they thaw is counted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.planning.cases import read, read_anything, smol_shapes

from tunelab.planning.freezing import Pattern, Thawed, joined, thawed
from tunelab.planning.workload import workload_of

NAMES = ("model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.layers.11.mlp.up_proj.weight", "model.norm.weight")


@pytest.mark.parametrize(("text", "matching", "rows"), [
    ("model.layers.1.mlp", (1,), None),
    ("model.layers.1", (1, 2), None),  # the beginning of a name
    ("layers.1.mlp", (), None),  # not its middle
    (".+up_proj", (1, 2), None),
    (".*up_proj", (), None),  # a dot is a dot
    (r"model\.layers\.1\.", (1,), None),  # an escaped one too, which Axolotl escapes a second time
    ("model.layers.1[0-9].mlp", (2,), None),  # no range: it is not at the end
    ("^model.embed_tokens.weight$[128:]", (0,), (128, None)),
    ("model.embed_tokens[:64]", (0,), (0, 64)),
    ("model.embed_tokens[64:65]", (0,), (64, 65)),
    ("model.embed_tokens[7]", (0,), (7, 8)),
    ("model.norm.weight$[]", (3,), (0, None))])
def test_patterns(text: str, matching: tuple[int, ...], rows: tuple[int, int | None] | None) -> None:
    pattern = Pattern.read(text)
    assert tuple(index for index, name in enumerate(NAMES) if pattern.matches(name)) == matching
    assert pattern.rows == rows


def test_what_is_no_pattern() -> None:
    with pytest.raises(re.error):
        Pattern.read("(")
    with pytest.raises(ValueError, match=r"\[10:5\] is empty"):
        Pattern.read("model.embed_tokens.weight[10:5]")


def test_ranges_are_joined_and_the_rest_is_frozen() -> None:
    rows = joined([(50, None), (0, 10), (5, 20), (20, 30)], 60)
    assert rows == ((0, 30), (50, 60))
    one = Thawed((60, 4), rows)
    assert one.frozen_rows == ((30, 50),) and one.parameters == 160 and one.kept == 80
    assert Thawed((60, 4)).frozen_rows == () and Thawed((60, 4)).parameters == 240


def test_a_pattern_without_a_range_adds_no_rows_beside_one_with(tmp_path: Path) -> None:
    config = read(tmp_path, "unfrozen_parameters: [model.embed_tokens, 'model.embed_tokens.weight[5:]']")
    assert thawed(config, {"model.embed_tokens.weight": (10, 2), "lm_head.weight": (10, 2)}) == {
        "model.embed_tokens.weight": Thawed((10, 2), ((5, 10),))}


def test_other_senses_are_frozen_on_request(tmp_path: Path) -> None:
    tensors = {"model.visual.blocks.0.weight": (4, 4), "model.language_model.norm.weight": (4,)}
    assert set(thawed(read(tmp_path, "freeze_mm_modules: true"), tensors)) == {"model.language_model.norm.weight"}
    assert set(thawed(read(tmp_path, ""), tensors)) == set(tensors)


def test_frozen_rows_are_held_a_second_time(tmp_path: Path) -> None:
    from tests.unit.planning.cases import LAPTOP

    config = read_anything(tmp_path, "unfrozen_parameters: ['model.embed_tokens.weight[49000:]']").config
    work = workload_of(config, smol_shapes(tmp_path), LAPTOP, tokens=512, supervised=170)
    assert work.held == 49000 * 576 and work.trained_parameters == 49152 * 576


@pytest.mark.parametrize(("patterns", "idle"), [
    ("['model.layers.2[0-9].+']", 20), ("['model.norm']", 30), ("['model.embed_tokens', 'model.layers.2[0-9].+']", 0), ("['model.layers.0.+']", 0)])
def test_no_gradient_reaches_the_layers_below_the_first_trained_weight(tmp_path: Path, patterns: str, idle: int) -> None:
    from tests.unit.planning.cases import LAPTOP

    config = read_anything(tmp_path, f"unfrozen_parameters: {patterns}").config
    assert workload_of(config, smol_shapes(tmp_path), LAPTOP, tokens=512, supervised=170).idle == idle
