"""B3: an event posted to a session with a harness, to the first streamed token, less the model's own time."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from bench.pacing import in_turn
from bench.rows.costs import costs
from bench.stage import Order, Samples, Stage
from bench.world.api import Stream
from bench.world.world import World

HISTORIES = ((0, 5.0, 150), (1_000, 3.0, 80), (10_000, 0.7, 30))
"""Messages that the session holds before, turns a second, and how many."""
BATCH = 100
"""Messages of one request; each request is a turn."""
WARM_UP = 3


async def turn(world: World, session: str, stream: Stream, due: float) -> float:
    """Take one turn; return the milliseconds from `due` to its first token, less the model's own."""
    await world.api.send(session, "hello")
    first = await stream.turn()
    if first is None:
        raise RuntimeError(f"a turn of {session} ended without a streamed token")
    return (first - due) * 1000 - float((await world.model.fresh())[-1]["first_token_ms"])


async def _direct(world: World, body: Mapping[str, Any], _: float) -> float:
    started = time.monotonic()
    first, own = await world.model.ask(body)
    return (first - started) * 1000 - own


async def _measure(order: Order, world: World) -> Samples:
    session = await world.api.create()
    async with world.api.stream(session) as stream:
        held = 0
        for history, per_second, count in HISTORIES:
            while held < history:
                await world.api.send(session, *(f"message {held + number}" for number in range(BATCH)))
                await stream.turn()
                held += BATCH
            await world.model.forget()
            for _ in range(WARM_UP):
                await world.api.send(session, "ready?")
                await stream.turn()
            body = (await world.model.fresh())[-1]["body"]
            case = f"history {history:,}"
            path, floor = partial(turn, world, session, stream), partial(_direct, world, body)
            turns, before = order.count(count), await world.usages()
            async for sample in in_turn(case, path, floor, count=turns, per_second=per_second):
                yield sample
            for sample in costs(case, before, await world.usages(), turns):
                yield sample


STAGE = Stage(
    id="B3",
    title="first token",
    path="event posted → first streamed token, less the model's own time",
    floor="the model asked directly with the same conversation",
    target="+8/30 ms",
    seconds_max=240,
    measure=_measure,
)
