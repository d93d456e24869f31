"""B2: a Session created as an object, to the model's first sight of it."""

import itertools

from bench.rows.b01_create import created
from bench.rows.creation import creation_floor, session_object
from bench.stage import Order, Samples, Stage
from bench.world.world import World
from managed_agents.kube.resources import SESSIONS


async def _measure(order: Order, world: World) -> Samples:
    numbers = itertools.count()

    async def create(place: str, text: str) -> None:
        made = session_object(f"by-object-{next(numbers)}", text)
        made["spec"]["environmentRef"]["name"] = place
        await world.kube.create(SESSIONS, world.namespace.name, made)

    async with creation_floor(world, watch=True) as floor:
        async for sample in created(order, world, floor, create):
            yield sample


STAGE = Stage(
    id="B2",
    title="create by object",
    path="Session object created → model sees its request",
    floor="that of B1, and a watch that shows the object",
    target="30/150 ms with a warm harness",
    seconds_max=600,
    measure=_measure,
)
