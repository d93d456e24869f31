"""B11: a tool use durable, to its result durable, in a sandbox that is there."""

import asyncio
import itertools

from bench.rows.costs import costs
from bench.rows.tools import bash, local, ran
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.world import World

MEGABYTE = "head -c 1000000 /dev/zero | tr '\\0' x"
CALLS = {"true": ("true", 200, 200), "1 MB of output": (MEGABYTE, 40, 10)}
"""The command, how many calls, and how many of them one session makes: long outputs would fill the model's window."""
AT_ONCE = 10
ROUNDS = 15
WARM_UP = 3


async def _ready(world: World) -> str:
    session = await world.api.create()
    await ran(world, session, bash("true", repeat=WARM_UP))
    return session


async def _measure(order: Order, world: World) -> Samples:
    for case, (command, calls, of_one) in CALLS.items():
        count, left = order.count(calls), order.count(calls)
        while left > 0:
            session, now = await _ready(world), min(left, of_one)
            before = await world.usages()
            for value in await ran(world, session, bash(command, repeat=now)):
                yield Sample(case=case, value=value)
            for sample in costs(f"{case}, with its model request", before, await world.usages(), now):
                yield sample
            left -= of_one
        sides = itertools.cycle((Side.FLOOR, Side.TWIN))
        for _ in range(2 * count):
            yield Sample(case=case, value=await local(command), side=next(sides))
    case = f"true, {AT_ONCE} calls of one response"
    rounds = max(1, order.count(ROUNDS * AT_ONCE) // AT_ONCE)
    calls_of_one = {"tools": [{"name": "bash", "input": {"command": "true"}}] * AT_ONCE, "repeat": rounds}
    for value in await ran(world, await _ready(world), calls_of_one):
        yield Sample(case=case, value=value)
    for _ in range(rounds):
        for value in await asyncio.gather(*(local("true") for _ in range(AT_ONCE))):
            yield Sample(case=case, value=value, side=Side.FLOOR)


STAGE = Stage(
    id="B11",
    title="tool round trip",
    path="tool use durable → result durable",
    floor="bash -c with the same command on this machine, as many at once",
    target="+5/25 ms",
    seconds_max=180,
    measure=_measure,
    note="The calls of one response run one after the other in the session's shell: the tenth waits for nine.",
)
