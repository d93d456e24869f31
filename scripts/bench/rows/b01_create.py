"""B1: a session created over the public API, to the model's first sight of it."""

import secrets
from collections.abc import Awaitable, Callable

from bench.pacing import open_loop
from bench.rows.costs import costs
from bench.rows.creation import creation_floor, floors
from bench.stage import Order, Sample, Samples, Stage
from bench.world.world import World

COLD = ("cold, 0.25/s", 0.25, 8)
WARM = (("warm, 1/s", 1.0, 10), ("warm, 10/s", 10.0, 10), ("warm, 50/s", 50.0, 10))
"""Name, arrivals a second, and how many: a burst that the pool holds, for a Pod starts slower than they come."""
POOL = 10

Create = Callable[[str], Awaitable[object]]
"""Creates a session with a message of this text."""


async def arrivals(world: World, create: Create, case: str, per_second: float, count: int) -> Samples:
    """Create sessions at that rate; yield the milliseconds to the model, and CPU of server and operator for each."""

    async def once(due: float) -> float:
        mark = secrets.token_hex(6)
        arrival = world.model.expect(mark)
        await create(f"hello {mark}")
        return (await arrival.at() - due) * 1000

    before = await world.usages()
    async with world.model.witness():
        for value in await open_loop(count, per_second, once):
            yield Sample(case=case, value=value)
    for sample in costs(case, before, await world.usages(), count):
        yield sample


async def _measure(order: Order, world: World) -> Samples:
    cases = WARM if order.warm else (COLD,)
    environment: str | None = None
    if order.warm:
        environment = await world.environment("warm", harness={"warmReplicas": POOL})
    async with creation_floor(world, watch=False) as floor:
        for case, per_second, count in cases:
            async for sample in floors(floor, case):
                yield sample
            for _ in range(max(1, order.count(count) // count)):
                if order.warm:
                    await world.blank("harness", POOL)
                create = lambda text: world.api.create(text, environment=environment)  # noqa: E731 - bound here
                async for sample in arrivals(world, create, case, per_second, count):
                    yield sample
                await world.cleared()


STAGE = Stage(
    id="B1",
    title="create",
    path="POST session → model sees its request",
    floor="HTTP, 2 commits, a Session object, a hop to the model",
    target="15/60 ms with a warm harness",
    seconds_max=240,
    measure=_measure,
)
