"""B1: a session created over the public API, to the model's first sight of it."""

import secrets
from collections.abc import Awaitable, Callable

from bench.pacing import open_loop
from bench.rows.costs import costs
from bench.rows.creation import CreationFloor, creation_floor, floors
from bench.stage import Order, Sample, Samples, Stage
from bench.world.world import World

COLD = ("cold, 0.25/s", 0.25, 8, 1)
ALONE = ("warm, one at a time", 1.0, 1, 20)
WARM = (ALONE, ("warm, 1/s", 1.0, 10, 1), ("warm, 10/s", 10.0, 10, 1), ("warm, 50/s", 50.0, 10, 1))
"""Name, arrivals a second, how many (a burst that the pool holds, for a Pod starts slower than they come), how often.

Before each burst the pool is full and has come to rest."""
POOL = 10
PLACES = {False: "box", True: "warm"}
"""The Environment of a case, by whether it is warm."""

Create = Callable[[str, str], Awaitable[object]]
"""Creates a session in the Environment of that name, with a message of this text."""


async def arrivals(world: World, create: Create, case: str, per_second: float, count: int) -> Samples:
    """Create sessions at that rate; yield the milliseconds to the model, and CPU for each."""
    place = PLACES[case.startswith("warm")]

    async def once(due: float) -> float:
        mark = secrets.token_hex(6)
        arrival = world.model.expect(mark)
        await create(place, f"hello {mark}")
        return (await arrival.at() - due) * 1000

    before = await world.usages()
    async with world.model.witness():
        for value in await open_loop(count, per_second, once):
            yield Sample(case=case, value=value)
    for sample in costs(case, before, await world.usages(), count):
        yield sample


async def created(order: Order, world: World, floor: CreationFloor, create: Create) -> Samples:
    """Yield cold arrivals, and warm ones if they are ordered: after the cold ones, for a pool serves a namespace."""
    for case, per_second, count, bursts in (COLD, *(WARM if order.warm else ())):
        async for sample in floors(floor, case):
            yield sample
        for _ in range(max(1, order.count(count * bursts) // count)):
            if case.startswith("warm"):
                await world.blank("harness", POOL)
            async for sample in arrivals(world, create, case, per_second, count):
                yield sample
            if bursts == 1:
                await world.cleared()
        if bursts > 1:
            await world.cleared()
        if order.warm and case == COLD[0]:
            await world.environment(PLACES[True], harness={"warmReplicas": POOL})


async def _measure(order: Order, world: World) -> Samples:
    async def create(place: str, text: str) -> None:
        await world.api.create(text, environment=await world.environment_id(place))

    await world.environment_id(PLACES[False])  # asked for once, and not within the first sample
    async with creation_floor(world, watch=False) as floor:
        async for sample in created(order, world, floor, create):
            yield sample


STAGE = Stage(
    id="B1",
    title="create",
    path="POST session → model sees its request",
    floor="HTTP, 2 commits, a Session object, a hop to the model",
    target="15/60 ms with a warm harness",
    seconds_max=600,
    measure=_measure,
)
