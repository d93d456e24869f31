"""Figures as people read them: three digits, an interval, a ratio."""

from math import isnan

from bench.figures import P99_SAMPLES_MIN, Figure
from bench.stats import Estimate

SHOWN_FROM = 20
"""A p95 or p99 of fewer samples is no figure; the table leaves it out."""


def shown(value: float) -> str:
    """Return a number with three digits that matter."""
    if isnan(value):
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def bounded(estimate: Estimate) -> str:
    """Return a figure with its interval, or alone where there is none."""
    if estimate.low == estimate.high:
        return shown(estimate.value)
    return f"{shown(estimate.value)} [{shown(estimate.low)}, {shown(estimate.high)}]"


def cells(figure: Figure) -> list[str]:
    """Return the cells of a line: case, unit, n, p50, p95, p99, the floor's p50 and p99, ratios, A/A."""
    high = figure.count >= SHOWN_FROM
    faint = "" if figure.count >= P99_SAMPLES_MIN else "~"
    return [
        figure.case,
        figure.unit,
        f"{figure.count:,}",
        bounded(figure.path[0.5]),
        bounded(figure.path[0.95]) if high else "",
        faint + bounded(figure.path[0.99]) if high else "",
        shown(figure.floor[0.5].value) if figure.floor else "",
        shown(figure.floor[0.99].value) if figure.floor and high else "",
        bounded(figure.ratios[0.5]) if figure.ratios else "",
        faint + bounded(figure.ratios[0.99]) if figure.ratios and high else "",
        bounded(figure.twin) if figure.twin else "",
    ]


HEADINGS = ("line", "unit", "n", "p50", "p95", "p99", "floor p50", "floor p99", "ratio p50", "ratio p99", "A/A")
