"""B14: a session that has gone to sleep, with its Pods, to the first output of the call that wakes it."""

import time

from bench.pacing import until
from bench.rows.sandboxes import first_output
from bench.rows.tools import bash, told
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.world import World
from managed_agents.kube.resources import PODS

IDLE_SECONDS = 2
SLEEPERS = 4
ASLEEP_SECONDS = 90.0


async def asleep(world: World) -> None:
    """Wait until no session of the namespace has a Pod. Raises: TimeoutError."""

    async def is_asleep() -> bool:
        return not await world.kube.list(PODS, namespace=world.namespace.name, labels="managedagents.dev/session")

    await until(is_asleep, seconds=ASLEEP_SECONDS)


async def _measure(order: Order, world: World) -> Samples:
    environment = await world.environment("sleepy", idle_seconds=IDLE_SECONDS)
    case = "empty workspace"
    for _ in range(order.count(SLEEPERS)):
        started = time.monotonic()
        session = await world.api.create(told(bash("echo first")), environment=environment)
        await world.api.idle(session)
        yield Sample(case=case, value=(time.monotonic() - started) * 1000, side=Side.FLOOR)
        await asleep(world)
        started = time.monotonic()
        await first_output(world, session)
        yield Sample(case=case, value=(time.monotonic() - started) * 1000)
        await asleep(world)


STAGE = Stage(
    id="B14",
    title="sandbox resume",
    path="message to a sleeping session → the turn with its first output has ended",
    floor="the same of a new session, created cold",
    target="≤ 1.1 times with an empty workspace",
    seconds_max=240,
    measure=_measure,
    is_quick=False,
)
