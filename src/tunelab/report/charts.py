"""Small charts as inline SVG: loss curve, curves beside it, intervals, memory bars. Colours are CSS classes, shapes differ too.

Every function takes plain numbers and a width in CSS pixels and gives back one `<svg>` element without scripts, styles or links; the
page draws a wide and a narrow one of each, so that text keeps its size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise

from tunelab.report import numbers
from tunelab.report.content import Estimate, EvaluationPoint, GroupPart, MemoryPart, StepPoint
from tunelab.report.text import visible

XY = tuple[float, float]
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 62, 14, 34
SMOOTH_FROM = 10
_MOST_TARGETS = 120


def loss_curve(steps: Sequence[StepPoint], evaluations: Sequence[EvaluationPoint], width: int = 720) -> str:
    """The loss of each step (thin), smoothed (bold, from ten steps on), and of the held-out rows (diamonds).

    Losses that are not finite leave a gap and are marked at the top with a cross. Empty without a finite loss.
    """
    raw = [(float(point.step), point.loss) for point in steps]
    held_out = [(float(point.step), point.loss) for point in evaluations if math.isfinite(point.loss)]
    finite = [value for _, value in (*raw, *held_out) if math.isfinite(value)]
    if not finite:
        return ""
    frame = _Frame(width, max(220, min(320, width // 2)), [x for x, _ in (*raw, *held_out)], finite)
    parts = [frame.grid(numbers.figures), *_lines(frame, raw, "raw")]
    if len(raw) >= SMOOTH_FROM:
        parts += _lines(frame, smoothed(raw), "smooth")
    elif len(raw) < 60:
        parts += [f'<circle class="raw-dot" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"/>' for x, y in raw if math.isfinite(y)]
    broken = [(x, y) for x, y in raw if not math.isfinite(y)]
    parts += [_cross(frame.x(x), frame.top + 5, f"step {x:.0f}: the loss is {numbers.loss(y)}") for x, y in broken[:50]]
    parts += _targets(frame, steps)
    parts += [_diamond(frame.x(x), frame.y(y), f"after step {x:.0f}: held-out loss {numbers.loss(y)}") for x, y in held_out]
    parts.append(_end_labels(frame, raw, held_out))
    return svg_element(frame.width, frame.height, "loss", f"Loss by step: {_from_to(raw)}", parts)


def overlay(lines: Sequence[tuple[str, Sequence[XY]]], label: str, words: Callable[[float], str] = numbers.figures, width: int = 720,
            tall: bool = True, smooth: bool = False) -> str:
    """One quantity of several runs by step, each line in its colour (p0, p1, ...) and with its letter at its end; `smooth` draws the smoothed
    line over the thin one, from ten points on. Empty without a finite value."""
    finite = [y for _, points in lines for _, y in points if math.isfinite(y)]
    if not finite:
        return ""
    xs = [x for _, points in lines for x, _ in points]
    frame = _Frame(width, max(220, min(320, width // 2)) if tall else 150, xs, finite, zero=not tall)
    parts = [frame.grid(words, 6 if tall else 2)]
    ends = []
    for index, (name, points) in enumerate(lines):
        known = [(x, y) for x, y in points if math.isfinite(y)]
        if not known:
            continue
        both = smooth and len(points) >= SMOOTH_FROM
        drawn = [*(_lines(frame, points, "faint") if both else []), *_lines(frame, smoothed(points) if both else points, "of")]
        dots = "" if len(points) >= 40 or both else "".join(f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.5"/>' for x, y in known)
        parts.append(f'<g class="run p{index % 8}"><title>{svg_safe(name)}: {_from_to(points, words)}</title>{"".join(drawn)}{dots}</g>')
        x, y = (smoothed(known) if both else known)[-1]
        ends.append((frame.y(y) + 4, frame.x(x) + 6, index))
    placed: list[XY] = []
    for y, x, index in sorted(ends):
        while any(abs(x - other) < 14 and abs(y - there) < 12 for other, there in placed):
            x += 12  # letters do not lie on each other
        placed.append((x, y))
        parts.append(f'<g class="run p{index % 8}">{svg_text(x, y, letter(index), "end")}</g>')
    return svg_element(frame.width, frame.height, "overlay", f"{label} by step of {len(lines)} runs", parts)


def small_curve(points: Sequence[XY], label: str, words: Callable[[float], str] = numbers.figures, width: int = 440) -> str:
    """One quantity by step, small. Empty without a finite value."""
    finite = [y for _, y in points if math.isfinite(y)]
    if not finite:
        return ""
    frame = _Frame(width, 120, [x for x, _ in points], finite, zero=True)
    parts = [frame.grid(words, 2), *_lines(frame, points, "smooth")]
    if len(points) == 1:
        parts.append(f'<circle class="raw-dot" cx="{frame.x(points[0][0]):.1f}" cy="{frame.y(points[0][1]):.1f}" r="3"/>')
    return svg_element(frame.width, frame.height, "small", f"{label} by step: {_from_to(points, words)}", parts)


def intervals(group: GroupPart, width: int = 720, base: str = "base", tuned: str = "tuned") -> str:
    """Both rates with their intervals on one axis, and below it the difference with its interval around zero. Empty without them."""
    if group.base is None or group.tuned is None:
        return ""
    left, right = (64, 100) if width < 500 else (92, 150)
    span = width - left - right
    top, gap = 26, 36

    def share(value: float) -> float:
        return left + span * _clamp(value, 0, 1)

    parts = [_axis([(share(tick), numbers.percent(tick)) for tick in (0, 0.25, 0.5, 0.75, 1)], top - 16, top + gap + 14)]
    for row, (name, kind, value) in enumerate((("Base", "base", group.base), ("Tuned", "tuned", group.tuned))):
        about = f"{base if kind == 'base' else tuned}: {_interval(value, numbers.percent)}"
        parts.append(_whisker(share, value, top + row * gap, kind, (name, numbers.percent(value.value), about), width - right + 12))
    height = top + gap + 34
    if group.difference is not None:
        y = height + 34

        def signed(value: float) -> float:
            return left + span * (_clamp(value, -1, 1) + 1) / 2

        words = numbers.points(group.difference.value)
        marks = [(signed(tick), numbers.points(tick).removesuffix(" points")) for tick in (-1, -0.5, 0, 0.5, 1)]
        zero = f'x1="{signed(0):.1f}" x2="{signed(0):.1f}"'
        parts += [_axis(marks, y - 18, y + 14), f'<line class="zero" {zero} y1="{y - 18}" y2="{y + 14}"/>',
                  _whisker(signed, group.difference, y, group.tone,
                           ("Difference" if width >= 500 else "Change", words if width >= 500 else words.replace("points", "pts"),
                            f"difference, tuned minus base: {_interval(group.difference, numbers.points)}"), width - right + 12)]
        height = y + 34
    words = f"{group.measure}: base {_interval(group.base, numbers.percent)}; tuned {_interval(group.tuned, numbers.percent)}"
    return svg_element(width, height, "intervals", words, parts)


def memory_bars(parts: Sequence[MemoryPart], measured: int | None, width: int = 720) -> str:
    """The parts of the predicted peak stacked, each with its letter, and below it the measured peak at the same scale. Empty without
    parts."""
    kept = [part for part in parts if part.bytes > 0]
    total = sum(part.bytes for part in kept)
    if total <= 0:
        return ""
    left, right = 78, 84
    scale = (width - left - right) / max(total, measured or 0)
    out, at = [svg_text(0, 31, "Predicted", "name")], float(left)
    for index, part in enumerate(kept):
        length = part.bytes * scale
        label = svg_text(at + length / 2, 31, letter(index), "letter", "middle") if length >= 14 else ""
        out.append(f'<g class="hover"><rect class="part p{index % 8}" x="{at:.1f}" y="12" width="{max(length, 0.5):.1f}" height="28">'
                   f"<title>{svg_safe(part.name)}: {numbers.size(part.bytes)}</title></rect>{label}</g>")
        at += length
    out.append(svg_text(at + 8, 31, numbers.size(total), "value"))
    height = 52
    if measured:
        end = left + measured * scale
        out += [svg_text(0, 71, "Measured", "name"), f'<rect class="measured" x="{left}" y="52" width="{measured * scale:.1f}" height="28">'
                f"<title>measured peak: {numbers.size(measured)}</title></rect>", svg_text(end + 8, 71, numbers.size(measured), "value"),
                f'<line class="zero" x1="{end:.1f}" x2="{end:.1f}" y1="6" y2="86"/>']
        height = 92
    words = f"Memory: predicted {numbers.size(total)}" + (f", measured {numbers.size(measured)}" if measured else "")
    return svg_element(width, height, "memory", words, out)


def histogram(buckets: Sequence[tuple[int, int, int, float]], width: int = 720) -> str:
    """How many rows have which length: a bar for each (lower, upper, rows, share of the tokens that is trained), filled to that share.

    Empty without rows.
    """
    most = max((rows for _, _, rows, _ in buckets), default=0)
    if not most:
        return ""
    height, bottom, top, left = 200, 176, 20, 8
    column = (width - 2 * left) / len(buckets)
    parts = [f'<line class="grid" x1="{left}" x2="{width - left}" y1="{bottom}" y2="{bottom}"/>']
    every = 1 if column >= 50 else 3
    for index, (lower, upper, rows, share) in enumerate(buckets):
        x, tall = left + index * column, max(1.5 if rows else 0.0, (bottom - top) * rows / most)
        trained = tall * share
        parts.append(f'<g class="hover"><title>{lower:,} to {upper:,} tokens: {rows:,} rows, {numbers.percent(share)} of their tokens trained</title>'
                     f'<rect class="read" x="{x + 2:.1f}" y="{bottom - tall:.1f}" width="{column - 4:.1f}" height="{tall - trained:.1f}"/>'
                     f'<rect class="learnt" x="{x + 2:.1f}" y="{bottom - trained:.1f}" width="{column - 4:.1f}" height="{trained:.1f}"/></g>')
        if rows:
            parts.append(svg_text(x + column / 2, bottom - tall - 5, short_count(rows), "tick", "middle"))
        if index % every == 0:
            parts.append(svg_text(x, bottom + 15, f"{lower:,}", "tick", "start" if index == 0 else "middle"))
    parts.append(svg_text(width - left, bottom + 15, f"{buckets[-1][1]:,}", "tick", "end"))
    words = f"Rows by length: {sum(one[2] for one in buckets):,} rows of {buckets[0][0]:,} to {buckets[-1][1]:,} tokens"
    return svg_element(width, height, "histogram", words, parts)


def shares(parts: Sequence[tuple[str, float, str]], label: str, width: int = 300) -> str:
    """A bar for each (name, size, the size in words), all on one scale. Empty without parts."""
    most = max((size for _, size, _ in parts), default=0.0)
    if most <= 0:
        return ""
    left, right, tall = 128, 64, 24
    span = width - left - right
    out = []
    for index, (name, size, words) in enumerate(parts):
        y = index * tall
        short = name if len(name) <= 20 else f"{name[:19]}…"
        out.append(f'<g class="hover"><title>{svg_safe(name)}: {svg_safe(words)}</title>{svg_text(0, y + 16, short, "name")}'
                   f'<rect class="measured" x="{left}" y="{y + 6}" width="{max(1.5, span * size / most):.1f}" height="12"/>'
                   f'{svg_text(left + span * size / most + 7, y + 16, words, "tick")}</g>')
    return svg_element(width, tall * len(parts), "shares", f"{label}: " + ", ".join(f"{name} {words}" for name, _, words in parts), out)


def short_count(count: int) -> str:
    """12345 -> "12.3k"."""
    return f"{count:,}" if count < 10_000 else f"{count / 1000:.3g}k" if count < 999_500 else f"{count / 1e6:.3g}M"


def ratio_mark(ratio: float | None, width: int = 96) -> str:
    """Where measured / predicted stands between a half and twice, on a logarithmic scale; an arrow when it is off the scale."""
    if ratio is None:
        return ""
    place = _clamp(math.log2(ratio), -1, 1)
    x = width / 2 + place * (width / 2 - 8)
    near = "near" if abs(math.log2(ratio)) <= math.log2(1.15) else "far"
    mark = f'<circle class="{near}" cx="{x:.1f}" cy="9" r="5"/>'
    if abs(math.log2(ratio)) > 1:
        tip, back = (width - 1, width - 11) if place > 0 else (1, 11)
        mark = f'<path class="far" d="M{tip} 9L{back} 3V15Z"/>'
    parts = [f'<line class="track" x1="4" x2="{width - 4}" y1="9" y2="9"/>',
             f'<line class="zero" x1="{width / 2}" x2="{width / 2}" y1="2" y2="16"/>', mark]
    return svg_element(width, 18, "ratio", f"measured is {numbers.times(ratio)} of predicted", parts)


def smoothed(points: Sequence[XY]) -> list[XY]:
    """The mean of the `smoothing(len(points))` points around each, fewer near the ends; what is not finite is left out of it.

    Centred, so that the line does not run behind a falling loss as an exponential average does.
    """
    half = smoothing(len(points)) // 2
    sums, counts = [0.0], [0]
    for _, y in points:
        finite = math.isfinite(y)
        sums.append(sums[-1] + (y if finite else 0.0))
        counts.append(counts[-1] + finite)
    out: list[XY] = []
    for index, (x, y) in enumerate(points):
        reach = min(half, index, len(points) - 1 - index)
        start, end = index - reach, index + reach + 1
        mean = (sums[end] - sums[start]) / (counts[end] - counts[start]) if math.isfinite(y) else math.nan
        out.append((x, mean))
    return out


def smoothing(count: int) -> int:
    """How many points the smoothed line takes the mean of: a twelfth of all, odd, at least 3 and at most 101."""
    return max(3, min(101, count // 12)) | 1


def thinned(points: Sequence[XY], most: int) -> list[XY]:
    """At most about `most` points that draw the same picture: of each stretch its first, lowest and highest point stay."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(3 * len(points) / most)
    kept: list[XY] = []
    for start in range(0, len(points), size):
        block = list(enumerate(points[start : start + size]))
        finite = [one for one in block if math.isfinite(one[1][1])] or block
        chosen = {0, min(finite, key=lambda one: one[1][1])[0], max(finite, key=lambda one: one[1][1])[0]}
        kept += [block[index][1] for index in sorted(chosen)]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover low to high in steps of 1, 2 or 5 times a power of ten."""
    spread = high - low
    if not (math.isfinite(spread) and spread > 0):
        return [low]
    raw = spread / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(one for one in (1, 2, 5, 10) if one * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def letter(index: int) -> str:
    """A, B, C, ... for the parts of a bar."""
    return chr(ord("A") + index % 26)


class _Frame:
    """The axes of a curve: where a (step, value) lies in pixels."""

    def __init__(self, width: int, height: int, xs: Sequence[float], ys: Sequence[float], zero: bool = False) -> None:
        self.width, self.height, self.top = width, height, _TOP
        self._right, self._bottom = width - (_RIGHT if not zero else 14), height - _BOTTOM
        low, high = min(ys), max(ys)
        low = min(0.0, low) if zero or low < 0.4 * high else low
        if low == high:
            low, high = (low - 0.5, high + 0.5) if not zero else (low, high + 1.0)
        self._values = ticks(low, high, 3 if zero else 5)
        self._low, self._high = self._values[0], self._values[-1]
        self._first, self._last = min(xs), max(xs)

    def x(self, step: float) -> float:
        """Pixels from the left."""
        spread = self._last - self._first
        return (_LEFT + self._right) / 2 if spread == 0 else _LEFT + (step - self._first) / spread * (self._right - _LEFT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return self._bottom - (value - self._low) / (self._high - self._low) * (self._bottom - self.top)

    def grid(self, words: Callable[[float], str], about: int = 6) -> str:
        """Horizontal lines with their values, and the steps along the bottom."""
        out = []
        for value in self._values:
            y = self.y(value)
            out.append(f'<line class="grid" x1="{_LEFT}" x2="{self._right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            out.append(svg_text(_LEFT - 8, y + 4, words(value), "tick", "end"))
        wanted = ticks(self._first, self._last, max(2, min(about, int((self._right - _LEFT) / 80))))
        steps = [self._first, *(step for step in wanted if self._first < step <= self._last and step == int(step))]
        apart = [step for step in steps if step == self._first or self.x(step) - self.x(self._first) > 34]
        for step in apart:
            out.append(svg_text(self.x(step), self._bottom + 16, f"{step:,.0f}", "tick", "middle"))
        out.append(svg_text((_LEFT + self._right) / 2, self.height - 3, "step", "tick axis", "middle"))
        return "".join(out)

    def column(self, start: float, end: float) -> str:
        """The attributes of a rectangle over all of the height between two x."""
        return f'x="{start:.1f}" y="{self.top}" width="{max(0.5, end - start):.1f}" height="{self._bottom - self.top}"'


def _lines(frame: _Frame, points: Sequence[XY], kind: str) -> list[str]:
    """One polyline for each stretch of finite values."""
    stretches: list[list[str]] = [[]]
    for x, y in thinned(points, 2 * frame.width):
        if math.isfinite(y):
            stretches[-1].append(f"{frame.x(x):.1f},{frame.y(y):.1f}")
        elif stretches[-1]:
            stretches.append([])
    return [f'<polyline class="{kind}" points="{" ".join(one)}"/>' for one in stretches if len(one) > 1]


def _targets(frame: _Frame, steps: Sequence[StepPoint]) -> list[str]:
    """Invisible columns that tell the numbers of a step, or of a few steps together, on hover."""
    size = max(1, math.ceil(len(steps) / _MOST_TARGETS))
    blocks = [steps[start : start + size] for start in range(0, len(steps), size)]
    middles = [(frame.x(block[0].step) + frame.x(block[-1].step)) / 2 for block in blocks]
    edges = [frame.x(steps[0].step), *((one + two) / 2 for one, two in pairwise(middles)), frame.x(steps[-1].step)]
    return [f'<rect class="target" {frame.column(edges[index], edges[index + 1])}><title>{_about(block)}</title></rect>'
            for index, block in enumerate(blocks)]


def _about(block: Sequence[StepPoint]) -> str:
    """What a hover says about one step, or about several."""
    if len(block) == 1:
        one = block[0]
        return (f"step {one.step}: loss {numbers.loss(one.loss)}, learning rate {numbers.figures(one.lr)}, "
                f"gradient norm {numbers.figures(one.grad_norm)}, {numbers.count(one.tokens)} tokens in {numbers.duration(one.seconds)}")
    finite = [one.loss for one in block if math.isfinite(one.loss)]
    spread = f"loss {numbers.loss(min(finite))} to {numbers.loss(max(finite))}" if finite else "no finite loss"
    return f"steps {block[0].step} to {block[-1].step}: {spread}"


def _end_labels(frame: _Frame, raw: Sequence[XY], held_out: Sequence[XY]) -> str:
    """The last values at the right edge, moved apart when they would touch."""
    line = [one for one in (smoothed(raw) if len(raw) >= SMOOTH_FROM else raw) if math.isfinite(one[1])]
    labels = [(frame.y(line[-1][1]) + 4, numbers.loss(line[-1][1]), "end train")] if line else []
    if held_out:
        labels.append((frame.y(held_out[-1][1]) + 4, f"◆ {numbers.loss(held_out[-1][1])}", "end eval"))
    labels.sort()
    if len(labels) == 2 and labels[1][0] - labels[0][0] < 15:
        middle = (labels[0][0] + labels[1][0]) / 2
        labels = [(middle - 7.5, *labels[0][1:]), (middle + 7.5, *labels[1][1:])]
    return "".join(svg_text(frame.width - _RIGHT + 7, y, words, kind) for y, words, kind in labels)


def _whisker(place: Callable[[float], float], value: Estimate, y: float, kind: str, said: tuple[str, str, str], at: float) -> str:
    """A dot (a square for the base, a diamond for a difference) on the line of its interval.

    `said`: the name at the left, the value in words (at x = `at`), and what a hover tells.
    """
    name, words, about = said
    x, low, high = place(value.value), place(value.low), place(value.high)
    shape = (f'<rect class="dot" x="{x - 6:.1f}" y="{y - 6}" width="12" height="12"/>' if kind == "base" else
             f'<circle class="dot" cx="{x:.1f}" cy="{y}" r="7"/>' if kind == "tuned" else
             f'<path class="dot" d="M{x:.1f} {y - 9}L{x + 9:.1f} {y}L{x:.1f} {y + 9}L{x - 9:.1f} {y}Z"/>')
    caps = "".join(f'<line x1="{end:.1f}" x2="{end:.1f}" y1="{y - 6}" y2="{y + 6}"/>' for end in (low, high))
    return (f'<g class="whisker {kind}"><title>{svg_safe(about)}</title><line class="bar" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>'
            f"{caps}{shape}{svg_text(0, y + 5, name, 'name')}{svg_text(at, y + 5, words, 'value')}</g>")


def _axis(marks: Sequence[tuple[float, str]], top: float, bottom: float) -> str:
    return "".join(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
                   + svg_text(x, bottom + 15, words, "tick", "middle") for x, words in marks)


def _diamond(x: float, y: float, about: str) -> str:
    return f'<path class="evaluation" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6Z"><title>{svg_safe(about)}</title></path>'


def _cross(x: float, y: float, about: str) -> str:
    return f'<path class="cross" d="M{x - 4:.1f} {y - 4}l8 8m-8 0l8 -8"><title>{svg_safe(about)}</title></path>'


def _interval(value: Estimate, words: Callable[[float], str]) -> str:
    return f"{words(value.value)} (interval {words(value.low)} to {words(value.high)})"


def _from_to(points: Sequence[XY], words: Callable[[float], str] = numbers.loss) -> str:
    finite = [y for _, y in points if math.isfinite(y)]
    return f"from {words(finite[0])} to {words(finite[-1])}" if finite else "no values"


def _clamp(value: float, low: float, high: float) -> float:
    return low if math.isnan(value) else max(low, min(high, value))


def svg_text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    """Words at a place; text from outside is escaped."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{svg_safe(words)}</text>'


def svg_safe(words: str) -> str:
    """Text from outside as it may stand in an element or an attribute."""
    return escape(visible(words))


def svg_element(width: int, height: float, kind: str, words: str, parts: Sequence[str]) -> str:
    """The picture; `words` tell it to those who do not see it."""
    return (f'<svg class="chart {kind}" viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}" role="img" '
            f'aria-label="{svg_safe(words)}">{"".join(parts)}</svg>')
