"""What is measured: delivery on one session and on many, with stalled readers, and readers that come back at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.streams.child import Child
from bench.streams.product import message
from bench.streams.readers import Connected, Reader, open_counters, open_readers
from support.server import pod_token

SETTLE_SECONDS = 60.0
STORM_SECONDS = 120.0

Appending = Callable[[str, int], Awaitable[None]]
"""Append one event of that many bytes to that session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Milliseconds from commit to client, one sample an event and reader; and what it took at the server."""

    samples: list[float]
    cpu_seconds: float
    rss_grown: int
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Readers that came back at once, each so many events behind."""

    seconds: float
    cpu_seconds: float
    complete: int


@asynccontextmanager
async def appending(child: Child, sessions: Sequence[Sequence[Any]]) -> AsyncIterator[Appending]:
    """Append as harnesses do: over the internal API."""
    by_id = {session: (pod, epoch) for session, pod, epoch in sessions}
    async with aiohttp.ClientSession() as http:

        async def append(session: str, size: int) -> None:
            pod, epoch = by_id[session]
            url = f"{child.ready['internal']}/internal/v1/sessions/{session}/events"
            body = {"epoch": epoch, "events": [message(size)]}
            async with http.post(url, json=body, headers={"Authorization": f"Bearer {pod_token(pod)}"}) as answer:
                answer.raise_for_status()

        yield append


async def deliver(
    child: Child,
    sessions: Sequence[Sequence[Any]],
    *,
    streams: int,
    events: int,
    size: int,
    gap_seconds: float,
    stalled: int = 0,
) -> Delivery:
    """Spread so many streams over the sessions, append `events` events in turn, and time their arrival."""
    targets = [session[0] for session in sessions]
    watched = [targets[number % len(targets)] for number in range(streams)]
    readers = await open_readers(child.ready["public"], watched, stalled=stalled)
    before = await child.do("usage")
    try:
        await child.do("stamps")
        async with appending(child, sessions) as append:
            started = time.monotonic()
            for number in range(events):  # an open loop: late ones do not move those after them
                await asyncio.sleep(max(0.0, started + number * gap_seconds - time.monotonic()))
                await append(targets[number % len(targets)], size)
        awake = [reader for reader in readers if not reader.stalled]
        expected = {session: len(range(index, events, len(targets))) for index, session in enumerate(targets)}
        await _settled(awake, expected)
        after = await child.do("usage")
        return Delivery(
            samples=_times(awake, await child.do("stamps")),
            cpu_seconds=after["cpu"] - before["cpu"],
            rss_grown=after["rss"] - before["rss"],
            dropped=len(readers) - await child.do("open"),
        )
    finally:
        await _closed(child, readers)


async def storm(child: Child, *, name: str, readers: int, events: int) -> Storm:
    """Let readers that saw only the first of `events` events come back at once, and wait until they have them all."""
    ((session, _, epoch),) = await child.do("prepare", name=name, count=1)
    first = await child.do("fill", session=session, epoch=epoch, count=events, bytes=20)
    before, started = await child.do("usage"), time.monotonic()
    opened = await open_counters(child.ready["public"], session, readers, first)
    try:
        async with asyncio.timeout(STORM_SECONDS):
            while any(reader.count < events - 1 for reader in opened):  # noqa: ASYNC110 - a thousand of them
                await asyncio.sleep(0.01)
    except TimeoutError:
        pass  # the report says how many are complete
    seconds, after = time.monotonic() - started, await child.do("usage")
    complete = sum(reader.count == events - 1 for reader in opened)
    await _closed(child, opened)
    return Storm(seconds=seconds, cpu_seconds=after["cpu"] - before["cpu"], complete=complete)


async def memory(child: Child, *, sessions: int, streams: int) -> float:
    """Return how many bytes of memory a stream takes at a server that had none before."""
    prepared = await child.do("prepare", name="memory", count=sessions)
    before = await child.do("usage")
    watched = [prepared[number % sessions][0] for number in range(streams)]
    readers = await open_readers(child.ready["public"], watched)
    after = await child.do("usage")
    await _closed(child, readers)
    return float(after["rss"] - before["rss"]) / streams


def _times(readers: Sequence[Reader], stamped: Sequence[Sequence[Any]]) -> list[float]:
    stamps = {(session, position): at for session, position, at in stamped}
    return [
        (at - stamps[reader.session, position]) / 1e6
        for reader in readers
        for position, at in reader.seen
        if (reader.session, position) in stamps
    ]


async def _settled(readers: Sequence[Reader], expected: dict[str, int]) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        while any(len(reader.seen) < expected[reader.session] for reader in readers):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    for reader in readers:
        positions = [position for position, _ in reader.seen]
        if positions != list(range(positions[0], positions[0] + len(positions))):
            raise RuntimeError(f"a reader of {reader.session} missed events")


async def _closed(child: Child, readers: Sequence[Connected]) -> None:
    for reader in readers:
        reader.close()
    async with asyncio.timeout(SETTLE_SECONDS):
        while await child.do("open"):  # noqa: ASYNC110 - another process knows
            await asyncio.sleep(0.05)
