"""C2: many new sessions at once on few warm harnesses: how long each waits, in which order, and what it costs."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from bench.rows.b17_reconcile_cost import operator_writes
from bench.stage import Order, Sample, Samples, Stage
from bench.world.world import World

SESSIONS, WARM = 50, 5
POOL_SECONDS_MAX = 240.0


async def _measure(order: Order, world: World) -> Samples:
    count = order.count(SESSIONS)
    environment = await world.environment("burst", harness={"warmReplicas": WARM, "maxWarmReplicas": WARM})
    sessions = [await world.api.create(environment=environment) for _ in range(count)]
    await world.blank("harness", WARM, seconds=POOL_SECONDS_MAX)
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(world.api.stream(session)) for session in sessions]
        asked: list[float] = []
        for session in sessions:
            asked.append(time.monotonic())
            await world.api.send(session, "hello")
        told = await asyncio.gather(*(stream.turn() for stream in streams))
    came = [first for first in told if first is not None]
    if len(came) != count:
        raise RuntimeError(f"{count - len(came)} of {count} sessions ended their turn without a streamed token")
    waits = [(first - at) * 1000 for first, at in zip(came, asked, strict=True)]
    for place, value in enumerate(waits):
        case = f"the first {WARM}" if place < WARM else f"the other {count - WARM}"
        yield Sample(case=f"first token, {case}", value=value)
    yield Sample(case="all answered after", value=(max(came) - asked[0]), unit="s")
    for value in displacements(came):
        yield Sample(case="places from the order asked", value=float(value), unit="places")
    await world.cleared()
    for value in await asyncio.to_thread(operator_writes, world.namespace.name, count):
        yield Sample(case="operator, Kubernetes Events apart", value=float(value), unit="writes")


def displacements(moments: Sequence[float]) -> list[int]:
    """Return by how many places each is from where it would be were the moments in order."""
    ranked = sorted(range(len(moments)), key=moments.__getitem__)
    return [abs(place - index) for place, index in enumerate(ranked)]


STAGE = Stage(
    id="C2",
    title="burst",
    path=f"{SESSIONS} events posted, one after the other, to as many new sessions; {WARM} warm harnesses",
    floor="none",
    target="all answered, the first from warm harnesses, in order; ≤ 16 writes a session",
    seconds_max=600,
    measure=_measure,
    is_quick=False,
    needs_warm=True,
)
