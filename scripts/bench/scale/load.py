"""An open-loop load: a message to an idle session at each beat of the rate, whatever became of those before."""

import asyncio
import time

import aiohttp

from bench.pacing import moments, since
from bench.scale.figures import Load, quantiles_of
from bench.scale.tally import Tally, Wake, spans
from bench.world.api import Api

DRAIN_SECONDS = 45.0
"""How long wakes may take after the last message; a backlog that needs longer counts as not leased."""


async def offer(api: Api, tally: Tally, *, rate: float, seconds: float) -> Load:
    """Wake sessions at a rate for so long, wait for what is left, and say whether the rate was carried.

    Every span counts from the moment at which its message was due.
    """
    tally.begin()
    sending = set[asyncio.Task[None]]()
    async for due in moments(round(rate * seconds), rate):
        tally.late.append(since(due))
        if not tally.idle:
            tally.failures["no session was idle"] += 1
            continue
        session = tally.idle.popleft()
        task = asyncio.create_task(_send(api, tally, session, tally.posted(session, due)))
        sending.add(task)
        task.add_done_callback(sending.discard)
    await asyncio.gather(*sending)
    await tally.drained(DRAIN_SECONDS)
    leased = spans(tally.wakes, "leased_at")
    slow = quantiles_of(leased).get("p99", float("inf"))
    return Load(rate=rate, asked=round(rate * seconds), leased=len(leased), p99_ms=slow)


async def _send(api: Api, tally: Tally, session: str, wake: Wake) -> None:
    try:
        await api.send(session, "Please go on.")
    except (aiohttp.ClientError, TimeoutError, RuntimeError) as problem:
        tally.failures[f"message: {type(problem).__name__}"] += 1
    else:
        wake.accepted_at = time.monotonic()
