"""From samples to figures: quantiles of each line of a row beside its floor's, and their ratio."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.stage import Sample, Side
from bench.stats import Estimate, quantile_of, ratio_of

SHARES = (0.5, 0.95, 0.99)
P99_SAMPLES_MIN = 1000
"""A p99 of fewer samples is shown, and judged by nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of a row. `ratios` are by share, and empty where the line has no floor."""

    stage: str
    case: str
    unit: str
    count: int
    path: Mapping[float, Estimate]
    floor: Mapping[float, Estimate]
    ratios: Mapping[float, Estimate]
    twin: Estimate | None
    """The ratio of the floor's median to its own, measured apart."""

    @property
    def name(self) -> str:
        """Return what a recorded run knows the line by."""
        return f"{self.stage} {self.case} [{self.unit}]"


def figures_of(samples: Mapping[str, Iterable[Sample]]) -> list[Figure]:
    """Return the figures of a run's samples by stage, in the order in which the lines came."""
    return [figure for stage, found in samples.items() for figure in _of_stage(stage, found)]


def _of_stage(stage: str, samples: Iterable[Sample]) -> list[Figure]:
    lines: defaultdict[tuple[str, str], defaultdict[Side, list[float]]] = defaultdict(lambda: defaultdict(list))
    shown: dict[tuple[str, str], None] = {}
    for sample in samples:
        line = (sample.case, sample.unit)
        lines[line][sample.side].append(sample.value)
        if sample.side is Side.PATH:
            shown[line] = None
    return [_figure(stage, case, unit, lines[case, unit]) for case, unit in shown]


def _figure(stage: str, case: str, unit: str, sides: Mapping[Side, Sequence[float]]) -> Figure:
    path, floor, twin = sides[Side.PATH], sides[Side.FLOOR], sides[Side.TWIN]
    return Figure(
        stage=stage,
        case=case,
        unit=unit,
        count=len(path),
        path={share: quantile_of(path, share) for share in SHARES},
        floor={share: quantile_of(floor, share) for share in SHARES} if floor else {},
        ratios={share: ratio_of(path, floor, share) for share in SHARES} if floor else {},
        twin=ratio_of(twin, floor, 0.5) if floor and twin else None,
    )
