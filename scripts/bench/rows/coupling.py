"""C1: the first token where the brain waits for its hands, and where it does not."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.rows.tools import Event, bash
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.world import World
from support.cluster import egress_rules, script
from support.git_pod import GitPod, git_pod
from support.policyprobe import create

MODEL_SECONDS = (0.0, 0.6, 2.0)
"""The simulated model's own time to its first token."""
COUPLED, DECOUPLED = 12, 20
POOL = 3
CLONE_BYTES = 50_000_000
STAND_IN = bash("true")
"""The step that waits for the sandbox and the clone: it stands for a platform that provisions before it infers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where sessions of a kind run, what they are given, and which Pods must be at hand before each."""

    environment: str
    resources: Sequence[Mapping[str, Any]]
    blank: Sequence[str]


def _says(seconds: float) -> Event:
    return {"text": "Hello from the model.", "first_token_delay_seconds": seconds}


async def _first_token(world: World, place: Place, *steps: Event) -> float:
    """Let a new session without a harness take its first turn; return the milliseconds to its first token."""
    session = await world.api.create(environment=place.environment, resources=place.resources)
    for component in place.blank:
        await world.blank(component, 1)
    async with world.api.stream(session) as stream:
        started = time.monotonic()
        await world.api.send(session, script(*steps))
        first = await stream.turn()
    if first is None:
        raise RuntimeError(f"a turn of {session} ended without a streamed token")
    await world.api.delete(session)
    return (first - started) * 1000


async def _compared(order: Order, world: World, kind: str, place: Place, models: Sequence[float]) -> Samples:
    for seconds in models:
        case = f"model {seconds:g} s, {kind}"
        for _ in range(order.count(DECOUPLED)):
            yield Sample(case=case, value=await _first_token(world, place, _says(seconds)))
        for _ in range(order.count(COUPLED)):
            yield Sample(case=case, value=await _first_token(world, place, STAND_IN, _says(seconds)), side=Side.FLOOR)
    await world.cleared(environments=True)


@asynccontextmanager
async def _forge(world: World) -> AsyncIterator[GitPod]:
    """Serve a repository of that size, which sandboxes may reach and trust."""
    forge = await asyncio.to_thread(git_pod, world.namespace, memory="1Gi")
    await asyncio.to_thread(forge.make, "team/large", large_bytes=CLONE_BYTES)
    authorities = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authorities"}}
    create(world.namespace.name, {**authorities, "data": {"ca-bundle.crt": forge.certificate}})
    with egress_rules({"allowed_hosts": [forge.host]}):
        yield forge


async def _cloning(world: World, forge: GitPod) -> Place:
    mounts = [{"mountPath": "/certificates", "configMapRef": {"name": "authorities"}}]
    environment = await world.environment(
        "cloning",
        harness={"warmReplicas": POOL},
        sandbox={"mounts": mounts},
        config={"networking": {"type": "limited", "allowedHosts": [forge.host]}},
    )
    resources = [{"type": "github_repository", "url": forge.url("team/large")}]
    return Place(environment=environment, resources=resources, blank=("harness",))


async def _measure(order: Order, world: World) -> Samples:
    async with _forge(world) as forge:
        place, kind = await _cloning(world, forge), "cold sandbox and a 50 MB clone"
        async for sample in _compared(order, world, kind, place, MODEL_SECONDS):
            yield sample
    pools = {"harness": {"warmReplicas": POOL}, "sandbox": {"warmReplicas": POOL}}
    warm = await world.environment("coupled", **pools)
    place = Place(environment=warm, resources=(), blank=("harness", "sandbox"))
    async for sample in _compared(order, world, "warm sandbox", place, MODEL_SECONDS[1:2]):
        yield sample


STAGE = Stage(
    id="C1",
    title="coupled against decoupled",
    path="event posted to a new session, a warm harness at hand → first streamed token; the model's own time is in it",
    floor="the same, where sandbox and clone are awaited before the model is asked for its words",
    target="p50 0.4 times at 0.6 s (the published design: 60 % less at p50, over 90 % at p95)",
    seconds_max=1800,
    measure=_measure,
    is_quick=False,
    needs_warm=True,
    note="The coupled side is made by the client, with no switch in the product: its turn begins with a tool call "
    "`true` that the model makes at once, so the turn waits for sandbox and clone, and then for the model's first "
    "words. That stand-in costs one more model request and a tool's round trip, which B3 and B11 tell.",
)
