"""What the two doors of creation are measured against: their parts without us, one after the other."""

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.pacing import moments, since
from bench.stage import Sample, Samples, Side
from bench.world.raw import Sightings, sightings
from bench.world.world import World
from managed_agents.contracts.names import ANNOTATION_PAUSED
from managed_agents.kube.resources import SESSIONS
from support.cluster import managed, message

RECORD_BYTES = 4096
COMMITS = 2
FLOOR_SAMPLES = 30
FLOORS_PER_SECOND = 10.0

_numbers = itertools.count()


def session_object(name: str, text: str, **annotations: str) -> dict[str, Any]:
    """Return a Session with one message."""
    spec = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "box"}, "events": [message("first", text)]}
    made = managed("Session", name, spec)
    made["metadata"]["annotations"] = annotations
    return made


class CreationFloor:
    """An HTTP round trip to the server, two commits, a Session object that nobody reconciles, a hop to the model."""

    def __init__(self, world: World, descriptor: int, watched: Sightings | None) -> None:
        self._world, self._descriptor, self._watched = world, descriptor, watched

    async def once(self, due: float) -> float:
        """Do it all once; return milliseconds since `due`."""
        world, name = self._world, f"floor-{next(_numbers)}"
        await world.api.health()
        await asyncio.to_thread(self._commit)
        paused = session_object(name, "never read", **{ANNOTATION_PAUSED: "true"})
        await world.kube.create(SESSIONS, world.namespace.name, paused)
        if self._watched is not None:
            await self._watched.seen(name)
        async with world.http.get(f"{world.model.url}/healthz") as answer:
            await answer.read()
        return since(due)

    def _commit(self) -> None:
        for _ in range(COMMITS):
            os.write(self._descriptor, b"x" * RECORD_BYTES)
            os.fdatasync(self._descriptor)


@asynccontextmanager
async def creation_floor(world: World, *, watch: bool) -> AsyncIterator[CreationFloor]:
    """Make the floor ready; with a watch it also waits until a watch shows the object."""
    with tempfile.TemporaryFile() as file:
        if not watch:
            yield CreationFloor(world, file.fileno(), None)
            return
        async with sightings(world.kube, SESSIONS, lambda _: True) as watched:
            yield CreationFloor(world, file.fileno(), watched)


async def floors(floor: CreationFloor, case: str) -> Samples:
    """Yield the floor, and the floor beside itself."""
    side = itertools.cycle((Side.TWIN, Side.FLOOR))
    async for due in moments(2 * FLOOR_SAMPLES, FLOORS_PER_SECOND):
        yield Sample(case=case, value=await floor.once(due), side=next(side))
