"""B19: active sessions added until the round trip of a tool takes twice as long, and what each of them takes."""

import asyncio
import time

from bench.rows.tools import bash, ran
from bench.stage import Order, Sample, Samples, Stage
from bench.stats import knee_of, quantile, slope_of
from bench.world.processes import Usage
from bench.world.world import World

SESSIONS = (1, 2, 4, 8, 12, 16)
STEPS = 25
THINKING_SECONDS = 1.0
"""The model's own time for a step: an active session takes about a step a second."""
WARM_UP = 2
OURS = ("harness", "sandbox")


async def _measure(_: Order, world: World) -> Samples:
    sessions: list[str] = []
    knees: list[tuple[float, float]] = []
    taken: list[tuple[float, float]] = []
    for count in SESSIONS:
        while len(sessions) < count:
            sessions.append(await world.api.create())
            await ran(world, sessions[-1], bash("true", repeat=WARM_UP))
        before, started = await world.usages(), time.monotonic()
        steps = bash("true", delay_seconds=THINKING_SECONDS, repeat=STEPS)
        found = await asyncio.gather(*(ran(world, session, steps) for session in sessions))
        seconds, after = time.monotonic() - started, await world.usages()
        values = [value for one in found for value in one]
        for value in values:
            yield Sample(case=f"{count} sessions", value=value)
        knees.append((float(count), quantile(values, 0.99)))
        pods = [after[name] for name in OURS if name in after]
        if pods:
            spent = sum(after[name].cpu_seconds - before.get(name, Usage()).cpu_seconds for name in after)
            taken.append((float(count), spent / seconds * 1000))
            memory = sum(pod.bytes for pod in pods) / count / 1e6
            yield Sample(case="memory of an active session", value=memory, unit="MB")
    if taken:
        yield Sample(case="CPU of an active session", value=slope_of(taken), unit="mCPU")
    knee = knee_of(knees, times=2.0)
    yield Sample(case="knee: sessions at which p99 has doubled", value=knee or float(SESSIONS[-1]), unit="sessions")


STAGE = Stage(
    id="B19",
    title="active density",
    path="tool use durable → result durable, sessions that take a step a second",
    floor="one session",
    target="the knee is reported",
    seconds_max=420,
    measure=_measure,
    is_quick=False,
    note="CPU of a session: how steeply that of all Pods, server, operator and simulated model too, rises with the "
    "sessions. A knee equal to the largest number means that none was found up to there.",
)
