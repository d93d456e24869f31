"""B20: a harness Pod, created to ready and its memory; and what an open stream takes at the server."""

import asyncio
import itertools
import sys
import time
from pathlib import Path

from bench.rows.tools import bash, ran
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.processes import pids_of
from bench.world.raw import sightings
from bench.world.world import World, is_ready
from managed_agents.kube.resources import PODS, Manifest

PODS_STARTED = 4
PROGRAMS = ("supervisor", "proxy", "harness")
HARNESSES = "app.kubernetes.io/component=harness"
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
    await process.communicate(b"")
    return milliseconds, megabytes


def memory_of(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def program_of(pid: int) -> str:
    """Return which of our programs a process is, by its command line."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "ended"
    return next((name for name in PROGRAMS if name in line), "other")


async def _started(world: World, known: set[str]) -> tuple[float, list[str]]:
    """Create a session with a sandbox; return the milliseconds from its harness' creation to ready, and its Pods."""

    def is_new(pod: Manifest) -> bool:
        return pod["metadata"]["name"] not in known

    def is_up(pod: Manifest) -> bool:
        return is_new(pod) and is_ready(pod)

    async with (
        sightings(world.kube, PODS, is_new, labels=HARNESSES) as created,
        sightings(world.kube, PODS, is_up, labels=HARNESSES) as ready,
    ):
        session = await world.api.create("hello")
        await ready.count(1)
        ((name, at),) = ready.at.items()
    await world.api.idle(session)
    await ran(world, session, bash("true"))
    known.add(name)
    pods = await world.kube.list(PODS, namespace=world.namespace.name, labels="managedagents.dev/session")
    return (at - created.at[name]) * 1000, [pod["metadata"]["uid"] for pod in pods]


async def _measure(order: Order, world: World) -> Samples:
    known: set[str] = set()
    for _ in range(order.count(PODS_STARTED)):
        milliseconds, uids = await _started(world, known)
        yield Sample(case="Pod created → ready", value=milliseconds)
        sizes: dict[str, int] = {}
        for pid in itertools.chain.from_iterable(map(pids_of, uids)):
            program = program_of(pid)
            sizes[program] = sizes.get(program, 0) + memory_of(pid)
        await world.cleared()
        for program in PROGRAMS:
            if program in sizes:
                yield Sample(case=f"memory, {program}", value=sizes[program] / 1e6, unit="MB")
        milliseconds, megabytes = await _bare_python()
        yield Sample(case="Pod created → ready", value=milliseconds, side=Side.FLOOR)
        for program in PROGRAMS:
            yield Sample(case=f"memory, {program}", value=megabytes, unit="MB", side=Side.FLOOR)


STAGE = Stage(
    id="B20",
    title="harness footprint",
    path="a harness Pod: created → ready, memory of its programs and of the supervisor at idle",
    floor="a bare Python process on this machine",
    target="reported; a stream ≤ 0.5 MB (B7's memory phase)",
    seconds_max=180,
    measure=_measure,
)
