"""One kind of plot: for each line of a row p50, p95 and p99 beside its floor's, on a logarithmic axis, as SVG.

Written by hand: the one kept library that draws such a plot well, matplotlib, would add numpy and 100 MB to the
development environment that every fresh clone installs, for 80 lines here; and its files differ with its version.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import ceil, floor, log10

from bench.figures import Figure
from bench.report.lines import shown
from bench.stats import Estimate

WIDTH, LEFT, RIGHT, LINE, TOP, BOTTOM = 760, 250, 40, 34, 14, 40
PATH_COLOUR, FLOOR_COLOUR, INK, GRID = "#1f5fbf", "#8a8a8a", "#24292f", "#d8dee4"
SHARES = (0.5, 0.95, 0.99)


def plot_of(figures: Sequence[Figure]) -> str:
    """Return the SVG of the lines that share the first one's unit; none of them is empty, zeros are left out."""
    drawn = [one for one in figures if one.unit == figures[0].unit and one.path[0.5].value > 0]
    if not drawn:
        return ""
    low, high = _decades(drawn)
    height = TOP + LINE * len(drawn) + BOTTOM
    parts = [*_axis(low, high, height, drawn[0].unit)]
    for number, figure in enumerate(drawn):
        parts += _line(figure, TOP + LINE * number + LINE / 2, low, high)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _decades(figures: Sequence[Figure]) -> tuple[int, int]:
    values = [one.value for figure in figures for side in (figure.path, figure.floor) for one in side.values()]
    known = [value for value in values if value > 0]
    low, high = floor(log10(min(known))), ceil(log10(max(known)))
    return low, max(high, low + 1)


def _place(value: float, low: int, high: int) -> float:
    share = (log10(value) - low) / (high - low) if value > 0 else 0.0
    return LEFT + max(0.0, share) * (WIDTH - LEFT - RIGHT)


def _axis(low: int, high: int, height: int, unit: str) -> Iterator[str]:
    bottom = height - BOTTOM
    for decade in range(low, high + 1):
        x = _place(10.0**decade, low, high)
        yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{shown(10.0**decade)}</text>'
    legend = f"{unit}: dot p50, bar to p99, tick p95"
    yield f'<text x="{LEFT}" y="{height - 6}">{escape(legend)}</text>'
    yield f'<text x="{WIDTH - RIGHT}" y="{height - 6}" text-anchor="end" fill="{FLOOR_COLOUR}">grey: floor</text>'


def _line(figure: Figure, y: float, low: int, high: int) -> Iterator[str]:
    name = escape(figure.case if len(figure.case) <= 38 else figure.case[:37] + "…")
    yield f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
    yield from _marks(figure.path, y - 5 if figure.floor else y, low, high, PATH_COLOUR)
    if figure.floor:
        yield from _marks(figure.floor, y + 7, low, high, FLOOR_COLOUR)


def _marks(side: Mapping[float, Estimate], y: float, low: int, high: int, colour: str) -> Iterator[str]:
    middle, tail, end = (_place(side[share].value, low, high) for share in SHARES)
    yield (
        f'<line x1="{middle:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="3" '
        'stroke-opacity="0.45"/>'
    )
    yield f'<line x1="{tail:.1f}" y1="{y - 4:.1f}" x2="{tail:.1f}" y2="{y + 4:.1f}" stroke="{colour}"/>'
    yield f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
