"""Numbers as people read them: 12,345 · 1.33 GB · 4 min 12 s · 97.5 %. Nothing here rounds to something that looks exact."""

from __future__ import annotations

import math

_SIZES = ("B", "kB", "MB", "GB", "TB")
NONE = "–"


def count(value: float | None) -> str:
    """12345 -> "12,345"."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if math.isfinite(value) else str(value)


def size(value: float | None) -> str:
    """Bytes with three figures and a decimal unit, as everywhere in tunelab: 1331439862 -> "1.33 GB"."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return str(value)
    step = 0
    while abs(value) >= 999.5 and step < len(_SIZES) - 1:
        value, step = value / 1000, step + 1
    return f"{value:,.0f} {_SIZES[0]}" if step == 0 else f"{figures(value)} {_SIZES[step]}"


def duration(seconds: float | None) -> str:
    """0.42 -> "0.42 s"; 252 -> "4 min 12 s"; 7500 -> "2 h 5 min"."""
    if seconds is None:
        return NONE
    if not math.isfinite(seconds):
        return str(seconds)
    if seconds < 59.5:
        return f"{figures(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def percent(share: float | None) -> str:
    """0.975 -> "97.5 %"; whole numbers without a decimal."""
    if share is None:
        return NONE
    if not math.isfinite(share):
        return str(share)
    value = share * 100
    return f"{_decimal(value)} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, signed: 0.9375 -> "+93.8 points"."""
    value = difference * 100
    if not math.isfinite(value):
        return str(value)
    text = _decimal(abs(value))
    return f"{'' if text == '0' else '+' if value > 0 else '−'}{text} points"


def times(ratio: float | None) -> str:
    """1.0312 -> "1.03×"; "=" only for what is exactly equal."""
    if ratio is None:
        return NONE
    if ratio == 1:
        return "exact"
    return f"{ratio:.3f}×" if abs(ratio - 1) < 0.0095 else f"{ratio:.2f}×"


def p_value(value: float | None) -> str:
    """Two figures, and "< 0.0001" below that."""
    if value is None:
        return NONE
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def loss(value: float | None) -> str:
    """Three decimals; what is not finite by its name."""
    if value is None:
        return NONE
    return f"{value:.3f}" if math.isfinite(value) else "not a number" if math.isnan(value) else "infinite"


def figures(value: float) -> str:
    """Three significant figures without an exponent where that is readable: 0.0002 -> "0.0002", 1234.5 -> "1,234"."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def by_unit(value: float | None, unit: str) -> str:
    """A number in the words of its unit (a `content.Unit`)."""
    if unit == "bytes":
        return size(value)
    return duration(value) if unit == "seconds" else count(value)


def _decimal(value: float) -> str:
    """One decimal, none for whole numbers: 99.97 stays "100.0", for it is not 100."""
    return f"{value:.0f}" if abs(value - round(value)) < 1e-9 else f"{value:.1f}"
