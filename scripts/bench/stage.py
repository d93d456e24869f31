"""What a row of the bench is: words about it, and a coroutine that yields samples. Nothing here measures anything."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from bench.world.world import World


class Side(StrEnum):
    """Which of the paths that one run compares a sample is of."""

    PATH = "path"
    FLOOR = "floor"
    TWIN = "twin"
    """The floor measured beside itself (A/A): how far a ratio strays where nothing differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One figure. `case` names a line of the row, such as `10 at once`; less is better whatever the unit."""

    case: str
    value: float
    side: Side = Side.PATH
    unit: str = "ms"

    def line(self, stage: str) -> dict[str, Any]:
        """Return what a line of the raw data holds."""
        return {"stage": stage, **asdict(self)}

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Self:
        """Read such a line. Raises: KeyError, ValueError."""
        return cls(case=line["case"], value=float(line["value"]), side=Side(line["side"]), unit=line["unit"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a caller asks of a stage: its own number of samples or this one, warm Pods at hand, cores kept apart."""

    samples: int | None = None
    warm: bool = False
    pin: bool = False

    def count(self, quick: int) -> int:
        """Return how many samples to take where the quick run takes so many."""
        return quick if self.samples is None else self.samples


Samples = AsyncGenerator[Sample, None]

Measure = Callable[[Order, "World"], Samples]
"""Yields samples, with a cluster to measure on."""

Alone = Callable[[Order], Samples]
"""Yields samples of what runs on this machine without a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One row. `seconds_max` bounds it in the quick run; an order with a number of samples is not bounded."""

    id: str
    title: str
    path: str
    floor: str
    target: str
    seconds_max: float
    measure: Measure | None = None
    alone: Alone | None = None
    is_quick: bool = True
    """Whether `make bench` runs it when no stage is named."""
    needs_warm: bool = False
    note: str = ""
    """What a reader must know to take the figures for no more than they are."""
