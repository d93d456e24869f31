"""B7, B8, B9: many streams of one server on loopback, and what a stream takes (`bench/streams/`)."""

from collections.abc import Sequence

from bench.stage import Order, Sample, Samples, Side, Stage
from bench.streams.phases import Delivery
from bench.streams.report import Compared
from bench.streams.run import AA, Plan, beside_stalled, deliveries, make_ready, memories, storms

ROUNDS = 2
KEPT_MAX = 5000
"""Samples kept of a line: every k-th, for a thousand readers make hundreds of thousands."""


def thinned(values: Sequence[float], most: int = KEPT_MAX) -> Sequence[float]:
    """Return every k-th value in the order of size, so that at most that many are left; the largest stays."""
    ordered = sorted(values)
    step = -(-len(ordered) // most) if ordered else 1
    return ordered[::-1][::step][::-1]


def _samples(compared: Compared, case: str, above: Side = Side.PATH, beneath: Side = Side.FLOOR) -> list[Sample]:
    return [
        Sample(case=case, value=value, side=side)
        for side, rounds in ((above, compared.rounds), (beneath, compared.floor))
        for value in thinned(_pooled(rounds))
    ]


def _pooled(rounds: Sequence[Delivery]) -> list[float]:
    return [value for delivery in rounds for value in delivery.samples]


async def _delivery(order: Order) -> Samples:
    make_ready()
    async for compared in deliveries(Plan(rounds=order.count(ROUNDS))):
        if compared.name == AA.name:
            for sample in _samples(compared, "100 readers", above=Side.TWIN):
                yield sample
            continue
        for sample in _samples(compared, compared.name):
            yield sample
        for side, rounds in ((Side.PATH, compared.rounds), (Side.FLOOR, compared.floor)):
            for delivery in rounds:
                yield Sample(case=compared.name, value=delivery.cpu_seconds * 1000, unit="cpu-ms", side=side)
    async for name, found, floor in memories(Plan()):
        yield Sample(case=f"memory, {name}", value=found / 1000, unit="KB a stream")
        yield Sample(case=f"memory, {name}", value=floor / 1000, unit="KB a stream", side=Side.FLOOR)


async def _stalled(order: Order) -> Samples:
    make_ready()
    compared = await beside_stalled(Plan(stalled_rounds=order.count(ROUNDS)))
    for sample in _samples(compared, compared.name):
        yield sample
    for delivery in compared.rounds:
        yield Sample(case="memory of the server grew by", value=delivery.rss_grown / 1e6, unit="MB")


async def _storm(order: Order) -> Samples:
    make_ready()
    plan = Plan(storm_rounds=order.count(ROUNDS))
    for side, found in zip((Side.PATH, Side.FLOOR), await storms(plan), strict=True):
        for storm in found:
            if storm.complete != plan.storm_readers:
                raise RuntimeError(f"{plan.storm_readers - storm.complete} readers missed events")
            case = f"{plan.storm_readers:,} readers, {plan.storm_events:,} events behind"
            yield Sample(case=case, value=storm.seconds, unit="s", side=side)


B7 = Stage(
    id="B7",
    title="SSE delivery",
    path="commit → client",
    floor="a raw asyncio server that writes the same bytes",
    target="p99 ≤ 2 times",
    seconds_max=300,
    alone=_delivery,
)

B8 = Stage(
    id="B8",
    title="slow readers",
    path="commit → client, beside 10 % stalled readers",
    floor="the same without stalled readers",
    target="p99 ≤ 1.2 times, memory bounded",
    seconds_max=240,
    alone=_stalled,
    is_quick=False,
)

B9 = Stage(
    id="B9",
    title="reconnect storm",
    path="1,000 readers come back at once → all caught up",
    floor="a raw asyncio server with the same log in memory",
    target="≤ 5 s, no gap",
    seconds_max=240,
    alone=_storm,
    is_quick=False,
)
