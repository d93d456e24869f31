"""C1: the first token where the brain waits for its hands, and where it does not."""

import time

from bench.rows.sandboxes import leased
from bench.rows.tools import Event, bash
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.world import World
from support.cluster import script

MODEL_SECONDS = (0.0, 0.6, 2.0)
"""The simulated model's own time to its first token."""
COUPLED, DECOUPLED = 4, 10
POOL = 4
STAND_IN = bash("true")
"""The step that waits for the sandbox: it stands for a platform that provisions before it asks the model."""


def _says(seconds: float) -> Event:
    return {"text": "Hello from the model.", "first_token_delay_seconds": seconds}


async def _first_token(world: World, session: str, *steps: Event) -> float:
    async with world.api.stream(session) as stream:
        started = time.monotonic()
        await world.api.send(session, script(*steps))
        first = await stream.turn()
    if first is None:
        raise RuntimeError(f"a turn of {session} ended without a streamed token")
    return (first - started) * 1000


async def _coupled(world: World, place: str | None, *steps: Event) -> tuple[str, float]:
    """Take such a turn in a session that has no sandbox yet; return the session too, which now has one."""
    (session,) = await leased(world, 1, place)
    if place is not None:
        await world.blank("sandbox", 1)
    return session, await _first_token(world, session, *steps)


async def _sandboxes(order: Order, world: World, kind: str, place: str | None) -> Samples:
    for seconds in MODEL_SECONDS:
        case = f"model {seconds:g} s, sandbox {kind}"
        (session,) = await leased(world, 1, place)
        for _ in range(order.count(DECOUPLED)):
            yield Sample(case=case, value=await _first_token(world, session, _says(seconds)))
        for _ in range(order.count(COUPLED)):
            session, value = await _coupled(world, place, STAND_IN, _says(seconds))
            yield Sample(case=case, value=value, side=Side.FLOOR)
        for _ in range(order.count(DECOUPLED)):
            value = await _first_token(world, session, STAND_IN, _says(seconds))
            yield Sample(case=f"model {seconds:g} s, coupled, sandbox there", value=value)
        await world.cleared()


async def _measure(order: Order, world: World) -> Samples:
    async for sample in _sandboxes(order, world, "cold", None):
        yield sample
    if order.warm:
        place = await world.environment("coupled", sandbox={"warmReplicas": POOL})
        async for sample in _sandboxes(order, world, "warm", place):
            yield sample


STAGE = Stage(
    id="C1",
    title="coupled against decoupled",
    path="event posted → first streamed token, harness leased, no sandbox yet; the model's own time is in it",
    floor="the same, where the sandbox is awaited before the model is asked for its words",
    target="none: what the separation of brain and hands is worth",
    seconds_max=800,
    measure=_measure,
    is_quick=False,
    note="The coupled side is made by the client, with no switch in the product: its turn begins with a tool call "
    "`true` that the model makes at once, so the turn waits for a sandbox, and then for the model's first words. That "
    "stand-in costs one more model request and a tool's round trip; the lines `sandbox there` show the same turn in a "
    "sandbox that exists, so what is above them is the waiting alone. A clone is not in it: it would come on top.",
)
