"""B5 and B6: appends and slices of the event log, in this process (`bench/log.py`)."""

from collections.abc import Sequence

from bench import log
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.stats import Row

SAMPLES, EVENTS = 1600, 100_000


async def _appends(order: Order) -> Samples:
    rows, rates = await log.appends(order.count(SAMPLES))
    for sample in _samples(rows):
        yield sample
    for rate in rates:
        yield Sample(case=_short(rate.name), value=1e6 / rate.per_second, unit="µs an event")
        yield Sample(case=f"{_short(rate.name)}, CPU", value=rate.cpu, unit="µs an event")


async def _reads(order: Order) -> Samples:
    for sample in _samples(await log.reads(EVENTS, order.count(SAMPLES))):
        yield sample


def _samples(rows: Sequence[Row]) -> list[Sample]:
    return [
        Sample(case=_short(row.name), value=value, side=side)
        for row in rows
        for side, values in ((Side.PATH, row.samples), (Side.FLOOR, row.floor))
        for value in values
    ]


def _short(name: str) -> str:
    """Leave out the row's number, which the stage has."""
    return name.split(" ", 1)[1] if name.startswith("B") else name


B5 = Stage(
    id="B5",
    title="append",
    path="append → acknowledged, in process",
    floor="write and fdatasync of the same bytes",
    target="1.5 times, ≥ 5,000 events/s with 64 writers",
    seconds_max=240,
    alone=_appends,
)

B6 = Stage(
    id="B6",
    title="log read",
    path="a slice of 100 at the head, middle and tail of 100,000",
    floor="plain SQL",
    target="≤ 1.5 times, O(slice)",
    seconds_max=240,
    alone=_reads,
)
