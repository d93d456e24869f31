"""B4: what the harness adds between a tool's result and the next request, step after step (`bench/steps.py`)."""

from bench import steps
from bench.stage import Order, Sample, Samples, Side, Stage


async def _measure(order: Order) -> Samples:
    found = await steps.measure(order.count(steps.STEPS))
    for row in found.rows():
        for side, values in ((Side.PATH, row.samples), (Side.FLOOR, row.floor)):
            for value in values:
                yield Sample(case=row.name.removeprefix("B4 "), value=value, side=side)
    for what, values in (("result to next request", found.waits), ("CPU of a step", found.cpu)):
        yield Sample(case=f"slope, {what}", value=steps.slope_us(values), unit="µs a step")
    yield Sample(case=f"a fresh worker reads {found.events:,} events and asks", value=found.resumed)


STAGE = Stage(
    id="B4",
    title="flatness",
    path="a tool's result → the next model request, the harness alone, the last steps of 1,000",
    floor="the first steps",
    target="flat: slope ≤ 1 µs a step",
    seconds_max=180,
    alone=_measure,
)
