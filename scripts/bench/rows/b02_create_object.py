"""B2: a Session created as an object, to the model's first sight of it."""

import itertools

from bench.rows.b01_create import COLD, POOL, WARM, arrivals
from bench.rows.creation import creation_floor, floors, session_object
from bench.stage import Order, Samples, Stage
from bench.world.world import World
from managed_agents.kube.resources import SESSIONS


async def _measure(order: Order, world: World) -> Samples:
    numbers = itertools.count()
    name = "warm" if order.warm else "box"
    if order.warm:
        await world.environment(name, harness={"warmReplicas": POOL})

    async def create(text: str) -> None:
        made = session_object(f"by-object-{next(numbers)}", text)
        made["spec"]["environmentRef"]["name"] = name
        await world.kube.create(SESSIONS, world.namespace.name, made)

    async with creation_floor(world, watch=True) as floor:
        for case, per_second, count in WARM[:2] if order.warm else (COLD,):
            async for sample in floors(floor, case):
                yield sample
            for _ in range(max(1, order.count(count) // count)):
                if order.warm:
                    await world.blank("harness", POOL)
                async for sample in arrivals(world, create, case, per_second, count):
                    yield sample
                await world.cleared()


STAGE = Stage(
    id="B2",
    title="create by object",
    path="Session object created → model sees its request",
    floor="that of B1, and a watch that shows the object",
    target="30/150 ms with a warm harness",
    seconds_max=240,
    measure=_measure,
)
