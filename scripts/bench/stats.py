"""Quantiles and their ratios with bootstrap intervals, slopes, and the table of the benches without a cluster."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

RESAMPLES = 1000
SEED = 7
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured path: samples in milliseconds, beside those of its floor from the same run."""

    name: str
    samples: Sequence[float]
    floor_name: str
    floor: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile; `share` is between 0 and 1, samples are not empty."""
    ordered = sorted(samples)
    return ordered[_rank(len(ordered), share)]


def quantile_of(samples: Sequence[float], share: float) -> Estimate:
    """Return a quantile with its bootstrap interval; the same samples give the same interval."""
    low, high = _bounds_of(_resampled(sorted(samples), share, random.Random(SEED)))  # noqa: S311 - statistics
    return Estimate(value=quantile(samples, share), low=low, high=high)


def interval(samples: Sequence[float], share: float) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a quantile."""
    found = quantile_of(samples, share)
    return found.low, found.high


def ratio_of(samples: Sequence[float], floor: Sequence[float], share: float) -> Estimate:
    """Return how many times the floor's quantile a quantile is. Both are resampled. NaN where the floor is 0."""
    draw = random.Random(SEED)  # noqa: S311 - statistics, not secrets
    above = _resampled(sorted(samples), share, draw)
    beneath = _resampled(sorted(floor), share, draw)
    value = _divided(quantile(samples, share), quantile(floor, share))
    low, high = _bounds_of([_divided(one, other) for one, other in zip(above, beneath, strict=True)])
    return Estimate(value=value, low=low, high=high)


def slope_of(points: Sequence[tuple[float, float]]) -> float:
    """Return the least-squares slope of y over x; 0 of fewer than two places of x."""
    count = len(points)
    if count == 0:
        return 0.0
    mean_x, mean_y = (sum(point[axis] for point in points) / count for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def knee_of(points: Sequence[tuple[float, float]], *, times: float) -> float | None:
    """Return the first x at which y exceeds so many times the y of the first x, or None where it never does."""
    ordered = sorted(points)
    return next((x for x, y in ordered if y > times * ordered[0][1]), None)


def _rank(count: int, share: float) -> int:
    return min(count - 1, int(share * count))


def _resampled(ordered: Sequence[float], share: float, draw: random.Random) -> list[float]:
    """Return quantiles of bootstrap resamples, without drawing them.

    The k-th smallest of n uniform numbers has the distribution Beta(k, n - k + 1), so the k-th smallest of a resample
    is the sample that such a number points to: one draw instead of n and a sort.
    """
    count = len(ordered)
    rank = _rank(count, share) + 1
    picked = (int(count * draw.betavariate(rank, count - rank + 1)) for _ in range(RESAMPLES))
    return [ordered[min(count - 1, index)] for index in picked]


def _bounds_of(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    tail = (1 - CONFIDENCE) / 2
    return ordered[int(tail * RESAMPLES)], ordered[int((1 - tail) * RESAMPLES)]


def _divided(value: float, floor: float) -> float:
    return value / floor if floor else nan


def table(rows: Sequence[Row]) -> str:
    """Render the rows: p50 and p99 with intervals, the floor's p50, and the ratio of the medians."""
    lines = [f"{'path':<46} {'n':>5} {'p50 ms':>22} {'p99 ms':>24} {'floor p50 ms':>13} {'ratio':>7}"]
    for row in rows:
        middle, floor = quantile(row.samples, 0.5), quantile(row.floor, 0.5)
        high = f"{quantile(row.samples, 0.99):>8.2f} {_bounds(row.samples, 0.99)}"
        lines.append(
            f"{row.name:<46} {len(row.samples):>5} {middle:>7.2f} {_bounds(row.samples, 0.5)} "
            f"{high} {floor:>13.2f} {middle / floor:>6.1f}x"
        )
        lines.append(f"  floor: {row.floor_name}")
    return "\n".join(lines)


def _bounds(samples: Sequence[float], share: float) -> str:
    low, high = interval(samples, share)
    return f"[{low:>5.2f}, {high:>6.2f}]"
