"""B21: first tokens and tool calls of one session beside another whose sandbox misbehaves."""

import asyncio
from contextlib import suppress

from bench.pacing import moments
from bench.rows.b03_first_token import turn
from bench.rows.tools import bash, ran
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.world import World

NOISE_SECONDS = 40
NOISES = {
    "CPU burn": "for n in 1 2 3 4; do timeout {seconds} bash -c 'while :; do :; done' & done; wait",
    "1 GB of output, over and over": "timeout {seconds} bash -c 'while :; do head -c 1000000000 /dev/zero; done'; true",
    "fork bomb": "timeout {seconds} bash -c 'f() {{ f | f & }}; f; sleep {seconds}'; true",
}
"""The bomb is last: what escapes its end goes with the sandbox."""
TURNS, CALLS = 60, 60
PER_SECOND = 4.0
RISE_SECONDS = 1.5


async def _quiet_or_not(world: World, session: str, side: Side, names: list[str], order: Order) -> Samples:
    async with world.api.stream(session) as stream:
        async for due in moments(order.count(TURNS), PER_SECOND):
            value = await turn(world, session, stream, due)
            for name in names:
                yield Sample(case=f"first token beside {name}", value=value, side=side)
    for value in await ran(world, session, bash("true", repeat=order.count(CALLS))):
        for name in names:
            yield Sample(case=f"tool beside {name}", value=value, side=side)


async def _make(world: World, session: str, command: str) -> None:
    """Make noise; what becomes of the call is the noisy session's own affair."""
    with suppress(RuntimeError, TimeoutError):
        await ran(world, session, bash(command.format(seconds=NOISE_SECONDS)))


async def _measure(order: Order, world: World) -> Samples:
    session, noisy = await world.api.create(), await world.api.create()
    for one in (session, noisy):
        await ran(world, one, bash("true"))
    await world.model.fresh()
    async for sample in _quiet_or_not(world, session, Side.FLOOR, list(NOISES), order):
        yield sample
    for name, command in NOISES.items():
        noise = asyncio.create_task(_make(world, noisy, command))
        try:
            await asyncio.sleep(RISE_SECONDS)
            async for sample in _quiet_or_not(world, session, Side.PATH, [name], order):
                yield sample
            await noise
        finally:
            noise.cancel()


STAGE = Stage(
    id="B21",
    title="noisy neighbour",
    path="B3 and B11 beside a sandbox that misbehaves",
    floor="the same without it",
    target="p99 ≤ 2 times",
    seconds_max=300,
    measure=_measure,
    is_quick=False,
    note="On the development machine two cores carry both, the model and the load generator: a neighbour that may use "
    "one core leaves one to all others.",
)
