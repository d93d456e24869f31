"""B20: a harness Pod, created to ready and its memory; and what an open stream takes at the server."""

import asyncio
import sys
import time
from pathlib import Path

from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.processes import pids_of
from bench.world.raw import sightings
from bench.world.world import World, is_ready
from managed_agents.kube.resources import PODS

PODS_STARTED = 4
_PROGRAM = "import sys; print('ready', flush=True); sys.stdin.read()"


async def _bare_python() -> tuple[float, float]:
    """Start a Python that does nothing; return milliseconds to its first word, and its memory in MB."""
    started = time.monotonic()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, stdin=pipe, stdout=pipe)
    if process.stdout is None:
        raise RuntimeError("no pipe")
    await process.stdout.readline()
    milliseconds = (time.monotonic() - started) * 1000
    megabytes = memory_of(process.pid) / 1e6
    await process.communicate()
    return milliseconds, megabytes


def memory_of(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def program_of(pid: int) -> str:
    """Return which of a harness Pod's programs a process is, by its command line."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "ended"
    return next((name for name in ("proxy", "harness") if f"managed_agents.{name}" in line), "other")


async def _measure(order: Order, world: World) -> Samples:
    component = "app.kubernetes.io/component=harness"
    for number in range(order.count(PODS_STARTED)):
        made = sightings(world.kube, PODS, lambda _: True, labels=component)
        ready = sightings(world.kube, PODS, is_ready, labels=component)
        async with made as created, ready as started:
            session = await world.api.create(f"hello {number}")
            await started.count(1)
            name, at = next(iter(started.at.items()))
            yield Sample(case="Pod created → ready", value=(at - created.at[name]) * 1000)
        await world.api.idle(session)
        (pod,) = await world.kube.list(PODS, namespace=world.namespace.name, labels=component)
        sizes: dict[str, int] = {}
        for pid in pids_of(pod["metadata"]["uid"]):
            program = program_of(pid)
            sizes[program] = sizes.get(program, 0) + memory_of(pid)
        for program in ("harness", "proxy"):
            if program in sizes:
                yield Sample(case=f"memory, {program}", value=sizes[program] / 1e6, unit="MB")
        milliseconds, megabytes = await _bare_python()
        yield Sample(case="Pod created → ready", value=milliseconds, side=Side.FLOOR)
        yield Sample(case="memory, harness", value=megabytes, unit="MB", side=Side.FLOOR)
        yield Sample(case="memory, proxy", value=megabytes, unit="MB", side=Side.FLOOR)
        await world.cleared()


STAGE = Stage(
    id="B20",
    title="harness footprint",
    path="a harness Pod: created → ready, memory of its programs at idle",
    floor="a bare Python process on this machine",
    target="reported; a stream ≤ 0.5 MB (B7's memory phase)",
    seconds_max=180,
    measure=_measure,
)
