"""B13: the first tool call of a session where a blank sandbox is at hand, a burst of them, and the pool's refill."""

import asyncio
import time

from bench.rows.sandboxes import first_output, leased
from bench.rows.tools import local
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.world import World

POOL = 5
ALONE = 20


async def _measure(order: Order, world: World) -> Samples:
    environment = await world.environment("warm", sandbox={"warmReplicas": POOL})
    await world.blank("sandbox", POOL)
    for session in await leased(world, order.count(ALONE), environment):
        await world.blank("sandbox", POOL)
        yield Sample(case="1 at a time", value=await first_output(world, session))
        yield Sample(case="1 at a time", value=await local("echo first"), side=Side.FLOOR)
    await world.cleared()
    sessions = await leased(world, POOL, environment)
    await world.blank("sandbox", POOL)
    started = time.monotonic()
    for value in await asyncio.gather(*(first_output(world, session) for session in sessions)):
        yield Sample(case=f"burst of {POOL}", value=value)
    for value in await asyncio.gather(*(local("echo first") for _ in range(POOL))):
        yield Sample(case=f"burst of {POOL}", value=value, side=Side.FLOOR)
    await world.blank("sandbox", POOL)
    yield Sample(case=f"refill of {POOL}", value=time.monotonic() - started, unit="s")


STAGE = Stage(
    id="B13",
    title="sandbox warm",
    path="first tool use durable → its result durable, harness there, a blank sandbox too",
    floor="bash -c echo on this machine",
    target="50/200 ms",
    seconds_max=900,
    measure=_measure,
    is_quick=False,
    needs_warm=True,
)
