"""The whole bench of streams, on loopback, without a cluster: each round of the server beside one of its floor."""

import asyncio
import gc
import resource
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.streams.child import Child, child
from bench.streams.phases import Delivery, Storm, deliver, memory, storm
from bench.streams.report import HEADER, NOTE, Compared, storm_lines

PRODUCT, FLOOR = "bench.streams.product", "bench.streams.floor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One row of B7: so many streams over so many sessions, and events in turn. Sizes in bytes of text."""

    name: str
    streams: int
    sessions: int
    events: int
    gap_seconds: float
    size: int = 300


LOADS = (
    Load(name="1 reader", streams=1, sessions=1, events=200, gap_seconds=0.005),
    Load(name="100 readers", streams=100, sessions=1, events=100, gap_seconds=0.02),
    Load(name="500 readers", streams=500, sessions=1, events=50, gap_seconds=0.06),
    Load(name="1,000 readers", streams=1000, sessions=1, events=50, gap_seconds=0.12),
    Load(name="500 sessions, a reader each", streams=500, sessions=500, events=500, gap_seconds=0.005),
)
AA = Load(name="A/A: the floor beside itself", streams=100, sessions=1, events=100, gap_seconds=0.02)
STALLED = Load(name="32 KB events, 10 % stalled", streams=500, sessions=1, events=250, gap_seconds=0.04, size=32_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int = 7
    stalled_rounds: int = 5
    stalled_share: int = 10
    storm_rounds: int = 3
    storm_readers: int = 1000
    storm_events: int = 10_000
    memory_streams: int = 1000


def measure(plan: Plan, phases: Sequence[str] = ()) -> str:
    """Run the phases named, or every one, and return the table."""
    make_ready()
    return asyncio.run(_measure(plan, phases or tuple(PHASES)))


def make_ready() -> None:
    """Let this process hold thousands of connections, and let no pause of its own be taken for one of the server's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65536), hard))
    gc.disable()


async def _measure(plan: Plan, phases: Sequence[str]) -> str:
    lines = []
    for name in phases:
        print(f"bench: {name}", flush=True)
        lines += await PHASES[name](plan)
        gc.collect()
    return "\n".join(lines)


async def _delivery(plan: Plan) -> list[str]:
    return [HEADER, *[compared.line() async for compared in deliveries(plan)], NOTE]


async def deliveries(plan: Plan) -> AsyncIterator[Compared]:
    """Measure delivery: the floor beside itself, then each load beside the floor."""
    async with child(FLOOR) as floor, child(FLOOR) as twin:
        yield await _beside(twin, floor, AA, plan.rounds)
    for load in LOADS:
        async with child(FLOOR) as floor, _product() as product:
            yield await _beside(product, floor, load, plan.rounds)


async def _beside(found: Child, floor: Child, load: Load, rounds: int) -> Compared:
    sides: list[tuple[Child, Any, list[Delivery]]] = [
        (side, await side.do("prepare", name="load", count=load.sessions), []) for side in (found, floor)
    ]
    for number in range(rounds + 1):  # the first warms both up
        for side, sessions, deliveries in sides:
            delivery = await _deliver(side, sessions, load)
            if number:
                deliveries.append(delivery)
    return Compared(name=load.name, rounds=sides[0][2], floor=sides[1][2])


async def _deliver(side: Child, sessions: Sequence[Sequence[Any]], load: Load, stalled: int = 0) -> Delivery:
    return await deliver(
        side,
        sessions,
        streams=load.streams,
        events=load.events,
        size=load.size,
        gap_seconds=load.gap_seconds,
        stalled=stalled,
    )


async def beside_stalled(plan: Plan) -> Compared:
    """Measure how the others fare beside stalled readers; the floor is the same server without any."""
    stalled = STALLED.streams // plan.stalled_share
    awake: list[Delivery] = []
    beside: list[Delivery] = []
    async with _product() as product:
        sessions = await product.do("prepare", name="stalled", count=1)
        for _ in range(plan.stalled_rounds):
            awake.append(await _deliver(product, sessions, STALLED))
            beside.append(await _deliver(product, sessions, STALLED, stalled))
    return Compared(name=STALLED.name, rounds=beside, floor=awake)


async def _stalled(plan: Plan) -> list[str]:
    compared = await beside_stalled(plan)
    grown = max(found.rss_grown for found in compared.rounds) / 1e6
    dropped = ", ".join(str(found.dropped) for found in compared.rounds)
    return [
        f"{HEADER}  (floor: nobody stalled)",
        compared.line(),
        f"  dropped of {STALLED.streams // plan.stalled_share}: {dropped}; memory grew by {grown:.0f} MB",
    ]


async def storms(plan: Plan) -> tuple[list[Storm], list[Storm]]:
    """Let readers come back at once, to the server and to its floor, in turn."""
    found: list[Storm] = []
    beside: list[Storm] = []
    for number in range(plan.storm_rounds):
        for kept, server in ((found, _product()), (beside, child(FLOOR))):
            async with server as side:  # anew: no round shall find what another has cached
                readers, events = plan.storm_readers, plan.storm_events
                kept.append(await storm(side, name=f"storm-{number}", readers=readers, events=events))
    return found, beside


async def _storms(plan: Plan) -> list[str]:
    found, beside = await storms(plan)
    return storm_lines(found, beside, readers=plan.storm_readers, events=plan.storm_events)


async def _memory(plan: Plan) -> list[str]:
    return [
        f"memory a stream, {name:<18} {found / 1000:>6.1f} KB, floor {floor / 1000:.1f} KB"
        async for name, found, floor in memories(plan)
    ]


async def memories(plan: Plan) -> AsyncIterator[tuple[str, float, float]]:
    """Yield how the streams lie, the bytes that each takes at the server, and at the floor."""
    for sessions, name in ((1, "one session"), (plan.memory_streams, "a session each")):
        async with child(FLOOR) as floor, _product() as product:
            sizes = [await memory(side, sessions=sessions, streams=plan.memory_streams) for side in (product, floor)]
        yield name, sizes[0], sizes[1]


Phase = Callable[[Plan], Coroutine[Any, Any, list[str]]]
PHASES: Mapping[str, Phase] = {"delivery": _delivery, "stalled": _stalled, "storm": _storms, "memory": _memory}
"""B7, B8, B9, and what an open stream takes."""


@asynccontextmanager
async def _product() -> AsyncIterator[Child]:
    with tempfile.TemporaryDirectory() as directory:
        async with child(PRODUCT, directory) as product:
            yield product
