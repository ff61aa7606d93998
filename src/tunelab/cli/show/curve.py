"""Curves in a terminal: a small plot of dots (Unicode braille, two by four to a character), one colour a line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from tunelab.report.numbers import figures

COLOURS = ("cyan", "yellow", "magenta", "green", "red", "blue")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
Points = Sequence[tuple[float, float]]


def plot(lines: Sequence[Points], *, width: int = 60, height: int = 8) -> list[Text]:
    """Rows of text with the values at the left and the steps below; neighbouring points are joined.

    Numbers that are not finite are left out. Empty without a finite one.
    """
    finite = [[(x, y) for x, y in line if math.isfinite(y)] for line in lines]
    every = [point for line in finite for point in line]
    if not every:
        return []
    low, high = min(y for _, y in every), max(y for _, y in every)
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    spread, span = high - low or 1.0, last - first or 1.0
    cells = [[0] * width for _ in range(height)]
    owner = [[0] * width for _ in range(height)]
    for number, line in enumerate(finite):
        for column, (bottom, top) in sorted(_columns(line, first, span, 2 * width).items()):
            for row in range(_row(top, low, spread, height), _row(bottom, low, spread, height) + 1):
                cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
                owner[row // 4][column // 2] = number
    labels = {0: figures(high), height - 1: figures(low)}
    margin = max(len(label) for label in labels.values())
    rows = [Text.assemble((labels.get(index, "").rjust(margin) + " ", "dim"),
                          *((chr(0x2800 + bits), COLOURS[owner[index][at] % len(COLOURS)]) for at, bits in enumerate(cells[index])))
            for index in range(height)]
    steps = f"{first:,.0f}".ljust(width - len(f"{last:,.0f}")) + f"{last:,.0f}"
    return [*rows, Text(" " * (margin + 1) + steps, style="dim")]


def _columns(line: Points, first: float, span: float, count: int) -> dict[int, tuple[float, float]]:
    """Column of dots -> (lowest, highest) of the line there."""
    found: dict[int, tuple[float, float]] = {}
    before: tuple[int, float] | None = None
    for x, y in line:
        column = round((x - first) / span * (count - 1))
        start, value = before or (column, y)
        last = value
        for at in range(min(start + 1, column), column + 1):
            here = value + (y - value) * (at - start) / (column - start) if column > start else y
            low, high = found.get(at, (here, here))
            found[at] = (min(low, here, last), max(high, here, last))
            last = here
        before = (column, y)
    return found


def _row(value: float, low: float, spread: float, height: int) -> int:
    return round((1 - (value - low) / spread) * (4 * height - 1))
