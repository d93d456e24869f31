"""What rounds of the server and of its floor, in turn, say together: a slow moment of the machine meets both."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.stats import interval, quantile
from bench.streams.phases import Delivery, Storm

HEADER = (
    f"{'stream: commit → client':<34} {'n':>7} {'p50 ms':>8} {'p99 ms':>8} {'floor p50':>10} {'floor p99':>10} "
    f"{'p50 ratio [95 %]':>20} {'p99 ratio [95 %]':>20} {'CPU':>7}"
)
NOTE = (
    "  milliseconds: of all rounds together. Ratios: of each round to the floor's round beside it, their median and\n"
    "  its bootstrap interval; CPU: the same of CPU seconds, appends included."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Rounds of a path, and beside each the round of its floor."""

    name: str
    rounds: Sequence[Delivery]
    floor: Sequence[Delivery]

    def line(self) -> str:
        """Render the row."""
        found, floor = _pooled(self.rounds), _pooled(self.floor)
        return (
            f"{self.name:<34} {len(found):>7} {quantile(found, 0.5):>8.2f} {quantile(found, 0.99):>8.2f} "
            f"{quantile(floor, 0.5):>10.2f} {quantile(floor, 0.99):>10.2f} "
            f"{_shown(self._ratios(0.5)):>20} {_shown(self._ratios(0.99)):>20} {median(self._cpu()):>6.2f}x"
        )

    def _ratios(self, share: float) -> list[float]:
        pairs = zip(self.rounds, self.floor, strict=True)
        return [quantile(found.samples, share) / quantile(floor.samples, share) for found, floor in pairs]

    def _cpu(self) -> list[float]:
        pairs = zip(self.rounds, self.floor, strict=True)
        return [found.cpu_seconds / floor.cpu_seconds for found, floor in pairs]


def storm_lines(found: Sequence[Storm], floor: Sequence[Storm], *, readers: int, events: int) -> list[str]:
    """Render the storms beside their floor's."""
    seconds = [storm.seconds for storm in found]
    beneath = [storm.seconds for storm in floor]
    ratios = [one / other for one, other in zip(seconds, beneath, strict=True)]
    return [
        f"{readers} readers, {events} events behind: {_shown(seconds)} s, floor {_shown(beneath)} s, "
        f"ratio {_shown(ratios)}",
        f"  CPU {median(s.cpu_seconds for s in found):.2f} s, floor {median(s.cpu_seconds for s in floor):.2f} s; "
        f"complete: {', '.join(str(storm.complete) for storm in found)}",
    ]


def _pooled(rounds: Sequence[Delivery]) -> list[float]:
    return [sample for delivery in rounds for sample in delivery.samples]


def _shown(values: Sequence[float]) -> str:
    low, high = interval(values, 0.5)
    return f"{quantile(values, 0.5):.2f} [{low:.2f}, {high:.2f}]"
