"""How many warm objects a pool shall hold: a pure policy over bounds, recent takes and the time of the last use.

As many as were asked for within the last minute, between the bounds; none in a namespace that nobody has used for
half an hour. A burst grows the pool for the next one, and a quiet night costs nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

WINDOW = timedelta(seconds=60)
"""How far back demand counts."""

QUIET = timedelta(minutes=30)
"""A namespace without any use for so long keeps no warm object; its next use brings them back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`warmReplicas` and `maxWarmReplicas`, of one Environment or summed over several."""

    least: int
    most: int

    @classmethod
    def of(cls, settings: object) -> Self:
        """Read an Environment's `spec.harness` or `spec.sandbox`; without a maximum the pool does not grow."""
        given = settings if isinstance(settings, dict) else {}
        least, most = given.get("warmReplicas"), given.get("maxWarmReplicas")
        low = int(least or 0)
        return cls(least=low, most=max(int(most), low) if most is not None else low)

    def plus(self, other: "Bounds") -> "Bounds":
        """Add another Environment's."""
        return Bounds(least=self.least + other.least, most=self.most + other.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many are wanted now, and when that may change if nothing happens."""

    wanted: int
    recheck_seconds: float | None


def size_for(bounds: Bounds, takes: Sequence[datetime], last_use: datetime, now: datetime) -> Size:
    """Apply the policy. `takes` are the times at which the pool was asked for one, whether it had one or not."""
    if bounds.most == 0:
        return Size(wanted=0, recheck_seconds=None)
    if now - last_use >= QUIET:
        return Size(wanted=0, recheck_seconds=None)
    recent = sorted(moment for moment in takes if now - moment < WINDOW)
    wanted = min(max(bounds.least, len(recent)), bounds.most)
    quiet_in = (last_use + QUIET - now).total_seconds()
    return Size(wanted=wanted, recheck_seconds=min(_shrinks_in(bounds, recent, now), quiet_in))


def _shrinks_in(bounds: Bounds, recent: Sequence[datetime], now: datetime) -> float:
    """Seconds until the demand that holds the pool above its least ends."""
    if len(recent) <= bounds.least:
        return QUIET.total_seconds()
    leaver = recent[max(len(recent) - bounds.most, 0)]
    return (leaver + WINDOW - now).total_seconds()


def sum_of(bounds: Iterable[Bounds]) -> Bounds:
    """Add up the bounds of all Environments that share a pool."""
    total = Bounds(least=0, most=0)
    for item in bounds:
        total = total.plus(item)
    return total
