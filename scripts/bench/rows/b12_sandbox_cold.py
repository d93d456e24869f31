"""B12: the first tool call of a session, to its output, where a sandbox has to be made."""

import asyncio

from bench.rows.sandboxes import bare_pods, executed, first_output, leased, sandbox_image
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.world import World

ALONE, AT_ONCE = 6, 10
TWINS = 3
EXECUTED = 20


async def _measure(order: Order, world: World) -> Samples:
    image = await sandbox_image()
    await bare_pods(world, image, 1)
    alone = order.count(ALONE)
    for session in await leased(world, alone):
        yield Sample(case="1 at a time", value=await first_output(world, session))
        for value in await bare_pods(world, image, 1):
            yield Sample(case="1 at a time", value=value, side=Side.FLOOR)
    for _ in range(TWINS):
        for value in await bare_pods(world, image, 1):
            yield Sample(case="1 at a time", value=value, side=Side.TWIN)
    await world.cleared()
    case = f"{AT_ONCE} at once"
    sessions = await leased(world, AT_ONCE)
    for value in await asyncio.gather(*(first_output(world, session) for session in sessions)):
        yield Sample(case=case, value=value)
    await world.cleared()
    for value in await bare_pods(world, image, AT_ONCE):
        yield Sample(case=case, value=value, side=Side.FLOOR)
    for value in await executed(world, image, EXECUTED):
        yield Sample(case="peer: kubectl exec in a Pod of a warm Deployment", value=value)


STAGE = Stage(
    id="B12",
    title="sandbox cold",
    path="first tool use durable → its result durable, harness there, no sandbox",
    floor="a bare Pod of the same image, created → ready",
    target="≤ 1.1 times",
    seconds_max=300,
    measure=_measure,
)
