"""B17: what one life of a session costs the operator: writes at the kube-apiserver, and CPU."""

import asyncio
import json
import time

from bench.rows.b14_sandbox_resume import asleep
from bench.rows.tools import bash, told
from bench.stage import Order, Sample, Samples, Stage
from bench.world.world import World
from support.cluster import eventually, kubectl

LIVES = 6
IDLE_SECONDS = 3
TOLD_SECONDS = 60
REST_SECONDS = 15.0


async def _measure(order: Order, world: World) -> Samples:
    count = order.count(LIVES)
    environment = await world.environment("short", idle_seconds=IDLE_SECONDS)
    resting = await world.usages()
    await asyncio.sleep(REST_SECONDS)
    before, started = await world.usages(), time.monotonic()
    for _ in range(count):
        session = await world.api.create(told(bash("echo a life")), environment=environment)
        await world.api.idle(session)
    await asleep(world)
    await world.cleared()
    after, seconds = await world.usages(), time.monotonic() - started
    writes = await asyncio.to_thread(operator_writes, world.namespace.name, count)
    for value in writes[-count:]:
        yield Sample(case="operator, Kubernetes Events apart", value=float(value), unit="writes")
    for component in ("operator", "server"):
        if component in before and component in after:
            rest = (before[component].cpu_seconds - resting[component].cpu_seconds) / REST_SECONDS
            spent = after[component].cpu_seconds - before[component].cpu_seconds - rest * seconds
            yield Sample(case=f"{component}, a life", value=spent * 1000 / count, unit="cpu-ms")
            yield Sample(case=f"{component}, a second at rest", value=rest * 1000, unit="cpu-ms")


def operator_writes(namespace: str, count: int) -> list[int]:
    """Return the operator's own counts for sessions of the namespace that are gone, once so many are told."""

    def told_of() -> list[int] | None:
        log = kubectl("logs", "-n", "managed-agents-system", "deployment/managed-agents-operator", "--tail=3000")
        lines = [json.loads(line) for line in log.splitlines() if '"session_removed"' in line]
        counts = [int(line["operator_writes"]) for line in lines if line["namespace"] == namespace]
        return counts if len(counts) >= count else None

    return eventually("the operator has told its writes", told_of, seconds=TOLD_SECONDS)


STAGE = Stage(
    id="B17",
    title="reconcile cost",
    path="one session's life: created, a turn with a sandbox, asleep, deleted",
    floor="none",
    target="≤ 16 writes, ≤ 50 CPU-ms of the operator",
    seconds_max=300,
    measure=_measure,
    note="CPU of a life is what the lives took beyond what the same process takes at rest in as many seconds.",
)
