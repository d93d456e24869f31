"""Quantiles with bootstrap intervals, and the table that `make bench` prints."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 400
SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured path: samples in milliseconds, beside those of its floor from the same run."""

    name: str
    samples: Sequence[float]
    floor_name: str
    floor: Sequence[float]


def quantile(samples: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile; `share` is between 0 and 1, samples are not empty."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def interval(samples: Sequence[float], share: float) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a quantile; the same samples give the same interval."""
    draw = random.Random(SEED)  # noqa: S311 - statistics, not secrets
    found = sorted(quantile(draw.choices(samples, k=len(samples)), share) for _ in range(RESAMPLES))
    return found[int(0.025 * RESAMPLES)], found[int(0.975 * RESAMPLES)]


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
