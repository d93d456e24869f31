"""B18: what an idle session costs: memory of every process of ours, bytes in etcd, writes while nothing happens."""

import asyncio
import re
import sys
from collections.abc import Mapping

from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.processes import Usage
from bench.world.world import World

SESSIONS = 200
FIRST = 50
"""Sessions before the first look: what grows once, whatever comes, is no cost of a session."""
AT_ONCE = 8
QUIET_SECONDS = 45.0
SETTLE_SECONDS = 15.0
TASKS = 5000
DELETED_SECONDS = 0.6
"""Patience for the deletion of one session."""

_WRITES = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_VERBS = {"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}

_TASKS_PROGRAM = """
import asyncio, pathlib, os
def rss(): return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
async def main():
    before = rss()
    tasks = [asyncio.create_task(asyncio.Event().wait()) for _ in range({count})]
    await asyncio.sleep(0)
    print((rss() - before) / {count})
    for task in tasks: task.cancel()
asyncio.run(main())
"""


def writes_of(metrics: str) -> float:
    """Return how many writes of our kinds and of Deployments and Pods a kube-apiserver's metrics count."""
    total = 0.0
    for found in _WRITES.finditer(metrics):
        labels = dict(_LABEL.findall(found["labels"]))
        ours = labels.get("group") == "managedagents.dev" or labels.get("resource") in {"deployments", "pods"}
        if ours and labels.get("verb") in _VERBS and labels.get("dry_run", "") == "":
            total += float(found["count"])
    return total


async def _task_bytes() -> float:
    program = _TASKS_PROGRAM.format(count=TASKS)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return float(output)


async def _with_sessions(world: World, count: int) -> Mapping[str, Usage]:
    """Create so many more sessions, and return what our Pods use once they have settled."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def create(number: int) -> None:
        async with gate:
            await world.api.create(title=f"idle {number}")

    await asyncio.gather(*(create(number) for number in range(count)))
    await asyncio.sleep(SETTLE_SECONDS)
    return await world.usages()


async def _measure(order: Order, world: World) -> Samples:
    count = order.count(SESSIONS)
    before = await _with_sessions(world, FIRST)
    after = await _with_sessions(world, count)
    if "harness" in after or "sandbox" in after:
        raise RuntimeError("an idle session has a Pod")
    grown = {name: (after[name].bytes - before[name].bytes) / count / 1000 for name in before if name in after}
    for component in ("server", "operator"):
        if component in grown:
            yield Sample(case=f"memory, {component}", value=grown[component], unit="KB a session")
    if grown:
        yield Sample(case="memory, all processes", value=sum(grown.values()), unit="KB a session")
        floor = await _task_bytes() / 1000
        yield Sample(case="memory, all processes", value=floor, unit="KB a session", side=Side.FLOOR)
    for size in await world.raw.stored_bytes(
        f"/apis/managedagents.dev/v1alpha1/namespaces/{world.namespace.name}/sessions"
    ):
        yield Sample(case="stored in etcd", value=size / 1000, unit="KB a session")
    wrote = writes_of(await world.raw.text("/metrics"))
    await asyncio.sleep(QUIET_SECONDS)
    wrote = writes_of(await world.raw.text("/metrics")) - wrote
    yield Sample(case=f"writes in {QUIET_SECONDS:.0f} s, all sessions", value=wrote, unit="writes")
    await world.cleared(seconds=60 + DELETED_SECONDS * count)


STAGE = Stage(
    id="B18",
    title="idle density",
    path="idle sessions: memory of server and operator, bytes in etcd, periodic writes",
    floor="an asyncio task that waits",
    target="0 Pods, ≤ 20 KB of memory, ≤ 8 KB in etcd, 0 periodic writes",
    seconds_max=360,
    measure=_measure,
)
