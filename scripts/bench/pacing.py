"""When samples begin: at scheduled times, whatever became of those before (an open loop), on one monotonic clock."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from bench.stage import Sample, Samples, Side

POLL_SECONDS = 0.2

Work = Callable[[float], Awaitable[float]]
"""Does one operation that was due at a moment of `time.monotonic()` and returns milliseconds, counted from it."""

TWINS = 20
"""Pairs of the A/A run before a stage that alternates."""


def since(due: float) -> float:
    """Return the milliseconds since a moment of `time.monotonic()`."""
    return (time.monotonic() - due) * 1000


async def until(is_so: Callable[[], Awaitable[bool]], *, seconds: float, every: float = POLL_SECONDS) -> None:
    """Ask until it is so. Raises: TimeoutError when it is not within the bound."""
    async with asyncio.timeout(seconds):
        while not await is_so():  # noqa: ASYNC110 - what is asked tells nobody when it changes
            await asyncio.sleep(every)


async def moments(count: int, per_second: float) -> AsyncIterator[float]:
    """Yield the scheduled moments, each when it has come; a late one is yielded at once and stays as it was due."""
    started = time.monotonic()
    for number in range(count):
        due = started + number / per_second
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield due


async def open_loop(count: int, per_second: float, work: Work) -> list[float]:
    """Start each operation when it is due, beside those that still run, and return what each took."""
    running = [asyncio.ensure_future(work(due)) async for due in moments(count, per_second)]
    return await asyncio.gather(*running)


async def in_turn(case: str, path: Work, floor: Work, *, count: int, per_second: float, twins: int = TWINS) -> Samples:
    """Yield the floor beside itself, then path and floor in turn: a slow moment of the machine meets both."""
    async for due in moments(twins, per_second * 2):
        yield Sample(case=case, value=await floor(due), side=Side.TWIN)
    async for due in moments(count, per_second):
        yield Sample(case=case, value=await path(due))
        yield Sample(case=case, value=await floor(time.monotonic()), side=Side.FLOOR)
