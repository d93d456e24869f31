"""B14: a session that has gone to sleep, with its Pods, to the first output of the call that wakes it."""

import time
from collections.abc import Mapping
from typing import Any

from bench.pacing import until
from bench.rows.tools import bash, ran, told
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.world import World
from managed_agents.kube.resources import PODS

IDLE_SECONDS = 2
WORKSPACES: Mapping[str, tuple[Mapping[str, Any], int, int]] = {
    "no volume": ({}, 0, 4),
    "a volume with 1 GB": ({"workspace": {"size": "2Gi"}}, 1_000_000_000, 2),
}
"""What the Environment says of its sandboxes, the bytes that the session leaves in `/workspace`, and how many sleep."""
ASLEEP_SECONDS = 90.0


async def asleep(world: World) -> None:
    """Wait until no session of the namespace has a Pod. Raises: TimeoutError."""

    async def is_asleep() -> bool:
        return not await world.kube.list(PODS, namespace=world.namespace.name, labels="managedagents.dev/session")

    await until(is_asleep, seconds=ASLEEP_SECONDS)


async def _measure(order: Order, world: World) -> Samples:
    for case, (sandbox, fill, count) in WORKSPACES.items():
        name = f"sleepy-{fill.bit_length()}"
        environment = await world.environment(name, idle_seconds=IDLE_SECONDS, sandbox=sandbox)
        for _ in range(order.count(count)):
            started = time.monotonic()
            session = await world.api.create(told(bash("echo first")), environment=environment)
            await world.api.idle(session)
            yield Sample(case=case, value=(time.monotonic() - started) * 1000, side=Side.FLOOR)
            if fill:
                await ran(world, session, bash(f"head -c {fill} /dev/zero > /workspace/filled && sync"))
            await asleep(world)
            started = time.monotonic()
            await ran(world, session, bash("echo first"))
            yield Sample(case=case, value=(time.monotonic() - started) * 1000)
            await asleep(world)


STAGE = Stage(
    id="B14",
    title="sandbox resume",
    path="message to a sleeping session → the turn with its first output has ended",
    floor="the same of a new session, created cold",
    target="≤ 1.1 times without a volume",
    seconds_max=240,
    measure=_measure,
    is_quick=False,
)
