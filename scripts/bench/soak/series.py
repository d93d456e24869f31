"""What became of a figure over a run: its level in the first tenth, and how it went on from there. Pure."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

HOUR = 3600.0
GROWTH_MAX = 0.1
"""A figure whose last tenth stays below its highest of the first tenth by this share more has kept its plateau."""
SAMPLES_MIN = 20
"""Two in each tenth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One figure. `per_hour` is the slope after the first tenth, in the figure's own unit."""

    name: str
    first_tenth: float
    first_tenth_max: float
    last_tenth: float
    per_hour: float

    @property
    def grows(self) -> bool:
        """Tell whether the figure has left its plateau and still rises."""
        return self.per_hour > 0 and self.last_tenth > self.first_tenth_max * (1 + GROWTH_MAX)


def trends(samples: Sequence[tuple[float, Mapping[str, float]]]) -> list[Trend]:
    """Return the trend of each figure of the samples, which are pairs of seconds since the start and figures.

    Raises: ValueError for too few samples.
    """
    if len(samples) < SAMPLES_MIN:
        raise ValueError(f"{len(samples)} samples are too few for a slope; take at least {SAMPLES_MIN}")
    names = dict.fromkeys(itertools.chain.from_iterable(figures for _, figures in samples))
    return [_trend(name, [(at, figures[name]) for at, figures in samples if name in figures]) for name in names]


def _trend(name: str, points: Sequence[tuple[float, float]]) -> Trend:
    tenth = max(len(points) // 10, 1)
    first = [value for _, value in points[:tenth]]
    return Trend(
        name=name,
        first_tenth=median(first),
        first_tenth_max=max(first),
        last_tenth=median(value for _, value in points[-tenth:]),
        per_hour=_slope(points[tenth:]) * HOUR,
    )


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median slope over all pairs (Theil and Sen): a spike moves it as little as a garbage collection."""
    pairs = itertools.combinations(points, 2)
    found = [(later - earlier) / (after - before) for (before, earlier), (after, later) in pairs if after > before]
    return median(found) if found else 0.0
