"""The charts: well-formed SVG for no, one, two and very many points, with what is not a number marked."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from tests.unit.report.samples import HOSTILE, sample

from tunelab.report import charts
from tunelab.report.content import Estimate, EvaluationPoint, GroupPart, MemoryPart, StepPoint

_NAMES = "{http://www.w3.org/2000/svg}"


def _steps(losses: list[float]) -> list[StepPoint]:
    return [StepPoint(index, loss, 1e-4, 1.0, 100, 0.5) for index, loss in enumerate(losses, start=1)]


def _svg(text: str) -> ElementTree.Element:
    assert "nan" not in text.replace("not a number", "") and "inf" not in text.replace("infinite", "")
    return ElementTree.fromstring(text)


def _coordinates(svg: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for line in svg.iter("polyline") for pair in line.attrib["points"].split()]  # type: ignore[misc]


@pytest.mark.parametrize("count", [1, 2, 9, 10, 1000, 20_000])
@pytest.mark.parametrize("width", [720, 340])
def test_a_loss_curve_stays_in_its_frame_and_small(count: int, width: int) -> None:
    text = charts.loss_curve(_steps([3 / math.sqrt(step) for step in range(1, count + 1)]), [EvaluationPoint(count, 0.5)], width)
    svg = _svg(text)
    height = float(svg.attrib["height"])
    assert all(0 <= x <= width and 0 <= y <= height for x, y in _coordinates(svg))
    assert len(text) < 120_000
    assert len([path for path in svg.iter("path") if path.attrib["class"] == "evaluation"]) == 1


@pytest.mark.parametrize("losses", [[], [math.nan], [math.inf, math.nan]])
def test_without_a_finite_loss_there_is_no_curve(losses: list[float]) -> None:
    assert charts.loss_curve(_steps(losses), []) == ""
    assert charts.small_curve([(1.0, loss) for loss in losses], "Loss") == ""


def test_losses_that_are_not_numbers_leave_a_gap_and_a_mark() -> None:
    svg = _svg(charts.loss_curve(_steps([2.0, 1.5, math.nan, 1.2, 1.1, math.inf]), []))
    assert len([line for line in svg.iter("polyline") if line.attrib["class"] == "raw"]) == 2
    crosses = [path for path in svg.iter("path") if path.attrib["class"] == "cross"]
    assert [cross.findtext("title") for cross in crosses] == ["step 3: the loss is not a number", "step 6: the loss is infinite"]


def test_hovering_tells_the_numbers_of_a_step() -> None:
    svg = _svg(charts.loss_curve(_steps([2.0, 1.5]), []))
    titles = [rect.findtext("title") for rect in svg.iter("rect")]
    assert titles[1] == "step 2: loss 1.500, learning rate 0.0001, gradient norm 1, 100 tokens in 0.5 s"


def test_equal_losses_and_one_step_have_a_place() -> None:
    assert _coordinates(_svg(charts.loss_curve(_steps([1.0, 1.0, 1.0]), [])))
    assert list(_svg(charts.loss_curve(_steps([1.0]), [])).iter("circle"))


def test_smoothing_is_centred_and_skips_what_is_no_number() -> None:
    line = [(float(x), 10.0 - x) for x in range(60)]
    assert [round(y, 9) for _, y in charts.smoothed(line)] == [y for _, y in line]
    broken = charts.smoothed([(0.0, 1.0), (1.0, math.nan), (2.0, 3.0), (3.0, 5.0), (4.0, 7.0)])
    assert math.isnan(broken[1][1]) and broken[2][1] == pytest.approx(4.0)
    assert charts.smoothing(117) == 9 and charts.smoothing(3) == 3 and charts.smoothing(10**6) == 101


def test_thinning_keeps_ends_and_extremes() -> None:
    points = [(float(x), 1.0) for x in range(10_000)]
    points[777], points[4321] = (777.0, 9.0), (4321.0, -9.0)
    kept = charts.thinned(points, 600)
    assert len(kept) <= 650 and {(777.0, 9.0), (4321.0, -9.0)} <= set(kept)
    assert kept[0] == points[0] and kept[-1] == points[-1] and kept == sorted(kept)


def _group(base: Estimate | None, tuned: Estimate | None, difference: Estimate | None) -> GroupPart:
    content = sample()
    assert content.comparison is not None
    return replace(content.comparison.groups[0], base=base, tuned=tuned, difference=difference)


@pytest.mark.parametrize("width", [720, 340])
def test_intervals_show_a_loss_as_large_as_a_gain(width: int) -> None:
    low, high = Estimate(0.2, 0.1, 0.3), Estimate(0.8, 0.7, 0.9)
    gain = _svg(charts.intervals(_group(low, high, Estimate(0.6, 0.4, 0.7)), width))
    loss = _svg(charts.intervals(_group(high, low, Estimate(-0.6, -0.7, -0.4)), width))
    lengths = [[float(line.attrib["x2"]) - float(line.attrib["x1"]) for line in svg.iter("line") if line.attrib.get("class") == "bar"]
               for svg in (gain, loss)]
    assert sorted(lengths[0]) == pytest.approx(sorted(lengths[1]), abs=0.2)
    assert gain.attrib["viewBox"] == loss.attrib["viewBox"]


def test_intervals_at_the_ends_stay_inside_and_none_give_nothing() -> None:
    full = Estimate(1.0, 1.0, 1.0)
    svg = _svg(charts.intervals(_group(Estimate(0.0, 0.0, 0.0), full, full)))
    assert all(0 <= float(line.attrib["x1"]) <= 720 for line in svg.iter("line"))
    assert charts.intervals(_group(None, full, None)) == ""


def test_memory_bars_are_in_proportion_and_carry_letters() -> None:
    svg = _svg(charts.memory_bars((MemoryPart("one", 300), MemoryPart("two", 100), MemoryPart("none", 0)), 200))
    widths = {rect.attrib["class"]: float(rect.attrib["width"]) for rect in svg.iter("rect")}
    assert widths["part p0"] == pytest.approx(3 * widths["part p1"], rel=0.01)
    assert widths["measured"] == pytest.approx(2 * widths["part p1"], rel=0.01)
    assert [text.text for text in svg.iter("text") if text.attrib["class"] == "letter"] == ["A", "B"]
    assert charts.memory_bars((), 5) == ""


@pytest.mark.parametrize(("ratio", "shape"), [(1.0, "circle"), (0.5, "circle"), (2.5, "path"), (0.1, "path")])
def test_a_ratio_off_the_scale_is_an_arrow(ratio: float, shape: str) -> None:
    assert len(list(_svg(charts.ratio_mark(ratio)).iter(shape))) == 1
    assert charts.ratio_mark(None) == ""


def test_a_histogram_fills_bars_to_the_share_that_is_trained() -> None:
    drawn = charts.histogram([(1, 10, 40, 0.25), (11, 20, 0, 0.0), (21, 30, 20, 1.0)])
    heights = {kind: [float(one) for one in re.findall(rf'class="{kind}"[^>]*height="([\d.]+)"', drawn)] for kind in ("read", "learnt")}
    assert heights == {"read": [117.0, 0.0, 0.0], "learnt": [39.0, 0.0, 78.0]}
    assert "1 to 10 tokens: 40 rows, 25 % of their tokens trained" in drawn
    assert charts.histogram([]) == "" and charts.histogram([(1, 2, 0, 0.0)]) == ""


def test_shares_are_bars_on_one_scale() -> None:
    drawn = charts.shares([("a", 30.0, "30"), ("b", 10.0, "10")], "Rows")
    wide, narrow = (float(one) for one in re.findall(r'class="measured"[^>]*width="([\d.]+)"', drawn))
    assert wide == pytest.approx(3 * narrow, rel=0.01) and 'aria-label="Rows: a 30, b 10"' in drawn
    assert charts.shares([], "Rows") == "" and charts.shares([("a", 0.0, "0")], "Rows") == ""


@pytest.mark.parametrize("text", HOSTILE)
def test_names_in_charts_are_text(text: str) -> None:
    svg = _svg(charts.memory_bars((MemoryPart(text, 5),), None))
    assert {element.tag for element in svg.iter()} <= {"svg", "text", "g", "rect", "title"}


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.16, 3.1), (1e-9, 2e-9), (-5, 5), (0, 117)])
def test_ticks_are_round_and_cover(low: float, high: float) -> None:
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 12 and found == sorted(found)
