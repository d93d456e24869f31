"""B16: the operator killed while many Sessions change, to the last of them reconciled; beside a bare kopf operator."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bench.rows.bare_kopf import ANNOTATION
from bench.rows.creation import session_object
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.raw import sightings
from bench.world.world import World
from managed_agents.kube.resources import CONFIG_MAPS, PODS, SESSIONS, Manifest
from support.cluster import kill_container

OBJECTS = 200
AT_ONCE = 16
SYSTEM = "managed-agents-system"
OPERATOR = "app.kubernetes.io/name=managed-agents-operator"


async def _each(names: Sequence[str], do: Callable[[str], Awaitable[object]]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with gate:
            await do(name)

    await asyncio.gather(*map(one, names))


def reconciled(title: str) -> Callable[[Manifest], bool]:
    """Return a probe: a Session of that title whose status speaks of its newest generation."""

    def probe(session: Manifest) -> bool:
        conditions = session.get("status", {}).get("conditions") or []
        generation = session["metadata"]["generation"]
        said = any(c["type"] == "Ready" and c.get("observedGeneration") == generation for c in conditions)
        return said and session["spec"].get("title") == title

    return probe


async def _ours(world: World, names: Sequence[str]) -> float:
    namespace = world.namespace.name

    async def create(name: str) -> None:
        made = session_object(name, "")
        made["spec"] |= {"events": [], "title": "before"}
        await world.kube.create(SESSIONS, namespace, made)

    async def change(name: str) -> None:
        await world.kube.merge(SESSIONS, namespace, name, {"spec": {"title": "after"}})

    async with sightings(world.kube, SESSIONS, reconciled("before")) as settled:
        await _each(names, create)
        await settled.count(len(names))
    async with sightings(world.kube, SESSIONS, reconciled("after")) as drained:
        (pod,) = await world.kube.list(PODS, namespace=SYSTEM, labels=OPERATOR)
        started = time.monotonic()
        await asyncio.gather(asyncio.to_thread(kill_container, pod, "operator"), _each(names, change))
        await drained.count(len(names))
    return time.monotonic() - started


async def _kopf(namespace: str) -> asyncio.subprocess.Process:
    program = str(Path(__file__).with_name("bare_kopf.py"))
    command = (sys.executable, "-m", "kopf", "run", "--standalone", "--quiet", "-n", namespace, program)
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, env={**os.environ})


async def _bare(world: World, names: Sequence[str]) -> float:
    """Do the same with a bare kopf operator of this machine: ConfigMaps in the Sessions' place."""
    namespace = world.namespace.name

    async def create(name: str) -> None:
        metadata = {"name": name, "labels": {"bench": "kopf"}}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"turn": "before"}}
        await world.kube.create(CONFIG_MAPS, namespace, made)

    async def change(name: str) -> None:
        await world.kube.merge(CONFIG_MAPS, namespace, name, {"data": {"turn": "after"}})

    def noted(turn: str) -> Callable[[Manifest], bool]:
        return lambda one: (one["metadata"].get("annotations") or {}).get(ANNOTATION) == turn

    operator = await _kopf(namespace)
    try:
        async with sightings(world.kube, CONFIG_MAPS, noted("before"), labels="bench=kopf") as settled:
            await _each(names, create)
            await settled.count(len(names))
        async with sightings(world.kube, CONFIG_MAPS, noted("after"), labels="bench=kopf") as drained:
            started = time.monotonic()
            operator.kill()
            await operator.wait()
            again, _ = await asyncio.gather(_kopf(namespace), _each(names, change))
            operator = again
            await drained.count(len(names))
        return time.monotonic() - started
    finally:
        operator.kill()
        await operator.wait()


async def _measure(order: Order, world: World) -> Samples:
    count = order.count(OBJECTS)
    names = [f"many-{number}" for number in range(count)]
    case, unit = f"{count} objects", "ms an object"
    yield Sample(case=case, value=await _ours(world, names) * 1000 / count, unit=unit)
    yield Sample(case=case, value=await _bare(world, names) * 1000 / count, unit=unit, side=Side.FLOOR)


STAGE = Stage(
    id="B16",
    title="operator recovery",
    path="operator killed while every Session changes → the last status speaks of its newest generation",
    floor="bare kopf that notes each change of a ConfigMap, killed and started the same",
    target="at most twice bare kopf's time",
    seconds_max=300,
    measure=_measure,
    is_quick=False,
)
